/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_SHADOW_H
#define ASOCKD_POLICY_SHADOW_H

/*
 * Which rules of a file are never reached, since earlier ones about a host that covers theirs decide for all of their
 * ports.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/policy/policy.h"

struct policy_file;
struct policy_shadows;

/* Of this file, which stays, and its rules for one protocol. NULL without memory. */
struct policy_shadows *policy_shadows_new(const struct policy_file *file,
                                          enum policy_protocol protocol);
struct policy_shadows *policy_shadows_free(struct policy_shadows *shadows); /* accepts NULL */

/*
 * Numbers count from the protocol's first rule. The last of the rules that it takes to leave this one nothing; *ret_alone: it does that by itself.
 * POLICY_INDEX_NONE: the rule is reached.
 */
uint32_t policy_shadow_of(const struct policy_shadows *shadows, uint32_t number, bool *ret_alone);

#endif
