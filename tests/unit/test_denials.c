/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sums of repeated denials, by a clock that the test turns. */
#include <stdio.h>
#include <string.h>

#include "daemon/audit/denials.h"
#include "daemon/core/limits.h"
#include "daemon/core/quota.h"
#include "daemon/identity/identity.h"
#include "proto/errors.h"
#include "tests/lib/suite.h"
#include "tests/unit/denied_client.h"

static bool has(const char *text, size_t len, const char *part, size_t part_len)
{
    return memmem(text, len, part, part_len) != NULL;
}

#define ck_assert_has(text, len, part) ck_assert(has(text, len, part, sizeof(part) - 1))

static struct audit_denials denials;
static char summary[AUDIT_ENTRY_MAX];

static bool take(const struct identity *identity, const char *host, uint64_t now)
{
    struct audit_entry entry = denial_of(identity, host);

    return audit_denials_take(&denials, &entry, now);
}

static size_t next_summary(uint64_t now)
{
    return audit_denials_next(&denials, now, summary, sizeof(summary));
}

START_TEST(test_repeats_become_one_entry)
{
    struct identity identity = client(7), other = client(8);
    size_t len;

    audit_denials_init(&denials, AUDIT_JSON);
    ck_assert(take(&identity, "a.example", 1000));
    identity.pid = 78; /* another process of the same unit */
    ck_assert(!take(&identity, "a.example", 1001));
    ck_assert(!take(&identity, "a.example", 10999));
    ck_assert(take(&identity, "b.example", 2000));
    ck_assert(take(&other, "a.example", 3000));
    ck_assert_uint_eq(audit_denials_due(&denials), 11000);
    ck_assert_uint_eq(next_summary(10999), 0);
    len = next_summary(11000);
    ck_assert_has(summary, len, "\"ASOCK_COUNT\":2}");
    ck_assert_has(summary, len, "\"ASOCK_HOST\":\"a.example\"");
    ck_assert_has(summary, len, "\"ASOCK_UID\":7,");
    ck_assert(!has(summary, len, "ASOCK_PID", 9));
    ck_assert_uint_eq(next_summary(11000), 0);
    ck_assert(take(&identity, "a.example", 11000)); /* a new period */
    ck_assert_uint_eq(next_summary(20000), 0);      /* these were not repeated */
    audit_denials_deinit(&denials);
}
END_TEST

START_TEST(test_denials_of_a_user_are_bounded)
{
    struct identity greedy = client(7), quiet = client(8);
    unsigned int told = 0;
    char host[32];
    size_t len;

    audit_denials_init(&denials, AUDIT_JSON);
    for (unsigned int i = 0; i < 1000; i++) {
        snprintf(host, sizeof(host), "%u.example", i);
        told += take(&greedy, host, 1000);
    }
    /* One more says that there are others. */
    ck_assert_uint_eq(told, AUDIT_DENIALS_PER_USER + 1);
    ck_assert(take(&quiet, "a.example", 1000));
    len = next_summary(11000);
    ck_assert_has(summary, len, "\"ASOCK_COUNT\":935}");
    ck_assert_has(summary, len, "\"ASOCK_UID\":7,");
    ck_assert(!has(summary, len, "ASOCK_HOST", 10));
    ck_assert_uint_eq(next_summary(11000), 0);

    audit_denials_deinit(&denials);
}
END_TEST

/* However many there are, each user id keeps one entry of its own. */
START_TEST(test_each_user_has_a_place_for_denials)
{
    struct identity identity;
    char host[32];
    size_t len;

    audit_denials_init(&denials, AUDIT_JSON);
    for (unsigned int uid = 100; uid < 1100; uid++) {
        identity = client(uid);
        for (unsigned int i = 0; i <= AUDIT_DENIALS_PER_USER; i++) {
            snprintf(host, sizeof(host), "%u.example", i);
            ck_assert(take(&identity, host, 1000));
        }
        ck_assert(!take(&identity, "more.example", 1000));
    }
    for (unsigned int uid = 100; uid < 1100; uid++) {
        snprintf(host, sizeof(host), "\"ASOCK_UID\":%u,", uid);
        len = next_summary(11000);
        ck_assert(has(summary, len, host, strlen(host)));
        ck_assert_has(summary, len, "\"ASOCK_COUNT\":1}");
    }
    ck_assert_uint_eq(next_summary(11000), 0);
    ck_assert_uint_eq(audit_denials_due(&denials), UINT64_MAX);
    audit_denials_deinit(&denials);
}
END_TEST

/*
 * One person with thousands of ids has the places of a person, and beside them one entry for all
 * the others.
 */
START_TEST(test_subordinate_ids_are_their_owners)
{
    unsigned int told = 0;
    struct identity identity;
    size_t len;

    audit_denials_init(&denials, AUDIT_JSON);
    for (unsigned int uid = 100000; uid < 101000; uid++) {
        identity = client(uid);
        identity.ownership = IDENTITY_SUBORDINATE;
        identity.owner = 7;
        told += take(&identity, "a.example", 1000);
    }
    ck_assert_uint_eq(told, 2 * AUDIT_DENIALS_PER_USER + 1);
    len = next_summary(11000);
    ck_assert_has(summary, len, "\"ASOCK_UID\":7,");
    ck_assert_uint_eq(next_summary(11000), 0);
    audit_denials_deinit(&denials);
}
END_TEST

/* What even the user's memory has no room for is counted, without a name. */
START_TEST(test_denials_are_charged)
{
    struct quota *daemon = quota_new(), *user = quota_child(daemon, QUOTA_USER, "7");
    struct identity identity = client(7);
    struct audit_entry entry = denial_of(&identity, "a.example");
    size_t len;

    quota_limit(daemon, QUOTA_MEMORY, 65536);
    audit_denials_init(&denials, AUDIT_JSON);
    entry.quota = user;
    ck_assert(audit_denials_take(&denials, &entry, 1000));
    ck_assert_uint_gt(quota_usage(user, QUOTA_MEMORY).used, 640);
    quota_limit(user, QUOTA_MEMORY, 0);
    for (int i = 0; i < 2; i++) {
        entry = denial_of(&identity, "b.example");
        entry.quota = user;
        ck_assert(!audit_denials_take(&denials, &entry, 1000));
    }
    len = next_summary(11000);
    ck_assert_has(summary, len, "\"ASOCK_COUNT\":2}");
    ck_assert(!has(summary, len, "ASOCK_UID", 9));
    ck_assert_uint_eq(quota_usage(user, QUOTA_MEMORY).used, 0);
    audit_denials_deinit(&denials);
    quota_unref(user);
    quota_unref(daemon);
}
END_TEST
