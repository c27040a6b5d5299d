/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tests over the kernel's own sockets: direct, lent by asockd, or through a proxy, with SOCKS5
 * if it speaks that.
 */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

#include "bench/client.h"

#define ABREAST_MAX 1024u

static struct plain {
    int *fds;
    uint64_t *messages; /* sent on each */
    int epoll;
    unsigned char *buffer;
} plain;

static void send_whole(int fd, const void *data, size_t len)
{
    const char *p = data;

    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

        if (n < 0)
            fail("send");
        p += n;
        len -= (size_t)n;
    }
}

static void receive_whole(int fd, void *data, size_t len)
{
    char *p = data;

    while (len > 0) {
        ssize_t n = recv(fd, p, len, 0);

        if (n <= 0)
            fail(n < 0 ? "recv" : "the connection ended");
        p += n;
        len -= (size_t)n;
    }
}

/* ---- SOCKS5: no authentication, IPv4 addresses ---- */

static const unsigned char socks_greeting[] = {5, 1, 0};
#define SOCKS_CHOICE 2u
#define SOCKS_REQUEST 10u
#define SOCKS_REPLY 10u
#define SOCKS_CONNECT 1
#define SOCKS_UDP_ASSOCIATE 3

static void socks_request(unsigned char command, const struct sockaddr_in *to,
                          unsigned char request[SOCKS_REQUEST])
{
    const unsigned char head[] = {5, command, 0, 1};

    memcpy(request, head, sizeof head);
    memcpy(request + 4, &to->sin_addr, 4);
    memcpy(request + 8, &to->sin_port, 2);
}

static void socks_ask(int fd, unsigned char command, const struct sockaddr_in *to,
                      unsigned char reply[SOCKS_REPLY])
{
    unsigned char request[SOCKS_REQUEST];

    send_whole(fd, socks_greeting, sizeof socks_greeting);
    receive_whole(fd, reply, SOCKS_CHOICE);
    if (reply[0] != 5 || reply[1] != 0)
        fail("the proxy wants a password");
    socks_request(command, to, request);
    send_whole(fd, request, sizeof request);
    receive_whole(fd, reply, SOCKS_REPLY);
    if (reply[1] != 0)
        fail("the proxy refuses: %d", reply[1]);
}

static void socks_connect(int fd, const struct sockaddr_in *to)
{
    unsigned char reply[SOCKS_REPLY];

    socks_ask(fd, SOCKS_CONNECT, to, reply);
}

int unix_connect(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof addr.sun_path)
        fail("--path is too long");
    memcpy(addr.sun_path, path, strlen(path));
    if (fd < 0 || connect(fd, (const struct sockaddr *)&addr, sizeof addr) < 0)
        fail("connect");
    return fd;
}

/* On loopback the handshake is done when connect() returns: it does not sleep. */
static int tcp_connect(const struct options *o)
{
    const struct sockaddr_in *to = o->proxy.sin_port != 0 ? &o->proxy : &o->server;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof *to) < 0)
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* To the proxy, if there is one. */
static int first_connect(const struct options *o)
{
    return o->path != NULL ? unix_connect(o->path) : tcp_connect(o);
}

struct sockaddr_in socks_associate(const struct options *o)
{
    const struct sockaddr_in any = {.sin_family = AF_INET};
    struct sockaddr_in relay = o->proxy;
    unsigned char reply[SOCKS_REPLY];

    socks_ask(first_connect(o), SOCKS_UDP_ASSOCIATE, &any, reply);
    memcpy(&relay.sin_port, reply + 8, 2);
    return relay;
}

static int open_connection(const struct options *o)
{
    int fd;

    if (strcmp(o->way, "lent") == 0)
        return lent_connection(o);
    fd = first_connect(o);
    if (o->socks)
        socks_connect(fd, &o->server);
    return fd;
}

void echo_one(int fd)
{
    char x = 'e', y;

    send_whole(fd, &x, 1);
    receive_whole(fd, &y, 1);
    if (x != y)
        fail("a wrong byte came back");
}

/* ---- round trip, and many connections ---- */

static void prepare_echo(struct client *c)
{
    unsigned int n = c->o.connections;

    plain.fds = calloc(n, sizeof *plain.fds);
    plain.messages = calloc(n, sizeof *plain.messages);
    plain.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (plain.fds == NULL || plain.messages == NULL || plain.epoll < 0)
        fail("no memory");
    for (unsigned int i = 0; i < n; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};

        plain.fds[i] = open_connection(&c->o);
        echo_one(plain.fds[i]);
        if (epoll_ctl(plain.epoll, EPOLL_CTL_ADD, plain.fds[i], &event) < 0)
            fail("epoll_ctl");
    }
}

static void send_message(struct client *c, unsigned int i)
{
    uint64_t position = message_position(i, plain.messages[i]);

    send_whole(plain.fds[i], pattern_at(c->sent, position), MESSAGE);
}

static void receive_message(struct client *c, unsigned int i)
{
    unsigned char message[MESSAGE];

    receive_whole(plain.fds[i], message, MESSAGE);
    if (!pattern_is(c->expected, message_position(i, plain.messages[i]++), message, MESSAGE))
        fail("a wrong byte came back");
}

static void run_round_trips(struct client *c, long units)
{
    for (long i = 0; i < units; i++) {
        uint64_t began = now_ns();

        send_message(c, 0);
        receive_message(c, 0);
        times_add(&c->times, began, now_ns());
    }
}

/* Each connection sends its next message when the answer to the last is there. */
static void run_messages(struct client *c, long units)
{
    struct epoll_event events[64];
    long sent = 0, done = 0;

    for (unsigned int i = 0; i < c->o.connections && sent < units; i++, sent++)
        send_message(c, i);
    while (done < units) {
        int n = epoll_wait(plain.epoll, events, 64, -1);

        for (int k = 0; k < n; k++) {
            receive_message(c, events[k].data.u32);
            done++;
            if (sent < units) {
                send_message(c, events[k].data.u32);
                sent++;
            }
        }
    }
}

/* ---- bulk ---- */

static void prepare_bulk(struct client *c)
{
    plain.fds = calloc(1, sizeof *plain.fds);
    plain.buffer = malloc(c->o.size);
    if (plain.fds == NULL || plain.buffer == NULL)
        fail("no memory");
    memset(plain.buffer, 0, c->o.size);
    plain.fds[0] = open_connection(&c->o);
}

static void run_up(struct client *c, long units)
{
    uint64_t total = (uint64_t)units * c->o.size, answer = 0;
    unsigned char header[HEADER_BYTES];

    header_fill(header, 'u', total);
    send_whole(plain.fds[0], header, sizeof header);
    for (uint64_t position = 0; position < total; position += c->o.size)
        send_whole(plain.fds[0], pattern_at(c->sent, position), c->o.size);
    receive_whole(plain.fds[0], &answer, sizeof answer);
    if (answer != total)
        fail("the server has seen something else");
}

static void run_down(struct client *c, long units)
{
    uint64_t total = (uint64_t)units * c->o.size;
    unsigned char header[HEADER_BYTES];

    header_fill(header, 'd', total);
    send_whole(plain.fds[0], header, sizeof header);
    for (uint64_t position = 0; position < total;) {
        uint64_t left = total - position;
        ssize_t n = recv(plain.fds[0], plain.buffer, left < c->o.size ? left : c->o.size, 0);

        if (n <= 0)
            fail(n < 0 ? "recv" : "the connection ended");
        if (!pattern_is(c->expected, position, plain.buffer, (size_t)n))
            fail("wrong bytes came behind position %llu", (unsigned long long)position);
        position += (uint64_t)n;
    }
}

/* ---- connect, echo, close ---- */

/* What the next answer is to. */
enum step { STEP_GREETING, STEP_REQUEST, STEP_ECHO };

static struct pollfd abreast[ABREAST_MAX];
static enum step steps[ABREAST_MAX];

static void start_connection(struct client *c, unsigned int i)
{
    int fd = first_connect(&c->o);

    abreast[i] = (struct pollfd){.fd = fd, .events = POLLIN};
    steps[i] = c->o.socks ? STEP_GREETING : STEP_ECHO;
    if (c->o.socks)
        send_whole(fd, socks_greeting, sizeof socks_greeting);
    else
        send_whole(fd, "e", 1);
}

/* 1: that was the echo, and the connection is closed. */
static long step_connection(struct client *c, unsigned int i)
{
    unsigned char data[SOCKS_REPLY];
    int fd = abreast[i].fd;

    switch (steps[i]) {
    case STEP_GREETING:
        receive_whole(fd, data, SOCKS_CHOICE);
        socks_request(SOCKS_CONNECT, &c->o.server, data);
        send_whole(fd, data, SOCKS_REQUEST);
        steps[i] = STEP_REQUEST;
        return 0;
    case STEP_REQUEST:
        receive_whole(fd, data, SOCKS_REPLY);
        if (data[1] != 0)
            fail("the proxy refuses: %d", data[1]);
        send_whole(fd, "e", 1);
        steps[i] = STEP_ECHO;
        return 0;
    default:
        receive_whole(fd, data, 1);
        if (data[0] != 'e')
            fail("a wrong byte came back");
        close(fd);
        abreast[i].fd = -1;
        return 1;
    }
}

static void prepare_connections(struct client *c)
{
    if (c->o.connections > ABREAST_MAX)
        fail("at most %u connections at once", ABREAST_MAX);
    for (unsigned int i = 0; i < ABREAST_MAX; i++)
        abreast[i].fd = -1;
}

static void run_connections(struct client *c, long units)
{
    unsigned int n = c->o.connections;
    long started = 0, done = 0;

    if (n == 1) {
        for (; done < units; done++) {
            int fd = open_connection(&c->o);

            echo_one(fd);
            close(fd);
        }
        return;
    }
    for (unsigned int i = 0; i < n && started < units; i++, started++)
        start_connection(c, i);
    while (done < units) {
        poll(abreast, n, -1);
        for (unsigned int i = 0; i < n; i++) {
            if (abreast[i].fd < 0 || abreast[i].revents == 0 || step_connection(c, i) == 0)
                continue;
            done++;
            if (started < units) {
                start_connection(c, i);
                started++;
            }
        }
    }
}

/* What the program waits for until it has its connection. */
static void run_dials(struct client *c, long units)
{
    for (long i = 0; i < units; i++) {
        uint64_t began = now_ns();
        int fd = open_connection(&c->o);

        times_add(&c->times, began, now_ns());
        close(fd);
        rest(&c->o);
    }
}

static void prepare_idle(struct client *c)
{
    idle_begin();
    prepare_echo(c);
    idle_ready(c->o.connections);
}

static const struct test tests[] = {
    {"round-trip", 2000, prepare_echo, run_round_trips},
    {"waiting", 2000, prepare_echo, run_round_trips},
    {"messages", 4000, prepare_echo, run_messages},
    {"up", 0, prepare_bulk, run_up},
    {"down", 0, prepare_bulk, run_down},
    {"connect", 64, prepare_connections, run_connections},
    {"dial", 64, prepare_connections, run_dials},
    {"idle", 0, prepare_idle, NULL},
    {0},
};

const struct test *plain_test(const char *name)
{
    return test_named(tests, name);
}
