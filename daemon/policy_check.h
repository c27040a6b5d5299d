/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_CHECK_H
#define ASOCKD_POLICY_CHECK_H

/* What asockd --check says of policy files, beyond what makes a daemon refuse them. */
#include <stdio.h>

/* Errors go to err, warnings to out, each "path:line: text". 0, or -errno: the file is refused. */
int policy_check_file(const char *path, FILE *out, FILE *err);

#endif
