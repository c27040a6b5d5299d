/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SUITE_H
#define ASOCK_TESTS_SUITE_H

/*
 * Tests that register themselves. A test program is a file of START_TEST(test_x) { ... } END_TEST
 * and no main(), which is suite.c's: it runs them in the order in which they stand, each in a
 * process of its own. ASOCK_TEST_ONLY: the names of those to run, with commas between them.
 */
#include <check.h>

/*
 * An assertion that holds writes its place to a file, for the report of a test that crashes after
 * it. In a loop of a million assertions that takes most of the time: each place does it only so
 * often.
 */
#define MARKS_MAX 100
#define _mark_point(file, line)                                                                    \
    ({                                                                                             \
        static _Thread_local unsigned int marks;                                                   \
                                                                                                   \
        if (marks < MARKS_MAX) {                                                                   \
            marks++;                                                                               \
            (_mark_point)(file, line);                                                             \
        }                                                                                          \
    })

struct suite_entry {
    const TTest *test; /* NULL: of the tests from here on, the two functions */
    int first, end;    /* _i of the first round, and of none any more */
    SFun before, after;
    int seconds; /* 0: libcheck's default */
    struct suite_entry *next;
};

void suite_add(struct suite_entry *entry);

#define SUITE_ADD(name, ...)                                                                       \
    static void __attribute__((constructor)) name(void)                                            \
    {                                                                                              \
        static struct suite_entry entry = {__VA_ARGS__};                                           \
                                                                                                   \
        suite_add(&entry);                                                                         \
    }

/* Runs from first to end - 1, which the test finds in _i. */
#define START_LOOP_TEST(name, first_round, end_round)                                              \
    static void name##_fn(int _i);                                                                 \
    static const TTest name##_test = {"" #name, name##_fn, __FILE__, __LINE__};                    \
    SUITE_ADD(name##_add, .test = &name##_test, .first = (int)(first_round),                       \
              .end = (int)(end_round))                                                             \
    static void name##_fn(int _i __attribute__((unused)))

#undef START_TEST
#define START_TEST(name) START_LOOP_TEST(name, 0, 1)

/*
 * Around each test from here on, in its process; NULL: nothing. TEST_FIXTURE_TIMEOUT: for tests
 * that may take so many seconds.
 */
#define TEST_FIXTURE(before, after) TEST_FIXTURE_TIMEOUT(before, after, 0)
#define TEST_FIXTURE_TIMEOUT(before_each, after_each, limit)                                       \
    SUITE_ADD(SUITE_NAME(__LINE__), .before = (before_each), .after = (after_each),                \
              .seconds = (limit))                                                                  \
    _Static_assert(1, "takes the semicolon")
#define SUITE_NAME(line) SUITE_JOIN(suite_fixture_, line)
#define SUITE_JOIN(a, b) a##b

#endif
