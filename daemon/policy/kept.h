/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_KEPT_H
#define ASOCKD_POLICY_KEPT_H

/* What a process passes on of its policy, for the next one, whose files may be invalid. */
#include "daemon/policy/policy.h"

/* A file as it was read. */
struct policy_kept {
    const char *path, *text;
    size_t len;
    int64_t modified;
};

/* Has it no files? Whoever starts the next process with files wants no such policy any more. */
bool policy_is_built_in(const struct policy *policy);
/* The i-th file; its texts live as long as the policy. */
struct policy_kept policy_keep(const struct policy *policy, size_t i);
/*
 * What another process had in force since `loaded`, in place of an invalid policy. 0, or -errno
 * with a text.
 */
int policy_load_kept(const struct policy *invalid, const struct policy_kept *files, size_t count,
                     int64_t loaded, char ret_error[static POLICY_ERROR_MAX], struct policy **ret);

#endif
