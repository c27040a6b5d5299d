/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sessions that share what they have, from one process to the next.
 *
 * Happy path: the sharer comes first, with the sockets that listen for it; then those who came by
 * them, each of which names it. Who waits at such a socket is served by the next process. The
 * directories stay as they are.
 * Failures: the descriptor of a listener is missing, or something else: the sharer ends, and with
 * it those who came by it. The sharer is missing: they end.
 */
#include "daemon/state/sharing.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/loop.h"
#include "daemon/session/session.h"

/* As much as an address of a Unix socket has room for. */
#define SHARED_PATH_BYTES 108

/* ---- the old one ---- */

void sharing_save(struct state_writer *out, const struct session *s, struct sharing_room *room,
                  Asockd__State__Session *to)
{
    const struct session_sharing *sharing = &s->sharing;
    struct shared_past past;

    if (sharing->sharer || !list_is_empty(&sharing->listeners))
        state_needs(out, STATE_FORMAT_SHARING);
    to->sharer = sharing->sharer ? sharing->sharer->id : 0;
    to->may_not_lend = sharing->may_not_lend;
    to->shared = room->at;
    while (to->n_shared < LIMIT_SHARED_LISTENERS && s->worker->sharing &&
           s->worker->sharing->save(s, (unsigned int)to->n_shared, &past)) {
        Asockd__State__Shared *shared = &room->shared[to->n_shared];

        asockd__state__shared__init(shared);
        shared->name = (char *)(uintptr_t)past.name;
        shared->descriptor = state_add_descriptor(out, past.fd);
        shared->cookie = state_cookie(past.fd);
        shared->token = past.token;
        shared->may_lend = past.may_lend;
        room->at[to->n_shared++] = shared;
    }
}

/* ---- the new one ---- */

/* It was made before; most came by the listener of the same session as the one before them. */
static struct session *find(struct state_restorer *r, uint64_t id)
{
    const struct list *sessions = &r->worker->sessions;

    if (r->last_sharer && r->last_sharer->id == id)
        return r->last_sharer;
    for (const struct list *it = sessions->prev; it != sessions; it = it->prev) {
        struct session *s = container_of(it, struct session, node);

        if (s->id == id)
            return r->last_sharer = s;
    }
    return NULL;
}

int sharing_configure(struct state_restorer *r, const Asockd__State__Session *from,
                      struct session_config *config)
{
    struct session *sharer;

    if (!from->sharer)
        return from->may_not_lend ? restore_fail(r, "a session's rights are invalid") : 0;
    sharer = find(r, from->sharer);
    if (!sharer)
        return restore_miss(r, "the session that shares its rights with another one is missing");
    if (sharer->kind != LISTENER_CLIENT || sharer->sharing.depth >= LIMIT_SHARE_DEPTH ||
        strcmp(sharer->listener, from->listener) != 0)
        return restore_fail(r, "a session refers to another session that cannot share its rights");
    config->sharer = sharer;
    config->quota = NULL;
    config->may_lend = !from->may_not_lend;
    return 0;
}

static int restore_one(struct state_restorer *r, struct session *s,
                       const Asockd__State__Shared *from)
{
    struct shared_past past = {from->name, -1, from->token, from->may_lend};
    struct sharing *sharing = s->worker->sharing;
    char path[SHARED_PATH_BYTES];
    int e;

    /* As the process that makes them binds them, from their directory's directory. */
    if ((size_t)snprintf(path, sizeof(path), "%s/" LISTENER_SOCKET, from->name) >= sizeof(path))
        return restore_fail(r, "a shared listener's name is too long");
    e = restore_claim(r, from->descriptor, &past.fd);
    if (e == 0 && verify_listener(past.fd, from->cookie, path) < 0)
        e = restore_miss(r, "a shared listener's descriptor does not match the state");
    if (e == 0)
        e = sharing ? sharing->restore(s, &past)
                    : restore_miss(r, "this daemon cannot have shared listeners");
    if (e == -EINVAL)
        e = restore_fail(r, "a shared listener is invalid");
    if (e == -ENODATA && past.fd >= 0)
        state_discard(past.fd);
    return e;
}

int sharing_restore(struct state_restorer *r, struct session *s, const Asockd__State__Session *from)
{
    for (size_t i = 0; i < from->n_shared; i++) {
        int e = restore_one(r, s, from->shared[i]);

        if (e < 0 && e != -ENODATA)
            return e;
        if (e == -ENODATA)
            restore_give_up(r, s, r->what);
    }
    return 0;
}
