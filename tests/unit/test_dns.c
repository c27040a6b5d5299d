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

#include "base/time.h"
#include "daemon/core/quota.h"
#include "daemon/names/dns.h"
#include "tests/unit/resolver_fixture.h"

static char resolv_conf[] = "/tmp/asock-resolv-XXXXXX";

/* As programs do that mean it: a new file takes the place of the old one. */
static void write_resolv_conf(const char *text)
{
    char path[sizeof(resolv_conf) + 4];
    FILE *file;

    snprintf(path, sizeof(path), "%s.new", resolv_conf);
    file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(rename(path, resolv_conf), 0);
}

static void setup_resolv_conf(struct fixture *f, const char *text)
{
    struct resolver_options options = {.timeout_ms = 30000, .tries = 1, .resolv_conf = resolv_conf};
    int fd = mkstemp(resolv_conf);

    ck_assert_int_ge(fd, 0);
    close(fd);
    if (text)
        write_resolv_conf(text);
    else
        unlink(resolv_conf);
    setup(f);
    resolver_free(f->resolver);
    options.port = (uint16_t)atoi(strchr(f->server.address, ':') + 1);
    ck_assert_int_eq(resolver_new(f->loop, &options, &f->resolver), 0);
}

/* No server is at the first address: without reading the new file this would never work. */
START_TEST(test_resolver_follows_resolv_conf)
{
    struct asked asked = {0};
    struct fixture f;

    setup_resolv_conf(&f, "nameserver 127.0.0.2\n");
    ck_assert_int_eq(ask(&f, &asked, "a.test", AF_INET), 0);
    run_until_called(&f, &asked);
    ck_assert_int_eq(asked.result.error, ERR_TRY_AGAIN);
    write_resolv_conf("nameserver 127.0.0.1\n");
    asked.calls = 0;
    ck_assert_int_eq(ask(&f, &asked, "a.test", AF_INET), 0);
    run_until_called(&f, &asked);
    ck_assert_int_eq(asked.result.error, ERR_SUCCESS);
    unlink(resolv_conf);
    teardown(&f);
}
END_TEST

START_TEST(test_resolver_change_with_lookups_in_flight)
{
    struct asked early = {0}, silent = {0}, late = {0};
    struct fixture f;

    setup_resolv_conf(&f, "nameserver 127.0.0.1\n");
    ck_assert_int_eq(ask(&f, &early, "a.test", AF_INET), 0);
    ck_assert_int_eq(ask(&f, &silent, "silent.test", AF_INET), 0);
    write_resolv_conf("nameserver 127.0.0.2\n");
    ck_assert_int_eq(ask(&f, &late, "a.test", AF_INET), 0);
    run_until_called(&f, &late);
    ck_assert_int_eq(late.result.error, ERR_TRY_AGAIN);
    while (early.calls == 0)
        ev_run(f.loop, EVRUN_ONCE);
    ck_assert_int_eq(early.result.error, ERR_SUCCESS);
    /* The last one of the old channel goes, and the next lookup clears it away. */
    resolver_cancel(&silent.query);
    write_resolv_conf("nameserver 127.0.0.1\n");
    late.calls = 0;
    ck_assert_int_eq(ask(&f, &late, "a.test", AF_INET), 0);
    run_until_called(&f, &late);
    ck_assert_int_eq(late.result.error, ERR_SUCCESS);
    ck_assert_uint_eq(silent.calls, 0);
    unlink(resolv_conf);
    teardown(&f);
}
END_TEST

/* ---- one question for all who ask the same ---- */

START_TEST(test_resolver_identical_questions_are_one)
{
    struct asked asked[4] = {0}, other = {0};
    struct fixture f;

    setup(&f);
    ck_assert_int_eq(ask(&f, &asked[0], "dual.test", AF_INET), 0);
    ck_assert_int_eq(ask(&f, &asked[1], "Dual.TEST.", AF_INET), 0);
    ck_assert_int_eq(ask(&f, &asked[2], "dual.test", AF_INET), 0);
    ck_assert_int_eq(ask(&f, &asked[3], "dual.test", AF_INET6), 0);
    resolver_cancel(&asked[0].query); /* who asked first goes: the others stay */
    run_until_called(&f, &asked[1]);
    run_until_called(&f, &asked[3]);
    ck_assert_uint_eq(asked[2].calls, 1);
    ck_assert_uint_eq(asked[0].calls, 0);
    assert_address(&asked[1], 0, "192.0.2.1");
    assert_address(&asked[2], 0, "192.0.2.1");
    assert_address(&asked[3], 0, "2001:db8::1");
    ck_assert_uint_eq(f.server.queries, 2);
    /* An answer is for those who were waiting; who asks then, asks. */
    ck_assert_int_eq(ask(&f, &other, "dual.test", AF_INET), 0);
    run_until_called(&f, &other);
    ck_assert_uint_eq(f.server.queries, 3);
    teardown(&f);
}
END_TEST

/* What the resolver and c-ares hold for each is charged with it. */
static uint64_t charged(const struct quota *quota)
{
    uint64_t lookups = quota_usage(quota, QUOTA_LOOKUPS).used;

    ck_assert_uint_eq(quota_usage(quota, QUOTA_MEMORY).used, lookups * MEMORY_LOOKUP);
    return lookups;
}

/*
 * Each is charged for its own waiting; who goes last leaves the charge as long as c-ares has the
 * question.
 */
START_TEST(test_resolver_charges_of_one_question)
{
    struct quota *daemon = quota_new(), *a, *b;
    struct asked first = {0}, second = {0}, third = {0};
    static struct asked fill[2 * DNS_CHANNELS_MAX];
    struct fixture f;

    setup(&f);
    a = quota_child(daemon, QUOTA_SESSION, NULL);
    b = quota_child(daemon, QUOTA_SESSION, NULL);
    /* No channel has one question only. */
    for (unsigned int i = 0; i < 2 * DNS_CHANNELS_MAX; i++) {
        char name[32];

        snprintf(name, sizeof(name), "silent%u.test", i);
        ck_assert_int_eq(ask(&f, &fill[i], name, AF_INET), 0);
    }
    ck_assert_int_eq(resolver_start(f.resolver, a, &first.query, "silent.test", AF_INET, on_done),
                     0);
    ck_assert_int_eq(resolver_start(f.resolver, b, &second.query, "silent.test", AF_INET, on_done),
                     0);
    ck_assert_uint_eq(charged(a), 1);
    ck_assert_uint_eq(charged(b), 1);
    resolver_cancel(&first.query);
    ck_assert_uint_eq(charged(a), 0);
    resolver_cancel(&second.query);
    ck_assert_uint_eq(charged(b), 1);
    ck_assert_int_eq(resolver_start(f.resolver, a, &third.query, "silent.test", AF_INET, on_done),
                     0);
    ck_assert_uint_eq(charged(a), 1);
    ck_assert_uint_eq(charged(b), 0);
    run_until_asked(&f, 2 * DNS_CHANNELS_MAX + 1);
    resolver_cancel(&third.query);
    ck_assert_uint_eq(charged(a), 1);
    for (unsigned int i = 0; i < 2 * DNS_CHANNELS_MAX; i++)
        resolver_cancel(&fill[i].query);
    ck_assert_uint_eq(charged(a), 0);
    ck_assert_uint_eq(f.server.queries, 2 * DNS_CHANNELS_MAX + 1);
    quota_unref(a);
    quota_unref(b);
    quota_unref(daemon);
    teardown(&f);
}
END_TEST

/* Who wants to answer in the server's place has to guess both. */
START_TEST(test_resolver_spreads_ports_and_ids)
{
    static struct asked asked[DNS_CHANNELS_MAX];
    unsigned int in_a_row = 0;
    struct fixture f;

    setup(&f);
    for (unsigned int i = 0; i < DNS_CHANNELS_MAX; i++) {
        char name[32];

        snprintf(name, sizeof(name), "silent%u.test", i);
        ck_assert_int_eq(ask(&f, &asked[i], name, AF_INET), 0);
    }
    run_until_asked(&f, DNS_CHANNELS_MAX);
    for (unsigned int i = 0; i < DNS_CHANNELS_MAX; i++) {
        for (unsigned int k = 0; k < i; k++)
            ck_assert_uint_ne(f.server.ports[i], f.server.ports[k]);
        in_a_row += i > 0 && f.server.ids[i] == (uint16_t)(f.server.ids[i - 1] + 1);
    }
    ck_assert_uint_lt(in_a_row, DNS_CHANNELS_MAX / 2);
    for (unsigned int i = 0; i < DNS_CHANNELS_MAX; i++)
        resolver_cancel(&asked[i].query);
    teardown(&f);
}
END_TEST

/* ---- servers that do not answer ---- */

/* At another address and the same port: takes questions and says nothing. */
static int silent_server(const struct fixture *f, const char *address)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    addr.sin_port = htons((uint16_t)atoi(strchr(f->server.address, ':') + 1));
    ck_assert_int_eq(inet_pton(AF_INET, address, &addr.sin_addr), 1);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static unsigned int count_questions(int fd)
{
    unsigned int n = 0;
    char packet[512];

    while (recv(fd, packet, sizeof(packet), 0) >= 0)
        n++;
    return n;
}

static void setup_servers(struct fixture *f, const char *resolv_text,
                          const struct resolver_options *more)
{
    struct resolver_options options = *more;

    setup_resolv_conf(f, resolv_text);
    resolver_free(f->resolver);
    options.resolv_conf = resolv_conf;
    options.port = (uint16_t)atoi(strchr(f->server.address, ':') + 1);
    ck_assert_int_eq(resolver_new(f->loop, &options, &f->resolver), 0);
}

START_TEST(test_resolver_silent_server_is_asked_last)
{
    /* Longer than this process waits for a processor: the other server answers in time. */
    const struct resolver_options options = {.timeout_ms = 1500};
    struct asked asked = {0};
    struct fixture f;
    int silent;

    setup_servers(&f, "nameserver 127.0.0.2\nnameserver 127.0.0.1\n", &options);
    silent = silent_server(&f, "127.0.0.2");
    ck_assert_int_eq(ask(&f, &asked, "a.test", AF_INET), 0);
    run_until_called(&f, &asked);
    ck_assert_int_eq(asked.result.error, ERR_SUCCESS);
    ck_assert_uint_eq(count_questions(silent), 1);
    for (int i = 0; i < 20; i++) {
        asked.calls = 0;
        ck_assert_int_eq(ask(&f, &asked, "a.test", AF_INET), 0);
        run_until_called(&f, &asked);
    }
    ck_assert_uint_eq(count_questions(silent), 0);
    /* And all the same, where the others do not answer either. */
    asked.calls = 0;
    ck_assert_int_eq(ask(&f, &asked, "silent.test", AF_INET), 0);
    while (count_questions(silent) == 0)
        ev_run(f.loop, EVRUN_ONCE);
    resolver_cancel(&asked.query);
    close(silent);
    unlink(resolv_conf);
    teardown(&f);
}
END_TEST

/*
 * c-ares alone would ask ten times, for 51 seconds. What is reported as over is over for the
 * server, too.
 */
START_TEST(test_resolver_total_time)
{
    const struct resolver_options options = {.timeout_ms = 50, .tries = 10, .total_ms = 120};
    struct asked asked = {0}, other = {0};
    struct fixture f;

    setup_servers(&f, "nameserver 127.0.0.1\n", &options);
    ck_assert_int_eq(ask(&f, &asked, "silent.test", AF_INET), 0);
    ck_assert_int_eq(ask(&f, &other, "silent.test", AF_INET), 0);
    run_until_called(&f, &asked);
    if (other.calls == 0) /* each has its own time */
        run_until_called(&f, &other);
    ck_assert_uint_eq(other.calls, 1);
    ck_assert_int_eq(asked.result.error, ERR_TRY_AGAIN);
    ck_assert_int_eq(other.result.error, ERR_TRY_AGAIN);
    ck_assert_uint_ge(f.server.queries, 1);
    unlink(resolv_conf);
    teardown(&f);
}
END_TEST

/* The first of two servers has not the time of both, whatever resolv.conf says. */
START_TEST(test_resolver_each_server_has_its_time)
{
    const struct resolver_options options = {.total_ms = 3000};
    struct asked asked = {0};
    struct fixture f;
    int silent;

    setup_servers(&f, "nameserver 127.0.0.2\nnameserver 127.0.0.1\noptions timeout:30\n", &options);
    silent = silent_server(&f, "127.0.0.2");
    ck_assert_int_eq(ask(&f, &asked, "a.test", AF_INET), 0);
    run_until_called(&f, &asked);
    ck_assert_int_eq(asked.result.error, ERR_SUCCESS);
    close(silent);
    unlink(resolv_conf);
    teardown(&f);
}
END_TEST

START_TEST(test_resolver_attempts_of_resolv_conf)
{
    const struct resolver_options options = {.timeout_ms = 20};
    struct asked asked = {0};
    struct fixture f;

    setup_servers(&f, "nameserver 127.0.0.1\noptions attempts:4\n", &options);
    ck_assert_int_eq(ask(&f, &asked, "silent.test", AF_INET), 0);
    run_until_called(&f, &asked);
    ck_assert_int_eq(asked.result.error, ERR_TRY_AGAIN);
    ck_assert_uint_eq(f.server.queries, 4);
    write_resolv_conf("nameserver 127.0.0.1\noptions rotate attempts:1\n");
    asked.calls = 0;
    ck_assert_int_eq(ask(&f, &asked, "silent.test", AF_INET), 0);
    run_until_called(&f, &asked);
    ck_assert_uint_eq(f.server.queries, 5);
    unlink(resolv_conf);
    teardown(&f);
}
END_TEST

/* A daemon that starts before the network does; without the file c-ares asks 127.0.0.1. */
START_TEST(test_resolver_no_resolv_conf_yet)
{
    struct asked asked = {0};
    struct fixture f;

    setup_resolv_conf(&f, NULL);
    ck_assert_int_eq(ask(&f, &asked, "a.test", AF_INET), 0);
    run_until_called(&f, &asked);
    ck_assert_int_eq(asked.result.error, ERR_SUCCESS);
    write_resolv_conf("nameserver 127.0.0.2\n");
    asked.calls = 0;
    ck_assert_int_eq(ask(&f, &asked, "a.test", AF_INET), 0);
    run_until_called(&f, &asked);
    ck_assert_int_eq(asked.result.error, ERR_TRY_AGAIN);
    unlink(resolv_conf);
    teardown(&f);
}
END_TEST

/* ---- what comes together goes on in turns ---- */

/* From now on a question leaves at once: the hosts file has been read. */
static void ask_first(struct fixture *f)
{
    struct asked first = {0};

    ck_assert_int_eq(ask(f, &first, "a.test", AF_INET), 0);
    run_until_called(f, &first);
}

/* Each has a channel of its own, and all of them have been answered. */
static void ask_and_answer_all(struct fixture *f, struct asked asked[static DNS_CHANNELS_MAX])
{
    ask_first(f);
    memset(asked, 0, DNS_CHANNELS_MAX * sizeof(*asked));
    for (unsigned int i = 0; i < DNS_CHANNELS_MAX; i++) {
        char name[32];

        snprintf(name, sizeof(name), "a.test%u", i);
        ck_assert_int_eq(ask(f, &asked[i], name, AF_INET), 0);
    }
    for (unsigned int i = 0; i < DNS_CHANNELS_MAX; i++)
        ev_invoke(f->loop, &f->server.io, EV_READ);
    ck_assert_uint_eq(f->server.queries, DNS_CHANNELS_MAX + 1);
}

static unsigned int count_called(const struct asked *asked, unsigned int count)
{
    unsigned int called = 0;

    for (unsigned int i = 0; i < count; i++)
        called += asked[i].calls;
    return called;
}

START_TEST(test_s52_answers_that_come_together_are_read_in_turns)
{
    static struct asked asked[DNS_CHANNELS_MAX];
    unsigned int before = 0, called;
    struct fixture f;

    setup(&f);
    ask_and_answer_all(&f, asked);
    for (; before < DNS_CHANNELS_MAX; before = called) {
        ev_run(f.loop, EVRUN_ONCE);
        called = count_called(asked, DNS_CHANNELS_MAX);
        ck_assert_uint_le(called - before, 1);
    }
    for (unsigned int i = 0; i < DNS_CHANNELS_MAX; i++)
        assert_address(&asked[i], 0, "192.0.2.1");
    teardown(&f);
}
END_TEST

static void wait_until(uint64_t time)
{
    while (time_now_ms() <= time)
        usleep(1000);
}

/* It came in time, whenever it is read. */
START_TEST(test_an_answer_that_waits_for_its_turn_is_in_time)
{
    const struct resolver_options options = {.timeout_ms = 200, .tries = 1, .total_ms = 60000};
    static struct asked asked[DNS_CHANNELS_MAX];
    struct fixture f;

    setup_servers(&f, "nameserver 127.0.0.1\n", &options);
    ask_and_answer_all(&f, asked);
    wait_until(time_now_ms() + (uint64_t)options.timeout_ms);
    while (count_called(asked, DNS_CHANNELS_MAX) < DNS_CHANNELS_MAX)
        ev_run(f.loop, EVRUN_ONCE);
    for (unsigned int i = 0; i < DNS_CHANNELS_MAX; i++)
        ck_assert_int_eq(asked[i].result.error, ERR_SUCCESS);
    ck_assert_uint_eq(f.server.queries, DNS_CHANNELS_MAX + 1);
    unlink(resolv_conf);
    teardown(&f);
}
END_TEST

/* The questions of those that nobody waits for any more are given back with them. */
START_TEST(test_s52_lookups_whose_time_is_over_end_in_turns)
{
    const struct resolver_options options = {.timeout_ms = 60000, .tries = 1, .total_ms = 2000};
    enum { COUNT = RESOLVER_TURN + DNS_CHANNELS_MAX / 2 };
    static struct asked asked[COUNT];
    struct quota *quota = quota_new();
    uint64_t left = COUNT;
    struct fixture f;

    setup_servers(&f, "nameserver 127.0.0.1\n", &options);
    ask_first(&f);
    memset(asked, 0, sizeof(asked));
    for (unsigned int i = 0; i < COUNT; i++) {
        char name[32];

        snprintf(name, sizeof(name), "silent%u.test", i);
        ck_assert_int_eq(resolver_start(f.resolver, quota, &asked[i].query, name, AF_INET, on_done),
                         0);
    }
    wait_until(time_now_ms() + (uint64_t)options.total_ms);
    while (left == COUNT) {
        ev_run(f.loop, EVRUN_ONCE);
        left = charged(quota);
    }
    ck_assert_uint_ge(left, COUNT - RESOLVER_TURN);
    while (count_called(asked, COUNT) < COUNT)
        ev_run(f.loop, EVRUN_ONCE);
    for (unsigned int i = 0; i < COUNT; i++)
        ck_assert_int_eq(asked[i].result.error, ERR_TRY_AGAIN);
    ck_assert_uint_eq(charged(quota), 0);
    quota_unref(quota);
    unlink(resolv_conf);
    teardown(&f);
}
END_TEST
