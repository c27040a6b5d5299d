/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What names/cache.c keeps, for whom, for how long, and what it charges. */
#include "tests/lib/suite.h"

#include <arpa/inet.h>
#include <ev.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "daemon/core/quota.h"
#include "daemon/names/cache.h"

static int ahead_s; /* the clock of this program stands ahead of the kernel's */

int clock_gettime(clockid_t id, struct timespec *ts)
{
    int r = (int)syscall(SYS_clock_gettime, id, ts);

    ts->tv_sec += ahead_s;
    return r;
}

static struct {
    struct ev_loop *loop;
    struct quota *daemon, *listener, *users[2], *session; /* session: of the first user */
    struct cache *cache;
} f;

static void setup(void)
{
    f.loop = ev_loop_new(EVFLAG_AUTO);
    f.daemon = quota_new();
    f.listener = quota_child(f.daemon, QUOTA_LISTENER, "default");
    f.users[0] = quota_child(f.listener, QUOTA_USER, "1");
    f.users[1] = quota_child(f.listener, QUOTA_USER, "2");
    f.session = quota_child(f.users[0], QUOTA_SESSION, NULL);
    f.cache = cache_new(f.loop);
    ck_assert_ptr_nonnull(f.cache);
}

static uint64_t used(const struct quota *q)
{
    return quota_usage(q, QUOTA_MEMORY).used;
}

static void teardown(void)
{
    ck_assert_ptr_null(cache_free(f.cache));
    ck_assert_uint_eq(used(f.daemon), 0);
    quota_unref(f.session);
    quota_unref(f.users[0]);
    quota_unref(f.users[1]);
    quota_unref(f.listener);
    quota_unref(f.daemon);
    ev_loop_destroy(f.loop);
}

TEST_FIXTURE(setup, teardown);

static void put(struct quota *quota, const char *name, int family, uint32_t ttl, const char *text)
{
    struct resolver_result result = {.error = ERR_SUCCESS, .count = 1, .ttl = ttl};

    result.addresses[0].any.sa_family = AF_INET;
    inet_pton(AF_INET, text, &result.addresses[0].in.sin_addr);
    cache_put(f.cache, quota, name, family, &result);
}

static bool has(struct quota *quota, const char *name, int family, const char *text)
{
    struct resolver_result result = {.error = ERR_TRY_AGAIN};
    char buf[INET_ADDRSTRLEN];

    if (!cache_find(f.cache, quota, name, family, &result))
        return false;
    ck_assert_uint_eq(result.error, ERR_SUCCESS);
    ck_assert_uint_eq(result.count, 1);
    ck_assert_str_eq(inet_ntop(AF_INET, &result.addresses[0].in.sin_addr, buf, sizeof(buf)), text);
    return true;
}

START_TEST(test_cache_is_the_users)
{
    put(f.session, "a.test", AF_INET, 30, "192.0.2.1");
    ck_assert_uint_gt(used(f.users[0]), 0);
    ck_assert_uint_eq(used(f.session), 0); /* a session that goes owes nothing */
    ck_assert(has(f.session, "a.test", AF_INET, "192.0.2.1"));
    ck_assert(has(f.users[0], "a.test", AF_INET, "192.0.2.1"));
    ck_assert(!has(f.users[1], "a.test", AF_INET, ""));
    ck_assert(!has(NULL, "a.test", AF_INET, ""));
    ck_assert(!has(f.session, "a.test", AF_INET6, ""));
    ck_assert(!has(f.session, "b.test", AF_INET, ""));
    put(f.users[1], "a.test", AF_INET, 30, "192.0.2.2");
    put(NULL, "a.test", AF_INET, 30, "192.0.2.3");
    ck_assert(has(f.users[1], "a.test", AF_INET, "192.0.2.2"));
    ck_assert(has(f.users[0], "a.test", AF_INET, "192.0.2.1"));
}
END_TEST

START_TEST(test_cache_forgets_in_time)
{
    put(f.session, "none.test", AF_INET, 0, "192.0.2.1");
    put(f.session, "short.test", AF_INET, 10, "192.0.2.1");
    put(f.session, "long.test", AF_INET, 86400, "192.0.2.1");
    ck_assert(!has(f.session, "none.test", AF_INET, ""));
    ahead_s += 9;
    ck_assert(has(f.session, "short.test", AF_INET, "192.0.2.1"));
    ahead_s += 2;
    ck_assert(!has(f.session, "short.test", AF_INET, ""));
    ck_assert(has(f.session, "long.test", AF_INET, "192.0.2.1"));
    ahead_s += CACHE_LIFE_MS / 1000 - 11;
    ck_assert(!has(f.session, "long.test", AF_INET, ""));
}
END_TEST

START_TEST(test_cache_is_bounded)
{
    char name[32];

    for (unsigned int i = 0; i <= CACHE_USER_ENTRIES; i++) {
        snprintf(name, sizeof(name), "n%u.test", i);
        put(f.session, name, AF_INET, 30, "192.0.2.1");
    }
    ck_assert(!has(f.session, "n0.test", AF_INET, ""));
    ck_assert(has(f.session, "n1.test", AF_INET, "192.0.2.1"));
    ck_assert(has(f.session, name, AF_INET, "192.0.2.1"));
    cache_clear(f.cache);
    ck_assert(!has(f.session, name, AF_INET, ""));
    ck_assert_uint_eq(used(f.daemon), 0);
    quota_limit(f.users[0], QUOTA_MEMORY, 100);
    put(f.session, "a.test", AF_INET, 30, "192.0.2.1");
    ck_assert(!has(f.session, "a.test", AF_INET, ""));
}
END_TEST

START_TEST(test_cache_keeps_the_last_answer)
{
    put(f.session, "a.test", AF_INET, 30, "192.0.2.1");
    put(f.session, "a.test", AF_INET, 30, "192.0.2.2");
    ck_assert(has(f.session, "a.test", AF_INET, "192.0.2.2"));
}
END_TEST
