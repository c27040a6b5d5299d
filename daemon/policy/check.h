/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_CHECK_H
#define ASOCKD_POLICY_CHECK_H

/* What asockd --check says of policy files, beyond what makes a daemon refuse them. */
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct policy_source;

struct policy_check {
    FILE *out;                                          /* for warnings, each "path:line: text" */
    FILE *err;                                          /* for errors, likewise */
    bool (*has_listener)(void *data, const char *name); /* NULL: who knows */
    void *data;
    size_t files, rules, warnings; /* what there was */
};

/* 0, or -errno: a file is refused. */
int policy_check_files(struct policy_check *check, char *const *paths); /* up to a NULL */
/* What a daemon would read, to the first error. */
int policy_check_source(struct policy_check *check, const struct policy_source *source);

#endif
