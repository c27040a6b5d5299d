/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How a libcheck test says that it did not run, and why: tests/lib/run-check reads the line. */

#include <stdio.h>
#include <string.h>

static inline void test_skip(const char *function, const char *reason)
{
    size_t len = strlen(function);

    /* libcheck 0.15 names the function behind START_TEST(name) "name_fn". */
    if (len > 3 && strcmp(function + len - 3, "_fn") == 0)
        len -= 3;
    fprintf(stderr, "SKIP %.*s: %s\n", (int)len, function, reason);
}

#define TEST_SKIP(reason)                                                                          \
    do {                                                                                           \
        test_skip(__func__, reason);                                                               \
        return;                                                                                    \
    } while (0)
