/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STATE_ENDED_H
#define ASOCKD_STATE_ENDED_H

/* Sessions that have ended, as a part of the daemon's record: what the kernel counts of them. */
#include "daemon/state/restore.h"

/* Memory for the record's list. */
struct ended_room {
    struct ended_one *sessions;
    Asockd__State__Session **at;
};

/* room: for ended_free_room(), once the record was added. -ENOMEM. */
int ended_save(struct state_writer *out, const struct worker *w, struct ended_room *room,
               Asockd__State__Daemon *to);
void ended_free_room(struct ended_room *room);

/*
 * As the others of restore.h, behind the sessions. One whose descriptor is missing is forgotten.
 */
int ended_restore(struct state_restorer *r, const Asockd__State__Daemon *from);

#endif
