/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The linter of policy files, where there is much for it to read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/policy/check.h"
#include "daemon/policy/policy.h"
#include "tests/lib/suite.h"

/*
 * As many rules as there may be, of the kinds that are compared with each other: about one host, and denied names beside
 * allowed addresses. Compared two by two they would take longer than a test may.
 */
START_LOOP_TEST(test_policy_check_of_many_rules, 0, 2)
{
    char path[] = "/tmp/asock-policy-XXXXXX", *paths[] = {path, NULL};
    char *out = NULL, *err = NULL;
    size_t out_len, err_len, warnings = 0;
    FILE *out_file = open_memstream(&out, &out_len), *err_file = open_memstream(&err, &err_len);
    FILE *file;
    const char *line;

    file = fdopen(mkstemp(path), "w");
    ck_assert_ptr_nonnull(file);
    fputs("[Rules]\n", file);
    for (unsigned int i = 0; i < POLICY_RULES_MAX / 2; i++) {
        if (_i == 0)
            fprintf(file, "Deny=tcp n%u.test 1-1000\nAllow=tcp 8.%u.%u.%u 1001\n", i, i >> 16,
                    i >> 8 & 255, i & 255);
        else
            fprintf(file, "Allow=tcp * %u-%u\n", 1 + i / 512, 60000 + i % 512);
    }
    fclose(file);
    ck_assert_int_eq(policy_check_files(paths, out_file, err_file), 0);
    fclose(out_file);
    fclose(err_file);
    for (line = out; (line = strchr(line, '\n')); line++)
        warnings++;
    if (_i == 0)
        ck_assert_uint_eq(warnings, 1); /* no name is resolved */
    else
        ck_assert_uint_ge(warnings, POLICY_RULES_MAX / 2 - 1024);
    unlink(path);
    free(out);
    free(err);
}
END_TEST
