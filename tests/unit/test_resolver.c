/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/suite.h"
#include "daemon/names/resolver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * A DNS server on the test's own loop: what it answers depends on the first label of the name.
 *     a        one A record                        dual     an A and an AAAA record
 *     many     28 A and 10 AAAA records            nx       NXDOMAIN
 *     nodata   no records                          fail     SERVFAIL
 *     silent   no answer at all
 */
struct server {
    struct ev_io io;
    char address[32];
    unsigned int queries;
    unsigned int rcode;
    char last[256]; /* name of the last query */
};

struct fixture {
    struct ev_loop *loop;
    struct ev_timer deadline;
    struct server server;
    struct resolver *resolver;
};

/* A query of the test's. */
struct asked {
    struct resolver_query query; /* first */
    unsigned int calls;
    struct resolver_result result;
    struct asked *cancels; /* in its callback */
    struct fixture *restart;
};

enum { TYPE_A = 1, TYPE_AAAA = 28 };

static size_t put_record(uint8_t *out, unsigned int type, uint8_t last)
{
    /* name: pointer to the question; class IN; TTL 0 */
    uint8_t head[] = {0xc0, 12, 0, (uint8_t)type, 0, 1, 0, 0, 0, 0, 0, type == TYPE_A ? 4 : 16};

    memcpy(out, head, sizeof(head));
    if (type == TYPE_A)
        memcpy(out + sizeof(head), (uint8_t[]){192, 0, 2, last}, 4);
    else
        memcpy(out + sizeof(head), (uint8_t[16]){0x20, 1, 0xd, 0xb8, [15] = last}, 16);
    return sizeof(head) + head[sizeof(head) - 1];
}

static unsigned int count_records(const char *name, unsigned int type)
{
    if (strcmp(name, "many") == 0)
        return type == TYPE_A ? 28 : 10; /* both packets stay below 512 octets */
    if (strcmp(name, "dual") == 0)
        return 1;
    return type == TYPE_A && (strcmp(name, "a") == 0 || strcmp(name, "a.test") == 0);
}

static unsigned int rcode_of(const char *name)
{
    return strcmp(name, "nx") == 0 ? 3 : strcmp(name, "fail") == 0 ? 2 : 0;
}

/* The name with dots; returns the octets of the question. */
static size_t read_question(const uint8_t *p, char *name, unsigned int *ret_type)
{
    size_t n = 0, len = 0;

    while (p[n]) {
        if (n > 0)
            name[len++] = '.';
        memcpy(name + len, p + n + 1, p[n]);
        len += p[n];
        n += p[n] + 1u;
    }
    name[len] = '\0';
    *ret_type = p[n + 2];
    return n + 5;
}

static void on_query(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct server *server = io->data;
    struct sockaddr_in from;
    socklen_t from_len = sizeof(from);
    uint8_t packet[2048];
    unsigned int type, count;
    char first[256];
    ssize_t len;
    size_t n;

    (void)loop, (void)events;
    len = recvfrom(io->fd, packet, 512, 0, (struct sockaddr *)&from, &from_len);
    ck_assert_int_gt(len, 12);
    n = 12 + read_question(packet + 12, server->last, &type);
    server->queries++;
    if (strncmp(server->last, "silent", 6) == 0)
        return;
    snprintf(first, sizeof(first), "%s", server->last);
    first[strcspn(first, ".")] = '\0';
    count = count_records(first, type);
    packet[2] = 0x84;
    packet[3] = (uint8_t)(0x80 | rcode_of(first));
    memset(packet + 6, 0, 6);
    packet[7] = (uint8_t)count;
    for (unsigned int i = 0; i < count; i++)
        n += put_record(packet + n, type, (uint8_t)(i + 1));
    ck_assert_int_eq(sendto(io->fd, packet, n, 0, (struct sockaddr *)&from, from_len), (int)n);
}

static void on_deadline(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    (void)loop, (void)timer, (void)events;
    ck_abort_msg("nothing happened for 30 s");
}

static void server_start(struct server *server, struct ev_loop *loop)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    snprintf(server->address, sizeof(server->address), "127.0.0.1:%u", ntohs(addr.sin_port));
    ev_io_init(&server->io, on_query, fd, EV_READ);
    server->io.data = server;
    ev_io_start(loop, &server->io);
}

static void setup(struct fixture *f)
{
    struct resolver_options options = {.timeout_ms = 30000, .tries = 1};

    memset(f, 0, sizeof(*f));
    resolver_clean_environment();
    f->loop = ev_loop_new(0);
    server_start(&f->server, f->loop);
    options.servers = f->server.address;
    ck_assert_int_eq(resolver_new(f->loop, &options, &f->resolver), 0);
    ev_timer_init(&f->deadline, on_deadline, 30., 0.);
    ev_timer_start(f->loop, &f->deadline);
}

static void setup_timeout(struct fixture *f, int timeout_ms)
{
    struct resolver_options options = {.timeout_ms = timeout_ms, .tries = 1};

    setup(f);
    resolver_free(f->resolver);
    options.servers = f->server.address;
    ck_assert_int_eq(resolver_new(f->loop, &options, &f->resolver), 0);
}

static void teardown(struct fixture *f)
{
    f->resolver = resolver_free(f->resolver);
    ck_assert_ptr_null(f->resolver);
    ev_io_stop(f->loop, &f->server.io);
    close(f->server.io.fd);
    ev_timer_stop(f->loop, &f->deadline);
    ev_loop_destroy(f->loop);
}

static void on_done(struct resolver_query *query, const struct resolver_result *result)
{
    struct asked *asked = (struct asked *)query;

    asked->calls++;
    asked->result = *result;
    if (asked->cancels)
        resolver_cancel(&asked->cancels->query);
    if (asked->restart) {
        struct resolver *resolver = asked->restart->resolver;

        asked->restart = NULL;
        ck_assert_int_eq(resolver_start(resolver, NULL, query, "127.0.0.1", AF_UNSPEC, on_done), 0);
        ck_assert_uint_eq(asked->calls, 1);
    }
}

static int ask(struct fixture *f, struct asked *asked, const char *host, int family)
{
    return resolver_start(f->resolver, NULL, &asked->query, host, family, on_done);
}

static void run_until_called(struct fixture *f, struct asked *asked)
{
    ck_assert_uint_eq(asked->calls, 0);
    while (asked->calls == 0)
        ev_run(f->loop, EVRUN_ONCE);
    ck_assert_uint_eq(asked->calls, 1);
    ck_assert_ptr_null(asked->query.lookup);
}

static void assert_address(const struct asked *asked, unsigned int i, const char *text)
{
    const union resolver_address *addr = &asked->result.addresses[i];
    char buf[INET6_ADDRSTRLEN];

    if (addr->any.sa_family == AF_INET)
        inet_ntop(AF_INET, &addr->in.sin_addr, buf, sizeof(buf));
    else
        inet_ntop(AF_INET6, &addr->in6.sin6_addr, buf, sizeof(buf));
    ck_assert_str_eq(buf, text);
}

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

/* Others have their turn between those that finish together; all of them are told in the end. */
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
    for (int i = 0; i < RESOLVER_LOOKUPS_MAX; i++)
        ck_assert_int_eq(ask(&f, &asked[i], "silent.test", AF_INET), 0);
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

/* Nobody is at the first address: without reading the new file this would never work. */
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
