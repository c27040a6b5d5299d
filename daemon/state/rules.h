/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STATE_RULES_H
#define ASOCKD_STATE_RULES_H

/* Counts of connects by rule. */
#include "daemon/audit/rule_counts.h"
#include "daemon/core/loop.h"
#include "proto/state.pb-c.h"

/* Room for the daemon's record. */
struct rules_room {
    Asockd__State__RuleCount counts[RULE_COUNTS_MAX], *at[RULE_COUNTS_MAX];
};

/* to refers to room, and to the worker's counts. */
void rules_save(const struct worker *w, struct rules_room *room, Asockd__State__Daemon *to);
/* The policy that will be in force is: it says which rules there are. */
void rules_restore(struct worker *w, const Asockd__State__Daemon *from);

#endif
