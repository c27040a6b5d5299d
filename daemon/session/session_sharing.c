/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a session that shares has to do with those who come by its listeners.
 * They are linked to it as long as they live, and it lives as long: their views and shares are
 * below its own.
 */
#include "daemon/identity/identity.h"
#include "daemon/session/session.h"
#include "daemon/session/session_end.h"
#include "daemon/session/sharing.h"
#include "proto/errors.h"

void session_sharing_init(struct session_sharing *sharing)
{
    list_init(&sharing->place);
    list_init(&sharing->sharees);
    list_init(&sharing->listeners);
}

void session_accept_later(struct session *s)
{
    s->sharing.must_accept = true;
    share_wake(&s->share);
}

void session_accept_step(struct session *s)
{
    s->sharing.must_accept = s->worker->sharing->accept(s);
}

void session_end_with_sharer(struct session *s)
{
    session_end(s, ERR_CONNECTION_ABORTED, "the session that shared its rights has ended");
}

void session_join(struct session *s, struct session *sharer, bool may_lend)
{
    s->sharing.may_not_lend = !may_lend || sharer->sharing.may_not_lend;
    s->sharing.depth = sharer->sharing.depth + 1;
    list_append(&sharer->sharing.sharees, &s->sharing.place);
    for (; sharer; sharer = sharer->sharing.sharer)
        sharer->sharing.sharee_count++;
}

void session_leave_sharer(struct session *s)
{
    list_remove(&s->sharing.place);
    for (struct session *above = s->sharing.sharer; above; above = above->sharing.sharer)
        above->sharing.sharee_count--;
    if (s->sharing.sharer)
        session_part_left(s->sharing.sharer);
}

/* Each session in a step of its own: they may be many, with many sockets. */
void session_end_sharees(struct session *s)
{
    if (!list_is_empty(&s->sharing.listeners))
        s->worker->sharing->close(s);
    list_for_each (&s->sharing.sharees, it) {
        struct session *sharee = container_of(it, struct session, sharing.place);

        if (sharee->has_ended)
            continue;
        sharee->sharing.must_end = true;
        share_wake(&sharee->share);
    }
}
