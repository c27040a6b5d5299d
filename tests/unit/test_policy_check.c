/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The linter of policy files, where there is much for it to read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/policy/check.h"
#include "daemon/policy/policy.h"
#include "tests/lib/suite.h"

#define R(rules) "[Rules]\n" rules

/* Rules that decide less than they say, and addresses that need a flag. */
static const struct {
    const char *text;
    const char *warnings; /* each behind "path:" */
} checked[] = {
    {R("Deny=tcp * 1-1023\nAllow=tcp a.b 80-8080\n"),
     "3: not reached for ports 80-1023: line 2 decides first"},
    {R("Deny=tcp *.b 1-9\nDeny=tcp * 443\nAllow=tcp a.b 80-8080\n"),
     "4: not reached for port 443: line 3 decides first"},
    {R("Deny=tcp 8.8.0.0/16 443-600\nAllow=tcp 8.8.8.8 80-500\nAllow=tcp a.b *\n"),
     "3: not reached for ports 443-500: line 2 decides first"},
    {R("Allow=tcp * 1-100\nAllow=tcp a.b 80-200 +private\n"),
     "3: not reached for ports 80-100: line 2 decides first"},
    {R("Allow=tcp * 443\nAllow=tcp a.b 443 +lend\n"), "3: never reached: line 2 decides first"},
    {R("Allow=tcp a.b 443 +lend-given\nAllow=tcp *.b 443\n"), ""},
    {R("Allow=tcp * 1-100 +private\nAllow=tcp a.b 80-200 +private\n"), ""},
    {R("Deny=tcp * 25\nAllow=tcp a.b *\n"), ""},
    {R("Deny=udp * 1-1023\nAllow=tcp a.b 80-8080\nAllow=udp a.b 53-8080\n"),
     "4: not reached for ports 53-1023: line 2 decides first"},
    {R("Deny=tcp a.b 25\nAllow=tcp a.b 1-100\n"), ""},
    {R("Deny=tcp a.b *\nAllow=tcp *.b *\n"), ""},
    {R("Allow=tcp localhost 80\n"), "2: these are loopback addresses, which need +loopback"},
    {R("Allow=tcp *.localhost 80\n"), "2: these are loopback addresses, which need +loopback"},
    {R("Allow=tcp a.localhost 80 +loopback\n"), ""},
    {R("Deny=tcp localhost 80\n"), ""},
    {R("Allow=tcp 192.0.0.0/8 80\nAllow=tcp a.b *\n"), "2: some of these addresses need +private"},
    {R("Allow=tcp 192.0.0.0/8 80 +private\nAllow=tcp a.b *\n"), ""},
    {R("Allow=tcp 0.0.0.0/0 80\nAllow=tcp a.b *\n"), ""},
    {R("Allow=udp 239.0.0.0/8 *\nAllow=udp ff02::fb 5353\nAllow=udp 255.255.255.255 9\nAllow=tcp a.b *\n"),
     ""},
    {R("# check: ignore\nAllow=tcp localhost 80\n"), ""},
    {R(";check: ignore\n\n# for tests\nAllow=tcp localhost 80\n"), ""},
    {R("# check: ignore\nAllow=tcp a.b 1\nAllow=tcp localhost 80\n"),
     "4: these are loopback addresses, which need +loopback"},
    {R("# check: ignore it\nAllow=tcp localhost 80\n"),
     "3: these are loopback addresses, which need +loopback"},
};

START_LOOP_TEST(test_policy_check_of_a_rule, 0, (int)(sizeof(checked) / sizeof(checked[0])))
{
    char path[] = "/tmp/asock-policy-XXXXXX", *paths[] = {path, NULL};
    char *out = NULL, expected[256] = "";
    size_t len;
    FILE *out_file = open_memstream(&out, &len), *file = fdopen(mkstemp(path), "w");
    struct policy_check check = {.out = out_file, .err = stderr};

    ck_assert_ptr_nonnull(file);
    fputs(checked[_i].text, file);
    fclose(file);
    ck_assert_int_eq(policy_check_files(&check, paths), 0);
    fclose(out_file);
    if (checked[_i].warnings[0])
        snprintf(expected, sizeof(expected), "%s:%s\n", path, checked[_i].warnings);
    ck_assert_str_eq(out, expected);
    ck_assert_uint_eq(check.warnings, checked[_i].warnings[0] != '\0');
    ck_assert_uint_eq(check.files, 1);
    unlink(path);
    free(out);
}
END_TEST

/*
 * As many rules as there may be, of the kinds that are compared with each other: about one host,
 * and denied names beside allowed addresses. Compared two by two they would take longer than a test
 * may.
 */
START_LOOP_TEST(test_policy_check_of_many_rules, 0, 2)
{
    char path[] = "/tmp/asock-policy-XXXXXX", *paths[] = {path, NULL};
    char *out = NULL, *err = NULL;
    size_t out_len, err_len, warnings = 0;
    FILE *out_file = open_memstream(&out, &out_len), *err_file = open_memstream(&err, &err_len);
    struct policy_check check = {.out = out_file, .err = err_file};
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
    ck_assert_int_eq(policy_check_files(&check, paths), 0);
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
