/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The report of a connect, and what a socket keeps of it. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "daemon/audit/connect_report.h"
#include "daemon/core/quota.h"
#include "proto/errors.h"
#include "tests/lib/suite.h"

static struct quota *daemon_quota, *session_quota;
static struct list kept;
static struct connect_report report;

static void setup(void)
{
    daemon_quota = quota_new();
    session_quota = quota_child(daemon_quota, QUOTA_SESSION, "s");
    quota_limit(daemon_quota, QUOTA_MEMORY, 1024 * 1024);
    list_init(&kept);
    connect_report_init(&report);
}

static void teardown(void)
{
    ck_assert_uint_eq(quota_usage(session_quota, QUOTA_MEMORY).used, 0);
    quota_unref(session_quota);
    quota_unref(daemon_quota);
}

TEST_FIXTURE(setup, teardown);

static struct endpoint address_of(const char *text)
{
    struct endpoint endpoint = {.port = 443};
    bool is_ipv4 = !strchr(text, ':');

    endpoint.address_len = is_ipv4 ? 4 : 16;
    ck_assert_int_eq(inet_pton(is_ipv4 ? AF_INET : AF_INET6, text, endpoint.address), 1);
    return endpoint;
}

static void try(const char *address, enum report_outcome outcome, uint32_t error, uint32_t ms)
{
    struct report_attempt attempt;

    memset(&attempt, 0, sizeof(attempt));
    attempt.address = address_of(address);
    attempt.outcome = (uint16_t)outcome;
    attempt.error = (uint16_t)error;
    attempt.ms = ms;
    connect_report_attempt(&report, &attempt);
}

static struct resolver_result answer(enum resolver_source source, enum asock_wire_error error)
{
    struct resolver_result result = {.error = error, .source = source};

    result.server.in.sin_family = AF_INET;
    result.server.in.sin_port = htons(53);
    result.server.in.sin_addr.s_addr = htonl(0xc0000235);
    return result;
}

static void expect_reason(uint32_t error, const char *wanted)
{
    char text[REPORT_REASON_MAX];

    connect_report_write_reason(&report, error, text);
    ck_assert_str_eq(text, wanted);
}

static void expect_attempts(const char *wanted)
{
    char text[REPORT_TEXT_MAX];

    connect_report_write_attempts(&report, false, text);
    ck_assert_str_eq(text, wanted);
}

static void expect_lookups(bool hides_server, const char *wanted)
{
    char text[REPORT_TEXT_MAX];

    connect_report_write_lookups(&report, hides_server, text);
    ck_assert_str_eq(text, wanted);
}

START_TEST(test_each_address_has_its_error_and_its_time)
{
    char text[REPORT_TEXT_MAX];

    try("192.0.2.1", REPORT_FAILED, ERR_TIMED_OUT, 5049);
    try("2001:db8::1", REPORT_FAILED, ERR_HOST_UNREACHABLE, 3);
    try("10.0.0.1", REPORT_DENIED, ERR_ACCESS_DENIED, 0);
    expect_reason(
        ERR_HOST_UNREACHABLE,
        "192.0.2.1: timed out after 5.0 s; 2001:db8::1: no route to host; 1 denied by policy");
    expect_attempts("192.0.2.1 TimedOut 5049, 2001:db8::1 HostUnreachable 3, 10.0.0.1 denied 0");
    expect_lookups(false, "");
    connect_report_write_attempts(&report, true, text);
    ck_assert_str_eq(text,
                     "192.0.2.1 TimedOut 5049, 2001:db8::1 HostUnreachable 3, hidden denied 0");
}
END_TEST

START_TEST(test_what_the_time_out_has_ended_timed_out)
{
    try("192.0.2.1", REPORT_GIVEN_UP, ERR_SUCCESS, 1200);
    report.untried = 2;
    expect_reason(ERR_TIMED_OUT, "192.0.2.1: timed out after 1.2 s; 2 more addresses");
    expect_attempts("192.0.2.1 given-up 1200");
    report.untried = 1;
    expect_reason(ERR_TIMED_OUT, "192.0.2.1: timed out after 1.2 s; 1 more address");
}
END_TEST

START_TEST(test_the_name_server_is_for_the_administrator)
{
    struct resolver_result found = answer(RESOLVER_SERVER, ERR_SUCCESS);
    struct resolver_result none = answer(RESOLVER_HOSTS, ERR_NO_DATA);

    connect_report_answered(&report.lookups[0], 12, &found);
    connect_report_answered(&report.lookups[1], 0, &none);
    expect_lookups(false, "IPv4 server 192.0.2.53:53 Success 12, IPv6 hosts NoData 0");
    expect_lookups(true, "IPv4 server Success 12, IPv6 hosts NoData 0");
    found.server.in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(5353)};
    ck_assert_int_eq(inet_pton(AF_INET6, "2001:db8::53", &found.server.in6.sin6_addr), 1);
    connect_report_answered(&report.lookups[1], 7, &found);
    expect_lookups(
        false, "IPv4 server 192.0.2.53:53 Success 12, IPv6 server [2001:db8::53]:5353 Success 7");
}
END_TEST

START_TEST(test_a_name_that_was_not_resolved)
{
    struct resolver_result missing = answer(RESOLVER_SERVER, ERR_HOST_NOT_FOUND);
    struct resolver_result silent = answer(RESOLVER_NOBODY, ERR_TRY_AGAIN);

    expect_reason(ERR_SOCKET_ERROR, "");
    connect_report_answered(&report.lookups[0], 3, &missing);
    expect_reason(ERR_HOST_NOT_FOUND, "host name not found (according to a name server)");
    connect_report_answered(&report.lookups[1], 10000, &silent);
    expect_reason(
        ERR_TRY_AGAIN,
        "name servers did not answer; try again after 10.0 s (no name server has answered)");
    report.lookups[1] = (struct report_lookup){.outcome = REPORT_GIVEN_UP, .ms = 2000};
    expect_reason(ERR_TIMED_OUT, "timed out after 2.0 s (no name server has answered)");
    expect_lookups(false, "IPv4 server 192.0.2.53:53 HostNotFound 3, IPv6 nobody given-up 2000");
}
END_TEST

START_TEST(test_texts_have_a_bound)
{
    char text[REPORT_TEXT_MAX], reason[REPORT_REASON_MAX];

    for (int i = 0; i < 40; i++)
        try("2001:db8:1111:2222:3333:4444:5555:6666", REPORT_FAILED,
            ERR_ADDRESS_FAMILY_NOT_SUPPORTED, UINT32_MAX);
    report.untried = UINT32_MAX - 32;
    ck_assert_uint_eq(report.attempt_count, REPORT_ATTEMPTS_MAX);
    ck_assert_uint_eq(report.further, 40 - REPORT_ATTEMPTS_MAX);
    connect_report_write_attempts(&report, false, text);
    ck_assert_uint_lt(strlen(text), sizeof(text) - 1); /* none is cut */
    connect_report_write_reason(&report, ERR_TIMED_OUT, reason);
    ck_assert_uint_lt(strlen(reason), sizeof(reason));
}
END_TEST

START_TEST(test_the_winner_is_among_those_told)
{
    for (int i = 0; i < 12; i++)
        try("192.0.2.1", REPORT_FAILED, ERR_TIMED_OUT, 1);
    try("192.0.2.99", REPORT_OK, ERR_SUCCESS, 2);
    ck_assert_uint_eq(report.further, 13 - REPORT_ATTEMPTS_MAX);
    ck_assert_int_eq(report.attempts[REPORT_ATTEMPTS_MAX - 1].outcome, REPORT_OK);
}
END_TEST

START_TEST(test_what_is_kept_is_what_was_told)
{
    struct resolver_result found = answer(RESOLVER_CACHE, ERR_SUCCESS);
    struct endpoint won = address_of("192.0.2.99");
    struct connect_report opened;
    struct kept_report *one;

    connect_report_answered(&report.lookups[1], 12, &found);
    try("192.0.2.1", REPORT_FAILED, ERR_TIMED_OUT, 250);
    try("192.0.2.99", REPORT_OK, ERR_SUCCESS, 2);
    report.ms = 264;
    report.untried = 3;
    strcpy(report.rule, "/etc/asockd/policy.d/50-x.policy:12");
    one = connect_report_keep(&kept, session_quota, &report);
    ck_assert_ptr_nonnull(one);
    ck_assert_uint_gt(quota_usage(session_quota, QUOTA_MEMORY).used, 64);
    connect_report_open(one, &won, &opened);
    ck_assert_mem_eq(&opened, &report, sizeof(report));
    connect_report_drop(one);
    ck_assert(list_is_empty(&kept));
}
END_TEST

/* 10,000 idle connections to one service cost one report. */
START_TEST(test_equal_ones_are_kept_once)
{
    struct kept_report *one, *two, *other;
    uint64_t used;

    try("192.0.2.1", REPORT_OK, ERR_SUCCESS, 2);
    one = connect_report_keep(&kept, session_quota, &report);
    used = quota_usage(session_quota, QUOTA_MEMORY).used;
    report.attempts[0].address = address_of("192.0.2.2");
    two = connect_report_keep(&kept, session_quota, &report);
    ck_assert_ptr_eq(one, two);
    ck_assert_uint_eq(quota_usage(session_quota, QUOTA_MEMORY).used, used);
    report.ms = 1;
    other = connect_report_keep(&kept, session_quota, &report);
    ck_assert_ptr_ne(one, other);
    connect_report_drop(one);
    ck_assert_uint_gt(quota_usage(session_quota, QUOTA_MEMORY).used, used);
    connect_report_drop(two);
    connect_report_drop(other);
}
END_TEST

/* A draining socket has it longer than the session has its list. */
START_TEST(test_it_outlives_the_session)
{
    struct kept_report *one = connect_report_keep(&kept, session_quota, &report);

    connect_report_forget(&kept);
    memset(&kept, 0xff, sizeof(kept));
    connect_report_drop(one);
}
END_TEST

START_TEST(test_without_room_there_is_none)
{
    quota_limit(daemon_quota, QUOTA_MEMORY, 10);
    ck_assert_ptr_null(connect_report_keep(&kept, session_quota, &report));
    ck_assert_ptr_null(connect_report_drop(NULL));
}
END_TEST
