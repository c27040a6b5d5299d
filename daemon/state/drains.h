/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STATE_DRAINS_H
#define ASOCKD_STATE_DRAINS_H

/* Closed connections that wait for the end of their peer, as a part of the daemon's record. */
#include "daemon/state/restore.h"

/* Memory for the record's list. */
struct drains_room {
    struct drain_room *drains;
    Asockd__State__Drain **at;
};

/* room: for drains_free_room(), once the record was added. -ENOMEM. */
int drains_save(struct state_writer *out, const struct worker *w, struct drains_room *room,
                Asockd__State__Daemon *to);
void drains_free_room(struct drains_room *room);

/* As the others of restore.h. One whose descriptor is missing is forgotten. */
int drains_restore(struct state_restorer *r, const Asockd__State__Daemon *from);
void drains_resume(struct worker *w);

#endif
