/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STATE_COUNTERS_H
#define ASOCKD_STATE_COUNTERS_H

/* The counters of the daemon by name: those that both processes know go on where they were. */
#include "daemon/core/loop.h"
#include "daemon/core/quota.h"
#include "proto/state.pb-c.h"

#define STATE_COUNTERS 32u
#define STATE_AUDIT_COUNTS 3u

/* Room that the record's counters lie in while it is written. */
struct state_counters {
    Asockd__State__Counter counters[STATE_COUNTERS];
    Asockd__State__Counter *at[STATE_COUNTERS];
    uint64_t refusals[QUOTA_RESOURCES], audit[STATE_AUDIT_COUNTS], log_lost;
};

/* to refers to room, and to stats. */
void state_save_counters(const struct stats *stats, struct state_counters *room,
                         Asockd__State__Daemon *to);
/* Behind those: what the worker's objects count. */
void state_save_more_counters(const struct worker *w, struct state_counters *room,
                              Asockd__State__Daemon *to);
/* What is unknown, or has fewer values than here, is passed over, or set as far as it goes. */
void state_restore_counters(struct worker *w, const Asockd__State__Daemon *from);

#endif
