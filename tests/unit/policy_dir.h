/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_POLICY_DIR_H
#define ASOCK_TESTS_POLICY_DIR_H

/* A directory for policy files, for TEST_FIXTURE(make_dir, remove_dir). */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char dir[32];

static void make_dir(void)
{
    strcpy(dir, "/tmp/asock-policy-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(chmod(dir, 0755), 0);
}

static void remove_dir(void)
{
    char command[64];

    snprintf(command, sizeof(command), "rm -rf %s", dir);
    ck_assert_int_eq(system(command), 0);
}

#endif
