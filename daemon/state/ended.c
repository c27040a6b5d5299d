/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Descriptors on their way to the client of a session that has ended: the kernel counts them for
 * the daemon, and a restart does not change that.
 *
 * Happy path: the connection goes over -> the next process makes a session of it, charged as every
 * other, and ends that when it is ours -> it is one that has ended, here as there: it gives back
 * all but what the descriptors are charged to, and these when the client has fetched them, or has
 * closed its end (session_farewell.c). The old process closes its own end of it when it stops.
 * Failures: no memory, a number out of range. The connection is missing, or something else, or its
 * listener has gone: that session is forgotten, at a take-over, too.
 *
 * What such a client had still to read, that had no room in its socket, is the old process's.
 */
#include "daemon/state/ended.h"

#include <errno.h>

#include "base/alloc.h"
#include "daemon/core/loop.h"
#include "daemon/session/session_farewell.h"
#include "daemon/state/save.h"

/* ---- the old one ---- */

struct ended_one {
    Asockd__State__Session session;
    Asockd__State__Identity identity;
};

static size_t count_unread(const struct worker *w)
{
    size_t n = 0;

    list_for_each (&w->sessions, it)
        n += session_has_unread(container_of(it, struct session, node));
    return n;
}

/* If its sharer stays behind, it is charged to its own user and unit. */
static void fill(struct state_writer *out, const struct session *s, struct ended_one *one)
{
    Asockd__State__Session *to = &one->session;
    const struct session *sharer = s->sharing.sharer;

    asockd__state__session__init(to);
    to->id = s->id;
    to->created = s->created;
    to->listener = save_text(s->listener);
    to->name = save_text(s->name);
    to->descriptor = state_add_descriptor(out, s->unread_fd);
    to->cookie = state_cookie(s->unread_fd);
    save_identity(out, &s->identity, &one->identity);
    to->identity = &one->identity;
    to->has_hello = true;
    to->input_ended = true;
    save_limits(&s->limits, to);
    to->bytes_in = s->bytes_in;
    to->bytes_out = s->bytes_out;
    to->ops_done = s->ops_done;
    if (sharer && sharer->is_handed_over) {
        to->sharer = sharer->id;
        to->may_not_lend = s->sharing.may_not_lend;
    }
    to->descriptors_unread = s->descriptors_unread;
    to->lent_unread = s->lent_unread;
}

int ended_save(struct state_writer *out, const struct worker *w, struct ended_room *room,
               Asockd__State__Daemon *to)
{
    size_t n = state_takes_ended(out) ? count_unread(w) : 0;

    if (n == 0)
        return 0;
    room->sessions = mem_zalloc(n, sizeof(*room->sessions));
    room->at = mem_zalloc(n, sizeof(struct _Asockd__State__Session *));
    if (!room->sessions || !room->at)
        return -ENOMEM;
    to->ended = room->at;
    list_for_each (&w->sessions, it) {
        const struct session *s = container_of(it, struct session, node);

        /* A client may fetch them meanwhile. */
        if (to->n_ended == n || !session_has_unread(s))
            continue;
        fill(out, s, &room->sessions[to->n_ended]);
        room->at[to->n_ended] = &room->sessions[to->n_ended].session;
        to->n_ended++;
    }
    return 0;
}

void ended_free_room(struct ended_room *room)
{
    room->sessions = mem_free(room->sessions);
    room->at = mem_free(room->at);
}

/* ---- the new one ---- */

static int restore(struct state_restorer *r, const Asockd__State__Session *from)
{
    bool saves = r->saves_what_it_can;
    struct session *s = NULL;
    int e;

    if (from->sockets > 0 || (from->descriptors_unread == 0 && from->lent_unread == 0))
        return restore_fail(r, "a session that has ended is invalid");
    /* Its listener may have been removed since: that is no reason to refuse all others. */
    r->saves_what_it_can = true;
    e = restore_session(r, from, &s);
    r->saves_what_it_can = saves;
    if (e == 0)
        s->had_ended = true;
    return e == -ENODATA ? 0 : e;
}

int ended_restore(struct state_restorer *r, const Asockd__State__Daemon *from)
{
    int e = 0;

    for (size_t i = 0; e == 0 && i < from->n_ended; i++)
        e = restore(r, from->ended[i]);
    return e;
}
