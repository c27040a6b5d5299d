/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/suite.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/core/quota.h"
#include "daemon/names/dns.h"
#include "tests/unit/resolver_fixture.h"

static const struct {
    const char *host;
    int family;
    enum asock_wire_error error;
    unsigned int count;
    const char *first;
} answers[] = {
    {"a.test", AF_INET, ERR_SUCCESS, 1, "192.0.2.1"},
    {"a.test", AF_UNSPEC, ERR_SUCCESS, 1, "192.0.2.1"},
    {"a.test.", AF_UNSPEC, ERR_SUCCESS, 1, "192.0.2.1"},
    {"a", AF_UNSPEC, ERR_SUCCESS, 1, "192.0.2.1"}, /* no search domain, no need of a dot */
    {"a.test", AF_INET6, ERR_NO_DATA, 0, NULL},
    {"dual.test", AF_UNSPEC, ERR_SUCCESS, 2, NULL},
    {"dual.test", AF_INET6, ERR_SUCCESS, 1, "2001:db8::1"},
    {"many.test", AF_UNSPEC, ERR_SUCCESS, RESOLVER_ADDRESSES_MAX, NULL},
    {"nx.test", AF_UNSPEC, ERR_HOST_NOT_FOUND, 0, NULL},
    {"nx.test", AF_INET, ERR_HOST_NOT_FOUND, 0, NULL},
    {"nodata.test", AF_UNSPEC, ERR_NO_DATA, 0, NULL},
    {"fail.test", AF_UNSPEC, ERR_TRY_AGAIN, 0, NULL},
    {"fail.test", AF_INET, ERR_TRY_AGAIN, 0, NULL},
};

START_LOOP_TEST(test_resolver_answer, 0, sizeof(answers) / sizeof(answers[0]))
{
    struct asked asked = {0};
    struct fixture f;

    setup(&f);
    ck_assert_int_eq(ask(&f, &asked, answers[_i].host, answers[_i].family), 0);
    run_until_called(&f, &asked);
    ck_assert_msg(asked.result.error == answers[_i].error, "%s: %d", answers[_i].host,
                  (int)asked.result.error);
    ck_assert_uint_eq(asked.result.count, answers[_i].count);
    if (answers[_i].first)
        assert_address(&asked, 0, answers[_i].first);
    ck_assert_uint_gt(f.server.queries, 0);
    ck_assert_uint_le(f.server.queries, 2);
    teardown(&f);
}
END_TEST

static const struct {
    const char *host;
    int family;
    unsigned int count;
    const char *addresses[2];
} locals[] = {
    {"localhost", AF_UNSPEC, 2, {"::1", "127.0.0.1"}},
    {"a.localhost.", AF_UNSPEC, 2, {"::1", "127.0.0.1"}},
    {"localhost", AF_INET, 1, {"127.0.0.1"}},
    {"localhost", AF_INET6, 1, {"::1"}},
    {"192.0.2.9", AF_UNSPEC, 1, {"192.0.2.9"}},
    {"192.0.2.9", AF_INET, 1, {"192.0.2.9"}},
    {"2001:db8::9", AF_UNSPEC, 1, {"2001:db8::9"}},
};

START_LOOP_TEST(test_resolver_asks_nobody, 0, sizeof(locals) / sizeof(locals[0]))
{
    struct asked asked = {0};
    struct fixture f;

    setup(&f);
    ck_assert_int_eq(ask(&f, &asked, locals[_i].host, locals[_i].family), 0);
    run_until_called(&f, &asked);
    ck_assert_int_eq(asked.result.error, ERR_SUCCESS);
    ck_assert_uint_eq(asked.result.count, locals[_i].count);
    for (unsigned int i = 0; i < locals[_i].count; i++)
        assert_address(&asked, i, locals[_i].addresses[i]);
    ck_assert_uint_eq(f.server.queries, 0);
    teardown(&f);
}
END_TEST

START_TEST(test_resolver_refuses)
{
    struct asked asked = {0};
    struct fixture f;

    setup(&f);
    ck_assert_int_eq(ask(&f, &asked, "", AF_UNSPEC), -EINVAL);
    ck_assert_int_eq(ask(&f, &asked, "127.1", AF_UNSPEC), -EINVAL);
    ck_assert_int_eq(ask(&f, &asked, "::1", AF_INET), -EAFNOSUPPORT);
    ck_assert_int_eq(ask(&f, &asked, "127.0.0.1", AF_INET6), -EAFNOSUPPORT);
    ck_assert_ptr_null(asked.query.lookup);
    resolver_cancel(&asked.query);
    ck_assert_uint_eq(asked.calls, 0);
    teardown(&f);
}
END_TEST

START_TEST(test_resolver_no_answer_is_try_again)
{
    struct asked asked = {0};
    struct fixture f;

    setup_timeout(&f, 50);
    ck_assert_int_eq(ask(&f, &asked, "silent.test", AF_UNSPEC), 0);
    run_until_called(&f, &asked);
    ck_assert_int_eq(asked.result.error, ERR_TRY_AGAIN);
    ck_assert_uint_gt(f.server.queries, 0);
    teardown(&f);
}
END_TEST

START_TEST(test_resolver_cancel_in_flight)
{
    struct asked silent = {0}, other = {0};
    struct fixture f;

    setup(&f);
    ck_assert_int_eq(ask(&f, &silent, "silent.test", AF_INET), 0);
    while (f.server.queries == 0)
        ev_run(f.loop, EVRUN_ONCE);
    ck_assert_int_eq(ask(&f, &other, "a.test", AF_INET), 0);
    resolver_cancel(&silent.query);
    resolver_cancel(&silent.query);
    run_until_called(&f, &other);
    ck_assert_int_eq(other.result.error, ERR_SUCCESS);
    /* The last one out: everything is given up, and the next one works all the same. */
    ck_assert_int_eq(ask(&f, &silent, "silent.test", AF_UNSPEC), 0);
    resolver_cancel(&silent.query);
    ck_assert_uint_eq(silent.calls, 0);
    other.calls = 0;
    ck_assert_int_eq(ask(&f, &other, "dual.test", AF_UNSPEC), 0);
    run_until_called(&f, &other);
    ck_assert_uint_eq(other.result.count, 2);
    ck_assert_uint_eq(silent.calls, 0);
    teardown(&f);
}
END_TEST

/* Both have finished when the first callback runs. */
START_TEST(test_resolver_cancel_in_callback)
{
    struct asked first = {0}, second = {0}, third = {0};
    struct fixture f;

    setup(&f);
    first.cancels = &second;
    ck_assert_int_eq(ask(&f, &first, "localhost", AF_UNSPEC), 0);
    ck_assert_int_eq(ask(&f, &second, "localhost", AF_UNSPEC), 0);
    ck_assert_int_eq(ask(&f, &third, "localhost", AF_UNSPEC), 0);
    run_until_called(&f, &first);
    ck_assert_uint_eq(second.calls, 0);
    ck_assert_uint_eq(third.calls, 1);
    teardown(&f);
}
END_TEST

START_TEST(test_resolver_cancel_before_delivery)
{
    struct asked asked = {0};
    struct fixture f;

    setup(&f);
    ck_assert_int_eq(ask(&f, &asked, "localhost", AF_UNSPEC), 0);
    resolver_cancel(&asked.query);
    ev_run(f.loop, EVRUN_NOWAIT);
    ck_assert_uint_eq(asked.calls, 0);
    teardown(&f);
}
END_TEST

/* Others have their turn between those that finish together; all of them end. */
START_TEST(test_resolver_turns)
{
    static struct asked asked[3 * RESOLVER_TURN];
    struct fixture f;

    setup(&f);
    for (unsigned int i = 0; i < 3 * RESOLVER_TURN; i++)
        ck_assert_int_eq(ask(&f, &asked[i], "localhost", AF_UNSPEC), 0);
    for (unsigned int told = 0, calls = 0; told < 3 * RESOLVER_TURN; told = calls) {
        ev_run(f.loop, EVRUN_ONCE);
        for (calls = told; calls < 3 * RESOLVER_TURN && asked[calls].calls == 1;)
            calls++;
        ck_assert_uint_le(calls - told, RESOLVER_TURN);
    }
    teardown(&f);
}
END_TEST

START_TEST(test_resolver_start_in_callback)
{
    struct asked asked = {0};
    struct fixture f;

    setup(&f);
    asked.restart = &f;
    ck_assert_int_eq(ask(&f, &asked, "a.test", AF_INET), 0);
    while (asked.calls < 2)
        ev_run(f.loop, EVRUN_ONCE);
    assert_address(&asked, 0, "127.0.0.1");
    teardown(&f);
}
END_TEST

START_TEST(test_resolver_is_bounded)
{
    static struct asked asked[RESOLVER_LOOKUPS_MAX];
    struct asked more = {0};
    struct fixture f;

    setup(&f);
    for (int i = 0; i < RESOLVER_LOOKUPS_MAX; i++) {
        char name[32];

        snprintf(name, sizeof(name), "silent%d.test", i);
        ck_assert_int_eq(ask(&f, &asked[i], name, AF_INET), 0);
    }
    ck_assert_int_eq(ask(&f, &more, "localhost", AF_UNSPEC), -ENOBUFS);
    /* c-ares still has the cancelled ones. */
    resolver_cancel(&asked[0].query);
    ck_assert_int_eq(ask(&f, &more, "localhost", AF_UNSPEC), -ENOBUFS);
    for (int i = 1; i < RESOLVER_LOOKUPS_MAX; i++)
        resolver_cancel(&asked[i].query);
    ck_assert_int_eq(ask(&f, &more, "localhost", AF_UNSPEC), 0);
    run_until_called(&f, &more);
    for (int i = 0; i < RESOLVER_LOOKUPS_MAX; i++)
        ck_assert_uint_eq(asked[i].calls, 0);
    teardown(&f);
}
END_TEST

START_TEST(test_resolver_no_search_domains)
{
    struct asked asked = {0};
    struct fixture f;

    setenv("LOCALDOMAIN", "search.test", 1);
    setenv("RES_OPTIONS", "ndots:5", 1);
    setup(&f); /* removes them */
    ck_assert_ptr_null(getenv("LOCALDOMAIN"));
    ck_assert_int_eq(ask(&f, &asked, "nx", AF_INET), 0);
    run_until_called(&f, &asked);
    ck_assert_int_eq(asked.result.error, ERR_HOST_NOT_FOUND);
    ck_assert_uint_eq(f.server.queries, 1);
    ck_assert_str_eq(f.server.last, "nx");
    teardown(&f);
}
END_TEST

START_TEST(test_resolver_bad_servers)
{
    struct resolver_options options = {.servers = "not an address"};
    struct ev_loop *loop = ev_loop_new(0);
    struct resolver *resolver = NULL;

    ck_assert_int_eq(resolver_new(loop, &options, &resolver), -EINVAL);
    ck_assert_ptr_null(resolver);
    ck_assert_ptr_null(resolver_free(NULL));
    ev_loop_destroy(loop);
}
END_TEST
