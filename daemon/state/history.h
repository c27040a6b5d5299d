/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STATE_HISTORY_H
#define ASOCKD_STATE_HISTORY_H

/*
 * What the administrator can look at: learned rules, and recent denials. And which denials the
 * audit has recorded, so that it sums up their repeats.
 */
#include "daemon/state/restore.h"

/* Memory for the lists of the daemon's record. */
struct history_room {
    struct denial_room *denials;
    Asockd__State__Learned *learned, **learned_at;
    Asockd__State__Denial **denial_at;
    Asockd__State__Repeated *repeats, **repeat_at;
};

/* room: for history_free_room(), once the record was added. -ENOMEM. */
int history_save(const struct worker *w, struct history_room *room, Asockd__State__Daemon *to);
void history_free_room(struct history_room *room);

/* As the others of restore.h. */
int history_restore(struct state_restorer *r, const Asockd__State__Daemon *from);

#endif
