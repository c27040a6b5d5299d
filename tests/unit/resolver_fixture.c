/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/resolver_fixture.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <ev.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/core/quota.h"
#include "daemon/names/dns.h"

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
        return type == TYPE_A ? 28 : 10; /* both packets stay below 512 bytes */
    if (strcmp(name, "dual") == 0)
        return 1;
    return type == TYPE_A && (strcmp(name, "a") == 0 || strcmp(name, "a.test") == 0);
}

static unsigned int rcode_of(const char *name)
{
    return strcmp(name, "nx") == 0 ? 3 : strcmp(name, "fail") == 0 ? 2 : 0;
}

/* The name with dots; returns the bytes of the question. */
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
    if (server->queries < 64) {
        server->ports[server->queries] = ntohs(from.sin_port);
        server->ids[server->queries] = (uint16_t)(packet[0] << 8 | packet[1]);
    }
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

void setup(struct fixture *f)
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

void setup_timeout(struct fixture *f, int timeout_ms)
{
    struct resolver_options options = {.timeout_ms = timeout_ms, .tries = 1};

    setup(f);
    resolver_free(f->resolver);
    options.servers = f->server.address;
    ck_assert_int_eq(resolver_new(f->loop, &options, &f->resolver), 0);
}

void teardown(struct fixture *f)
{
    f->resolver = resolver_free(f->resolver);
    ck_assert_ptr_null(f->resolver);
    ev_io_stop(f->loop, &f->server.io);
    close(f->server.io.fd);
    ev_timer_stop(f->loop, &f->deadline);
    ev_loop_destroy(f->loop);
}

void on_done(struct resolver_query *query, const struct resolver_result *result)
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

int ask(struct fixture *f, struct asked *asked, const char *host, int family)
{
    return resolver_start(f->resolver, NULL, &asked->query, host, family, on_done);
}

void run_until_called(struct fixture *f, struct asked *asked)
{
    ck_assert_uint_eq(asked->calls, 0);
    while (asked->calls == 0)
        ev_run(f->loop, EVRUN_ONCE);
    ck_assert_uint_eq(asked->calls, 1);
    ck_assert_ptr_null(asked->query.lookup);
}

void assert_address(const struct asked *asked, unsigned int i, const char *text)
{
    const union resolver_address *addr = &asked->result.addresses[i];
    char buf[INET6_ADDRSTRLEN];

    if (addr->any.sa_family == AF_INET)
        inet_ntop(AF_INET, &addr->in.sin_addr, buf, sizeof(buf));
    else
        inet_ntop(AF_INET6, &addr->in6.sin6_addr, buf, sizeof(buf));
    ck_assert_str_eq(buf, text);
}

void run_until_asked(struct fixture *f, unsigned int queries)
{
    while (f->server.queries < queries)
        ev_run(f->loop, EVRUN_ONCE);
}
