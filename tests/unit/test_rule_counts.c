/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Connects by rule: counted apart up to a bound. */
#include <stdio.h>
#include <string.h>

#include "daemon/audit/rule_counts.h"
#include "tests/lib/suite.h"

static struct rule_counts *counts;

static void setup(void)
{
    counts = rule_counts_new();
    ck_assert_ptr_nonnull(counts);
}

static void teardown(void)
{
    rule_counts_free(counts);
}

TEST_FIXTURE(setup, teardown);

static uint64_t count_of(const char *name)
{
    const char *rule;
    uint64_t count;

    for (unsigned int i = 0; rule_counts_at(counts, i, &rule, &count); i++)
        if (strcmp(rule, name) == 0)
            return count;
    return UINT64_MAX;
}

START_TEST(test_each_rule_has_its_count)
{
    for (int i = 0; i < 3; i++)
        rule_counts_add(counts, "/etc/a.policy:1");
    rule_counts_add(counts, "/etc/a.policy:12");
    rule_counts_add(counts, "");
    rule_counts_add(counts, "restriction:7");
    rule_counts_add(counts, "restriction:8");
    rule_counts_add(counts, "/etc/\"\xff\x1b.policy:1");
    rule_counts_add(counts, "/etc/\"\xff\x1b.policy:1");
    ck_assert_uint_eq(count_of("/etc/a.policy:1"), 3);
    ck_assert_uint_eq(count_of("/etc/a.policy:12"), 1);
    ck_assert_uint_eq(count_of("none"), 1);
    ck_assert_uint_eq(count_of("restriction"), 2);
    ck_assert_uint_eq(count_of("/etc/\"??.policy:1"), 2);
    ck_assert_uint_eq(count_of("other"), 0);
}
END_TEST

START_TEST(test_their_number_has_a_bound)
{
    char name[32];

    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 1000; i++) {
            snprintf(name, sizeof(name), "p:%d", i);
            rule_counts_add(counts, name);
        }
    ck_assert_uint_eq(count_of("p:0"), 2);
    ck_assert_uint_eq(count_of("p:252"), 2);
    ck_assert_uint_eq(count_of("p:253"), UINT64_MAX);
    ck_assert_uint_eq(count_of("other"), 2 * (1000 - 253));
}
END_TEST

START_TEST(test_a_new_policy_begins_again)
{
    rule_counts_add(counts, "p:1");
    rule_counts_add(counts, "");
    rule_counts_clear(counts);
    ck_assert_uint_eq(count_of("p:1"), UINT64_MAX);
    ck_assert_uint_eq(count_of("none"), 0);
    rule_counts_add(counts, "p:1");
    ck_assert_uint_eq(count_of("p:1"), 1);
}
END_TEST

START_TEST(test_nobody_counts)
{
    const char *rule;
    uint64_t count;

    rule_counts_add(NULL, "p:1");
    rule_counts_clear(NULL);
    ck_assert(!rule_counts_at(NULL, 0, &rule, &count));
    ck_assert_ptr_null(rule_counts_free(NULL));
}
END_TEST
