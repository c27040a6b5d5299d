/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which addresses are tried, when, and what is left of the others (S19). The clock is the test's.
 */
#include "daemon/net/happy_eyeballs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/session/op.h"
#include "daemon/core/quota.h"
#include "tests/lib/suite.h"
#include "proto/errors.h"

static uint64_t now;
static struct worker worker;
static struct happy_eyeballs he;
static int listener = -1, hole = -1, hole_filler[8];
static union resolver_address good, refused, black;

static int won_fd;
static int64_t lost_error;
static uint32_t verdict;
static const struct sockaddr *denied;     /* this one alone, whatever the verdict */
static int judged[2 * CONNECT_ADDRESSES]; /* families, in order */
static unsigned int judged_count;

static uint64_t read_clock(void)
{
    return now;
}

static uint32_t judge(struct happy_eyeballs *r, const struct sockaddr *addr)
{
    (void)r;
    judged[judged_count++] = addr->sa_family;
    return addr == denied ? ERR_ACCESS_DENIED : verdict;
}

static uint32_t judge_again(struct happy_eyeballs *r, const struct sockaddr *addr)
{
    (void)r;
    return addr == denied ? ERR_ACCESS_DENIED : verdict;
}

static int prepare(struct happy_eyeballs *r, struct netsock *ns, const struct sockaddr *addr)
{
    (void)addr;
    (void)r;
    (void)ns;
    return 0;
}

static void won(struct happy_eyeballs *r, int fd)
{
    (void)r;
    /* The losers are closed before anybody hears of the winner. */
    ck_assert_uint_eq(worker.fds_used, 1);
    won_fd = fd;
}

static void lost(struct happy_eyeballs *r, uint32_t error)
{
    (void)r;
    ck_assert_uint_eq(worker.fds_used, 0);
    lost_error = error;
}

static const struct happy_eyeballs_hooks hooks = {judge, judge_again, prepare, won, lost, NULL};

static int bound(int family, int backlog, union resolver_address *ret)
{
    socklen_t len = sizeof(*ret);
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memset(ret, 0, sizeof(*ret));
    ret->any.sa_family = (sa_family_t)family;
    if (family == AF_INET)
        ret->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        ret->in6.sin6_addr = in6addr_loopback;
    if (bind(fd, &ret->any, len) < 0)
        return -1;
    if (backlog >= 0)
        ck_assert_int_eq(listen(fd, backlog), 0);
    ck_assert_int_eq(getsockname(fd, &ret->any, &len), 0);
    return fd;
}

/* A listener whose queue is full answers no SYN. */
static void dig_hole(void)
{
    hole = bound(AF_INET, 0, &black);
    for (size_t i = 0; i < sizeof(hole_filler) / sizeof(hole_filler[0]); i++) {
        hole_filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connect(hole_filler[i], &black.any, sizeof(black.in)) < 0)
            ck_assert_int_eq(errno, EINPROGRESS);
    }
}

static void setup(void)
{
    now = 5000;
    won_fd = -1;
    lost_error = -1;
    verdict = ERR_SUCCESS;
    denied = NULL;
    judged_count = 0;
    ck_assert_int_eq(worker_init(&worker, read_clock), 0);
    worker.fds_max = 64;
    listener = bound(AF_INET, 16, &good);
    close(bound(AF_INET, -1, &refused));
    dig_hole();
    happy_eyeballs_init(&he, &worker, NULL, &hooks);
}

static void teardown(void)
{
    happy_eyeballs_stop(&he);
    if (won_fd >= 0) {
        close(won_fd);
        worker.fds_used--;
    }
    ck_assert_uint_eq(worker.fds_used, 0);
    worker_deinit(&worker);
    close(listener);
    close(hole);
    for (size_t i = 0; i < sizeof(hole_filler) / sizeof(hole_filler[0]); i++)
        close(hole_filler[i]);
}

/* Loopback has answered within the system call: two turns see it. */
static void turn(void)
{
    for (int i = 0; i < 3; i++)
        ev_run(worker.loop, EVRUN_NOWAIT);
}

static void pass(uint64_t ms)
{
    now += ms;
    turn();
}

TEST_FIXTURE(setup, teardown);

START_TEST(test_s19_a_refused_address_is_followed_at_once)
{
    union resolver_address addresses[] = {refused, good};

    happy_eyeballs_add(&he, addresses, 2);
    won_fd = happy_eyeballs_go(&he);
    if (won_fd < 0)
        turn();
    ck_assert_int_ge(won_fd, 0);
    ck_assert_uint_eq(judged_count, 2);
    ck_assert_mem_eq(&he.won, &good, sizeof(good));
}
END_TEST

static void expect_report(const char *wanted, uint32_t untried)
{
    struct connect_report report;
    char text[REPORT_TEXT_MAX];

    connect_report_init(&report);
    happy_eyeballs_report(&he, &report);
    connect_report_write_attempts(&report, false, text);
    ck_assert_str_eq(text, wanted);
    ck_assert_uint_eq(report.untried, untried);
}

START_TEST(test_each_attempt_is_told_with_its_end_and_its_time)
{
    union resolver_address addresses[] = {black, refused, good, good};

    happy_eyeballs_add(&he, addresses, 4);
    expect_report("", 4);
    ck_assert_int_lt(happy_eyeballs_go(&he), 0);
    pass(200);
    expect_report("127.0.0.1 running 200", 3);
    pass(50);
    ck_assert_int_ge(won_fd, 0);
    expect_report("127.0.0.1 given-up 250, 127.0.0.1 ConnectionRefused 0, 127.0.0.1 Success 0", 1);
}
END_TEST

START_TEST(test_a_denied_address_is_told_as_denied)
{
    verdict = ERR_ACCESS_DENIED;
    happy_eyeballs_add(&he, &good, 1);
    ck_assert_int_lt(happy_eyeballs_go(&he), 0);
    turn();
    expect_report("127.0.0.1 denied 0", 0);
}
END_TEST

START_TEST(test_s19_a_silent_address_has_250_ms)
{
    union resolver_address addresses[] = {black, good};

    happy_eyeballs_add(&he, addresses, 2);
    ck_assert_int_lt(happy_eyeballs_go(&he), 0);
    pass(249);
    ck_assert_uint_eq(judged_count, 1);
    ck_assert_int_lt(won_fd, 0);
    pass(1);
    ck_assert_uint_eq(judged_count, 2);
    ck_assert_int_ge(won_fd, 0);
}
END_TEST

START_TEST(test_s19_a_waits_50_ms_for_aaaa)
{
    happy_eyeballs_expect(&he, AF_INET);
    happy_eyeballs_expect(&he, AF_INET6);
    happy_eyeballs_add(&he, &good, 1);
    happy_eyeballs_family_done(&he, AF_INET, ERR_SUCCESS);
    pass(49);
    ck_assert_uint_eq(judged_count, 0);
    pass(1);
    ck_assert_uint_eq(judged_count, 1);
    ck_assert_int_ge(won_fd, 0);
}
END_TEST

START_TEST(test_s19_a_negative_aaaa_ends_the_waiting)
{
    happy_eyeballs_expect(&he, AF_INET);
    happy_eyeballs_expect(&he, AF_INET6);
    happy_eyeballs_add(&he, &good, 1);
    happy_eyeballs_family_done(&he, AF_INET, ERR_SUCCESS);
    turn();
    ck_assert_uint_eq(judged_count, 0);
    happy_eyeballs_family_done(&he, AF_INET6, ERR_NO_DATA);
    turn();
    ck_assert_int_ge(won_fd, 0);
}
END_TEST

static union resolver_address some_v6(void)
{
    union resolver_address address = {.in6.sin6_family = AF_INET6};

    address.in6.sin6_addr = in6addr_loopback;
    address.in6.sin6_port = htons(9);
    return address;
}

START_TEST(test_s19_aaaa_does_not_wait_for_a)
{
    union resolver_address six = some_v6();

    happy_eyeballs_expect(&he, AF_INET);
    happy_eyeballs_expect(&he, AF_INET6);
    happy_eyeballs_add(&he, &six, 1);
    happy_eyeballs_family_done(&he, AF_INET6, ERR_SUCCESS);
    turn();
    ck_assert_uint_eq(judged_count, 1);
    ck_assert_int_eq(judged[0], AF_INET6);
    /* It failed, and A may still bring one: not lost yet. */
    ck_assert_int_eq(lost_error, -1);
    happy_eyeballs_add(&he, &good, 1);
    happy_eyeballs_family_done(&he, AF_INET, ERR_SUCCESS);
    turn();
    ck_assert_int_ge(won_fd, 0);
}
END_TEST

START_TEST(test_s19_a_late_family_waits_for_its_turn)
{
    happy_eyeballs_expect(&he, AF_INET);
    happy_eyeballs_expect(&he, AF_INET6);
    happy_eyeballs_add(&he, &black, 1);
    happy_eyeballs_family_done(&he, AF_INET, ERR_SUCCESS);
    pass(50);
    ck_assert_uint_eq(judged_count, 1);
    pass(100);
    happy_eyeballs_add(&he, &good, 1);
    happy_eyeballs_family_done(&he, AF_INET6, ERR_SUCCESS);
    pass(149);
    ck_assert_uint_eq(judged_count, 1);
    pass(1);
    ck_assert_int_ge(won_fd, 0);
}
END_TEST

START_TEST(test_s19_families_take_turns)
{
    union resolver_address six = some_v6();
    union resolver_address addresses[] = {good, good, good, six, six};
    static const int expected[] = {AF_INET6, AF_INET, AF_INET6, AF_INET, AF_INET};

    for (int i = 0; i < 3; i++)
        addresses[i] = refused;
    happy_eyeballs_add(&he, addresses, 5);
    ck_assert_int_lt(happy_eyeballs_go(&he), 0);
    for (int i = 0; i < 5; i++)
        turn();
    ck_assert_uint_eq(judged_count, 5);
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(judged[i], expected[i]);
    ck_assert_int_eq(lost_error, ERR_CONNECTION_REFUSED);
}
END_TEST

/* 127.0.0.1 and ::1 refuse: RFC 6724 would have ::1 first. */
START_TEST(test_s19_a_list_keeps_its_order)
{
    union resolver_address addresses[] = {refused, refused, some_v6()};
    static const int expected[] = {AF_INET, AF_INET6, AF_INET};

    he.keeps_order = true;
    happy_eyeballs_add(&he, addresses, 3);
    ck_assert_int_lt(happy_eyeballs_go(&he), 0);
    for (int i = 0; i < 3; i++)
        turn();
    ck_assert_uint_eq(judged_count, 3);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(judged[i], expected[i]);
}
END_TEST

/* A names its addresses later, and then there is no place left. */
START_TEST(test_s19_no_family_keeps_the_other_out)
{
    union resolver_address six[CONNECT_ADDRESSES];

    for (unsigned int i = 0; i < CONNECT_ADDRESSES; i++)
        six[i] = some_v6();
    happy_eyeballs_expect(&he, AF_INET);
    happy_eyeballs_expect(&he, AF_INET6);
    happy_eyeballs_add(&he, six, CONNECT_ADDRESSES);
    happy_eyeballs_add(&he, &good, 1);
    happy_eyeballs_family_done(&he, AF_INET6, ERR_SUCCESS);
    happy_eyeballs_family_done(&he, AF_INET, ERR_SUCCESS);
    for (unsigned int i = 0; i < CONNECT_ADDRESSES; i++)
        turn();
    ck_assert_int_ge(won_fd, 0);
    ck_assert_uint_eq(he.count, CONNECT_ADDRESSES);
}
END_TEST

START_TEST(test_s24_all_denied_is_access_denied)
{
    union resolver_address addresses[] = {good, refused};

    verdict = ERR_ACCESS_DENIED;
    happy_eyeballs_add(&he, addresses, 2);
    ck_assert_int_lt(happy_eyeballs_go(&he), 0);
    turn();
    ck_assert_int_eq(lost_error, ERR_ACCESS_DENIED);
    ck_assert_uint_eq(judged_count, 2);
}
END_TEST

/* The kernel may have connected it already: until that is reported, it is judged. */
START_TEST(test_s24_judged_again_before_it_is_told)
{
    happy_eyeballs_expect(&he, AF_INET);
    happy_eyeballs_add(&he, &good, 1);
    happy_eyeballs_family_done(&he, AF_INET, ERR_SUCCESS);
    ck_assert_uint_eq(worker.fds_used, 1);
    ck_assert(!happy_eyeballs_judge_again(&he));
    verdict = ERR_ACCESS_DENIED;
    ck_assert(happy_eyeballs_judge_again(&he));
    ck_assert_uint_eq(worker.fds_used, 0);
    ck_assert(!happy_eyeballs_judge_again(&he));
    turn();
    ck_assert_int_lt(won_fd, 0);
    ck_assert_int_eq(lost_error, ERR_ACCESS_DENIED);
}
END_TEST

/* It was not judged again yet: that happens before it wins. */
START_TEST(test_s56_what_has_become_denied_does_not_win)
{
    happy_eyeballs_expect(&he, AF_INET);
    happy_eyeballs_add(&he, &good, 1);
    happy_eyeballs_family_done(&he, AF_INET, ERR_SUCCESS);
    ck_assert_uint_eq(worker.fds_used, 1);
    verdict = ERR_ACCESS_DENIED;
    turn();
    ck_assert_int_lt(won_fd, 0);
    ck_assert_int_eq(lost_error, ERR_ACCESS_DENIED);
}
END_TEST

/* The same of one that the kernel connects later, and the next address has its turn. */
START_TEST(test_s56_what_has_become_denied_makes_way)
{
    union resolver_address addresses[] = {black, good};

    happy_eyeballs_add(&he, addresses, 2);
    ck_assert_int_lt(happy_eyeballs_go(&he), 0);
    denied = &he.attempts[0].address.any;
    /* As the kernel tells it. */
    ev_invoke(worker.loop, &he.attempts[0].ns.io, EV_WRITE);
    ck_assert_int_lt(won_fd, 0);
    turn();
    ck_assert_int_ge(won_fd, 0);
    ck_assert_uint_eq(he.won.in.sin_port, good.in.sin_port);
}
END_TEST

START_TEST(test_s24_what_is_judged_again_and_allowed_goes_on)
{
    happy_eyeballs_expect(&he, AF_INET);
    happy_eyeballs_add(&he, &good, 1);
    happy_eyeballs_family_done(&he, AF_INET, ERR_SUCCESS);
    ck_assert(!happy_eyeballs_judge_again(&he));
    turn();
    ck_assert_int_ge(won_fd, 0);
}
END_TEST

START_TEST(test_s24_the_last_real_error_outlives_a_later_denial)
{
    union resolver_address addresses[] = {refused, black};

    happy_eyeballs_add(&he, addresses, 2);
    ck_assert_int_lt(happy_eyeballs_go(&he), 0);
    turn();
    ck_assert_uint_eq(worker.fds_used, 1);
    verdict = ERR_ACCESS_DENIED;
    ck_assert(happy_eyeballs_judge_again(&he));
    turn();
    ck_assert_int_eq(lost_error, ERR_CONNECTION_REFUSED);
}
END_TEST

START_TEST(test_s24_a_closed_attempt_makes_way_for_the_next)
{
    union resolver_address addresses[] = {black, good};

    happy_eyeballs_add(&he, addresses, 2);
    ck_assert_int_lt(happy_eyeballs_go(&he), 0);
    denied = &he.attempts[0].address.any;
    ck_assert(happy_eyeballs_judge_again(&he));
    turn();
    ck_assert_int_ge(won_fd, 0);
}
END_TEST

START_TEST(test_s18_the_resolvers_error_that_says_most)
{
    static const struct {
        uint32_t a, aaaa, expected;
    } rows[] = {
        {ERR_HOST_NOT_FOUND, ERR_HOST_NOT_FOUND, ERR_HOST_NOT_FOUND},
        {ERR_NO_DATA, ERR_NO_DATA, ERR_NO_DATA},
        {ERR_HOST_NOT_FOUND, ERR_NO_DATA, ERR_NO_DATA},
        {ERR_TRY_AGAIN, ERR_NO_DATA, ERR_TRY_AGAIN},
        {ERR_NO_DATA, ERR_TRY_AGAIN, ERR_TRY_AGAIN},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        happy_eyeballs_init(&he, &worker, NULL, &hooks);
        happy_eyeballs_expect(&he, AF_INET);
        happy_eyeballs_expect(&he, AF_INET6);
        happy_eyeballs_family_done(&he, AF_INET, rows[i].a);
        turn();
        happy_eyeballs_family_done(&he, AF_INET6, rows[i].aaaa);
        turn();
        ck_assert_int_eq(lost_error, rows[i].expected);
    }
}
END_TEST

START_TEST(test_s21_a_stopped_race_leaves_nothing)
{
    union resolver_address addresses[] = {black, black, good};

    happy_eyeballs_add(&he, addresses, 3);
    ck_assert_int_lt(happy_eyeballs_go(&he), 0);
    pass(250);
    ck_assert_uint_eq(worker.fds_used, 2);
    happy_eyeballs_stop(&he);
    ck_assert_uint_eq(worker.fds_used, 0);
    pass(10000);
    ck_assert_int_lt(won_fd, 0);
    ck_assert_int_eq(lost_error, -1);
}
END_TEST

/*
 * Without room for a second one at a time the first goes on alone, and the next is tried once there
 * is room.
 */
START_TEST(test_s49_attempts_beside_the_first_are_charged)
{
    union resolver_address addresses[] = {black, black, good};

    quota_limit(worker.quota, QUOTA_ATTEMPTS, 0);
    happy_eyeballs_init(&he, &worker, worker.quota, &hooks);
    happy_eyeballs_add(&he, addresses, 3);
    ck_assert_int_lt(happy_eyeballs_go(&he), 0);
    pass(10000);
    ck_assert_uint_eq(worker.fds_used, 1);
    quota_limit(worker.quota, QUOTA_ATTEMPTS, 1);
    pass(250);
    ck_assert_uint_eq(worker.fds_used, 2);
    ck_assert_uint_eq(quota_usage(worker.quota, QUOTA_ATTEMPTS).used, 1);
    pass(10000);
    ck_assert_uint_eq(worker.fds_used, 2);
    quota_limit(worker.quota, QUOTA_ATTEMPTS, 2);
    pass(250);
    ck_assert_int_ge(won_fd, 0);
    ck_assert_uint_eq(quota_usage(worker.quota, QUOTA_ATTEMPTS).used, 0);
}
END_TEST
