/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Denials of the last hour, by a clock that the test turns. */
#include <stdio.h>
#include <string.h>

#include "daemon/audit/recent.h"
#include "daemon/core/quota.h"
#include "daemon/policy/policy.h"
#include "proto/errors.h"
#include "tests/lib/suite.h"

static uint64_t now;
static struct worker worker;
static struct quota *daemon_quota, *user_quota;
static struct recent *recent;
static struct endpoint nowhere;

static uint64_t read_clock(void)
{
    return now;
}

static void setup(void)
{
    now = 1000;
    ck_assert_int_eq(worker_init(&worker, read_clock), 0);
    daemon_quota = quota_new();
    user_quota = quota_child(daemon_quota, QUOTA_USER, "7");
    quota_limit(daemon_quota, QUOTA_MEMORY, 16 * 1024 * 1024);
    recent = recent_new(&worker);
    ck_assert_ptr_nonnull(recent);
}

static void teardown(void)
{
    recent_free(recent);
    ck_assert_uint_eq(quota_usage(user_quota, QUOTA_MEMORY).used, 0);
    quota_unref(user_quota);
    quota_unref(daemon_quota);
    worker_deinit(&worker);
}

TEST_FIXTURE(setup, teardown);

static void note(uint32_t uid, const char *host)
{
    struct identity identity = {.uid = uid, .gid = uid, .pid = 77, .pidfd = -1, .comm = "c"};
    struct audit_entry entry = {
        .event = AUDIT_DENY,
        .identity = &identity,
        .pid = 77,
        .quota = user_quota,
        .listener = "default",
        .host = host,
        .remote = &nowhere,
        .port = 443,
    };

    recent_note(recent, &entry, "connect");
}

static unsigned int count(void)
{
    const struct recent_denial *denial;
    unsigned int n = 0;
    uint64_t serial = 0;

    for (; (denial = recent_from(recent, serial)); serial = denial->serial + 1)
        n++;
    return n;
}

START_TEST(test_repeats_are_one_denial)
{
    note(7, "a.test");
    note(7, "b.test");
    note(7, "a.test");
    note(8, "a.test");
    ck_assert_uint_eq(count(), 3);
    ck_assert_uint_eq(recent_from(recent, 0)->count, 2);
    ck_assert_str_eq(recent_from(recent, 0)->host, "a.test");
    ck_assert_str_eq(recent_from(recent, 2)->host, "b.test");
    ck_assert_uint_eq(recent_from(recent, 3)->uid, 8);
    ck_assert_uint_gt(quota_usage(user_quota, QUOTA_MEMORY).used, 3 * sizeof(struct recent_denial));
}
END_TEST

/* An hour after the last one, not the first one. */
START_TEST(test_they_are_forgotten)
{
    note(7, "a.test");
    now += RECENT_PERIOD_MS / 2;
    note(7, "b.test");
    note(7, "a.test");
    now += RECENT_PERIOD_MS / 2;
    note(7, "c.test");
    ck_assert_uint_eq(count(), 3);
    now += RECENT_PERIOD_MS / 2;
    recent_expire(recent);
    ck_assert_uint_eq(count(), 1);
    ck_assert_str_eq(recent_from(recent, 0)->host, "c.test");
    now += RECENT_PERIOD_MS / 2;
    recent_expire(recent);
    ck_assert_uint_eq(count(), 0);
    ck_assert_uint_eq(quota_usage(user_quota, QUOTA_MEMORY).used, 0);
}
END_TEST

START_TEST(test_a_person_takes_its_own_place)
{
    char host[32];

    note(8, "quiet.test");
    for (unsigned int i = 0; i < 5000; i++) {
        snprintf(host, sizeof(host), "%u.test", i);
        note(7, host);
    }
    ck_assert_uint_eq(count(), RECENT_PER_PERSON + 1);
    ck_assert_str_eq(recent_from(recent, 0)->host, "quiet.test");
}
END_TEST

START_TEST(test_all_are_bounded)
{
    char host[32];

    for (unsigned int i = 0; i < 5000; i++) {
        snprintf(host, sizeof(host), "%u.test", i);
        note(i, host);
    }
    ck_assert_uint_eq(count(), RECENT_MAX);
    ck_assert_uint_eq(recent_from(recent, 0)->uid, 5000 - RECENT_MAX);
}
END_TEST

START_TEST(test_what_has_no_room_is_counted)
{
    quota_limit(user_quota, QUOTA_MEMORY, 0);
    note(7, "a.test");
    note(7, "a.test");
    ck_assert_uint_eq(count(), 0);
    ck_assert_uint_eq(recent_dropped(recent), 2);
}
END_TEST
