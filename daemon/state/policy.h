/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STATE_POLICY_H
#define ASOCKD_STATE_POLICY_H

/*
 * The policy in force goes over as the text of its files. The next process reads its own files, and
 * uses these texts only if its files are invalid.
 */
#include "daemon/core/loop.h"
#include "daemon/policy/policy.h"
#include "proto/state.pb-c.h"

/* Of all files together; without comments a policy with as many rules as there may be has less. */
#define STATE_POLICY_BYTES_MAX (64u << 20)

/* Room that the record's policy lies in while it is written. */
struct state_policy {
    Asockd__State__Policy policy;
    Asockd__State__PolicyFile files[POLICY_FILES_MAX], *at[POLICY_FILES_MAX];
};

/* to refers to room, and to policy. Nothing of an invalid policy. */
void state_save_policy(const struct policy *policy, struct state_policy *room,
                       Asockd__State__Daemon *to);
/* Puts it in force if the worker's own is invalid. The log says what becomes of it. */
void state_restore_policy(struct worker *w, const Asockd__State__Daemon *from);

#endif
