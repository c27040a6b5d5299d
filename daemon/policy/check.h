/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_CHECK_H
#define ASOCKD_POLICY_CHECK_H

/* What asockd --check says of policy files, beyond what makes a daemon refuse them. */
#include <stdio.h>

struct policy_source;

/* Errors go to err, warnings to out, each "path:line: text". 0, or -errno: a file is refused. */
int policy_check_files(char *const *paths, FILE *out, FILE *err); /* up to a NULL */
/* What a daemon would read, to the first error. */
int policy_check_source(const struct policy_source *source, FILE *out, FILE *err);

#endif
