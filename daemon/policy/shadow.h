/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_SHADOW_H
#define ASOCKD_POLICY_SHADOW_H

/*
 * Finds the rules of a file that are never reached, because earlier rules, whose hosts include
 * theirs, decide about all of their ports.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/policy/policy.h"

struct policy_file;
struct policy_shadows;

/* For the file's rules for one protocol. The file must outlive the result. NULL: no memory. */
struct policy_shadows *policy_shadows_new(const struct policy_file *file,
                                          enum policy_protocol protocol);
struct policy_shadows *policy_shadows_free(struct policy_shadows *shadows); /* accepts NULL */

/*
 * Returns the last of the rules that together hide this one, or POLICY_INDEX_NONE if the rule is
 * reached. *ret_alone: the returned rule hides it by itself. Numbers count from the protocol's
 * first rule.
 */
uint32_t policy_shadow_of(const struct policy_shadows *shadows, uint32_t number, bool *ret_alone);

#endif
