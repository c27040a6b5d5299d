/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * bench-server [--spoil POSITION]: the far end of every measurement: echo, sink and source
 * (common.h).
 *
 * Prints its port on 127.0.0.1 (--any: on every address) and serves until its standard input ends.
 * One thread and epoll, so that a connection costs little and no path is served otherwise than
 * another. A sink that gets a wrong byte says so and closes. --spoil makes the source send a wrong
 * one.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/common.h"

#define READ_BYTES (256u * 1024u)
#define EVENTS 64
#define DATAGRAMS 32 /* at a time */

enum mode { MODE_NEW, MODE_ECHO, MODE_HEADER, MODE_SINK, MODE_SOURCE };

struct connection {
    int fd;
    enum mode mode;
    unsigned char header[HEADER_BYTES];
    size_t have;              /* of the header */
    uint64_t total, position; /* of a sink or source */
};

static struct server {
    int epoll, listener, datagrams;
    unsigned char *sent, *expected;
    unsigned char buffer[READ_BYTES];
} server;

static void drop(struct connection *c)
{
    close(c->fd);
    free(c);
}

static void watch(struct connection *c, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};

    if (epoll_ctl(server.epoll, EPOLL_CTL_MOD, c->fd, &event) < 0)
        fail("epoll_ctl");
}

static void accept_one(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    struct connection *c;
    int one = 1, fd = accept4(server.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return;
    c = calloc(1, sizeof *c);
    if (c == NULL)
        fail("no memory");
    c->fd = fd;
    event.data.ptr = c;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (epoll_ctl(server.epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll_ctl");
}

/* Small and to a client that reads: it always fits. */
static bool answer(struct connection *c, const void *data, size_t len)
{
    return send(c->fd, data, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static void begin(struct connection *c)
{
    memcpy(&c->total, c->header + 1, sizeof c->total);
    c->position = 0;
    c->have = 0;
    c->mode = c->header[0] == 'u' ? MODE_SINK : MODE_SOURCE;
    if (c->mode == MODE_SOURCE)
        watch(c, EPOLLOUT);
}

static bool sink(struct connection *c, const unsigned char *data, size_t len)
{
    if (len > c->total - c->position || !pattern_is(server.expected, c->position, data, len)) {
        fprintf(stderr, "bench-server: wrong bytes behind position %llu\n",
                (unsigned long long)c->position);
        return false;
    }
    c->position += len;
    if (c->position < c->total)
        return true;
    c->mode = MODE_HEADER;
    return answer(c, &c->total, sizeof c->total);
}

/* As common.h says: an echo, or a part of a stream whose last datagram is acknowledged. */
static void serve_datagrams(void)
{
    struct sockaddr_in from;

    for (int i = 0; i < DATAGRAMS; i++) {
        socklen_t len = sizeof from;
        ssize_t n = recvfrom(server.datagrams, server.buffer, sizeof server.buffer, 0,
                             (struct sockaddr *)&from, &len);
        uint64_t number;

        if (n < (ssize_t)HEADER_BYTES)
            return;
        memcpy(&number, server.buffer + 1, sizeof number);
        if (!pattern_is(server.expected, number * 64, server.buffer + HEADER_BYTES,
                        (size_t)n - HEADER_BYTES)) {
            fprintf(stderr, "bench-server: wrong bytes in datagram %llu\n",
                    (unsigned long long)number);
            continue;
        }
        if (server.buffer[0] != 'u')
            sendto(server.datagrams, server.buffer,
                   server.buffer[0] == 'e' ? (size_t)n : HEADER_BYTES, 0,
                   (const struct sockaddr *)&from, len);
    }
}

static void start_datagrams(struct sockaddr_in addr)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &server.datagrams};
    int size = 4 << 20;

    server.datagrams = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (server.datagrams < 0 ||
        setsockopt(server.datagrams, SOL_SOCKET, SO_RCVBUF, &size, sizeof size) < 0 ||
        bind(server.datagrams, (struct sockaddr *)&addr, sizeof addr) < 0 ||
        epoll_ctl(server.epoll, EPOLL_CTL_ADD, server.datagrams, &event) < 0)
        fail("cannot receive datagrams");
}

/* What a client has sent; false: the connection ends. */
static bool take(struct connection *c, const unsigned char *data, size_t len)
{
    while (len > 0) {
        if (c->mode == MODE_NEW)
            c->mode = data[0] == 'e' ? MODE_ECHO : MODE_HEADER;
        if (c->mode == MODE_ECHO)
            return answer(c, data, len);
        if (c->mode == MODE_SINK)
            return sink(c, data, len);
        if (c->mode != MODE_HEADER)
            return false;
        c->header[c->have++] = *data++;
        len--;
        if (c->header[0] != 'u' && c->header[0] != 'd')
            return false;
        if (c->have == HEADER_BYTES)
            begin(c);
    }
    return true;
}

static void source(struct connection *c)
{
    uint64_t left = c->total - c->position;
    size_t len = left < READ_BYTES ? (size_t)left : READ_BYTES;
    ssize_t n = send(c->fd, pattern_at(server.sent, c->position), len, MSG_NOSIGNAL);

    if (n < 0 && errno == EAGAIN)
        return;
    if (n < 0) {
        drop(c);
        return;
    }
    c->position += (uint64_t)n;
    if (c->position < c->total)
        return;
    c->mode = MODE_HEADER;
    watch(c, EPOLLIN);
}

static void serve(struct connection *c)
{
    ssize_t n;

    if (c->mode == MODE_SOURCE) {
        source(c);
        return;
    }
    n = recv(c->fd, server.buffer, sizeof server.buffer, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || !take(c, server.buffer, (size_t)n))
        drop(c);
}

static void start_listening(in_addr_t address)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &server};
    struct epoll_event end = {.events = EPOLLIN, .data.ptr = NULL};
    socklen_t len = sizeof addr;

    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    server.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (server.listener < 0 || server.epoll < 0 ||
        bind(server.listener, (struct sockaddr *)&addr, sizeof addr) < 0 ||
        listen(server.listener, 4096) < 0 ||
        getsockname(server.listener, (struct sockaddr *)&addr, &len) < 0 ||
        epoll_ctl(server.epoll, EPOLL_CTL_ADD, server.listener, &event) < 0 ||
        epoll_ctl(server.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &end) < 0)
        fail("cannot listen");
    start_datagrams(addr);
    printf("%d\n", ntohs(addr.sin_port));
    fflush(stdout);
}

static void use_all_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"spoil", required_argument, NULL, 's'}, {"any", no_argument, NULL, 'a'}, {0}};
    in_addr_t address = INADDR_LOOPBACK;
    struct epoll_event events[EVENTS];
    long spoil = -1;
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 's')
            spoil = atol(optarg);
        else if (c == 'a')
            address = INADDR_ANY;
        else
            return 2;
    }
    use_all_descriptors();
    server.sent = pattern_new(spoil);
    server.expected = pattern_new(-1);
    start_listening(address);
    for (;;) {
        int n = epoll_wait(server.epoll, events, EVENTS, -1);

        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == NULL)
                return 0;
            if (events[i].data.ptr == &server)
                accept_one();
            else if (events[i].data.ptr == &server.datagrams)
                serve_datagrams();
            else
                serve(events[i].data.ptr);
        }
    }
}
