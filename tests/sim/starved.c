/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/sim/starved.h"

#include "daemon/session/session.h"
#include "tests/sim/kernel.h"
#include "tests/sim/sim.h"

/* Within so many turns. */
#define TURNS_MAX 300u

/* What a client writes behind the bounds of its session's farewell is not read. */
static bool has_been_left(const struct worker *w, const struct kfile *file)
{
    list_for_each (&w->sessions, it) {
        const struct session *s = container_of(it, struct session, node);

        if (s->unread_fd >= 0 && fd_file(s->unread_fd) == file && !ev_is_active(&s->farewell_io))
            return true;
    }
    return false;
}

void starved_check(const struct worker *w)
{
    for (unsigned int i = 0; i < KERNEL_FDS; i++) {
        const struct kfile *file = kernel.fds[i].file;
        struct unix_end *end = file && file->kind == FILE_UNIX ? file->u.unix_end : NULL;
        bool waits;

        if (!end || kernel.fds[i].owner != ACTOR_DAEMON)
            continue;
        waits = byte_queue_len(&end->rx) > 0 && end->read == end->seen && end->peer &&
                byte_queue_len(&end->peer->u.unix_end->rx) == 0;
        end->seen = end->read;
        end->turns = waits ? end->turns + 1 : 0;
        if (end->turns > TURNS_MAX && !has_been_left(w, file))
            sim_fail("starved: nothing of a client is read in %u turns", end->turns);
    }
}
