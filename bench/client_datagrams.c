/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tests with datagrams, over the kernel's sockets, through a SOCKS5 proxy, and over asockd. As
 * many are on their way as no buffer drops: 64 that are echoed, 128 of a stream, of which the
 * server acknowledges every 32nd. Each is looked at, as are the bytes of a stream.
 */
#include <asock/asock.h>
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/client.h"

#define SOCKS_HEADER 10u /* of a datagram: to or from an IPv4 address */
#define ECHOED 64u       /* on their way, of all sockets together */
#define GROUP 32u        /* of a stream: the last one is acknowledged */
#define GROUPS 4u        /* on their way */
#define PATIENCE 10000   /* ms: then one was lost */
#define SOCKETS_MAX 64u
#define SEND_ROOM                                                                                  \
    (4 << 20) /* where what was sent waits for a process, and not in its peer's queue */
#define POOL_BYTES (256u * 1024u)

struct link {
    unsigned int index;
    int fd; /* plain */
    asock_socket *socket;
    uint64_t sent, received; /* datagrams */
};

static struct datagrams {
    struct client *client;
    struct link links[SOCKETS_MAX];
    unsigned char *group; /* of a stream: GROUP datagrams, each behind its prefix */
    size_t prefix;        /* bytes of the proxy's header in front of each; 0: there is no proxy */
    long started, done, units;
    int epoll;
    /* asock */
    asock_context *context;
    asock_op *spare[ECHOED > GROUP *GROUPS ? ECHOED : GROUP *GROUPS];
    unsigned int spare_count;
    unsigned char *buffers;
} d;

static bool is_segmented(void)
{
    return d.client->o.shared; /* --shared: what the kernel can divide goes in one piece */
}

static void stamp(unsigned char *datagram, char what, uint64_t number)
{
    datagram[0] = (unsigned char)what;
    memcpy(datagram + 1, &number, sizeof number);
    memcpy(datagram + HEADER_BYTES, pattern_at(d.client->sent, number * MESSAGE),
           d.client->o.size - HEADER_BYTES);
}

/* An echo, or an acknowledgement: in its order, of each socket. */
static void take(struct link *link, const unsigned char *data, size_t len, bool is_echo)
{
    uint64_t number;

    memcpy(&number, data + 1, sizeof number);
    if (len != (is_echo ? d.client->o.size : HEADER_BYTES) || number != link->received)
        fail("a datagram was lost or changed");
    if (is_echo &&
        !pattern_is(d.client->expected, number * MESSAGE, data + HEADER_BYTES, len - HEADER_BYTES))
        fail("wrong bytes came back");
    link->received += is_echo ? 1 : GROUP;
    d.done += is_echo ? 1 : GROUP;
}

/* ---- plain sockets ---- */

static unsigned char *group_at(unsigned int i)
{
    return d.group + i * (d.prefix + d.client->o.size);
}

/* Nothing in front of the data but the server's address, where a proxy forwards it. */
static void prepare_group(const struct sockaddr_in *server)
{
    static const unsigned char head[] = {0, 0, 0, 1};

    d.group = malloc((d.prefix + d.client->o.size) * GROUP);
    if (d.group == NULL)
        fail("no memory");
    for (unsigned int i = 0; i < GROUP && d.prefix > 0; i++) {
        memcpy(group_at(i), head, sizeof head);
        memcpy(group_at(i) + 4, &server->sin_addr, 4);
        memcpy(group_at(i) + 8, &server->sin_port, 2);
    }
}

static void plain_prepare(struct client *c)
{
    d.client = c;
    d.epoll = epoll_create1(EPOLL_CLOEXEC);
    d.prefix = c->o.socks ? SOCKS_HEADER : 0;
    prepare_group(&c->o.server);
    for (unsigned int i = 0; i < c->o.connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        struct sockaddr_in to = c->o.socks ? socks_associate(&c->o) : c->o.server;
        struct link *link = &d.links[i];
        int room = SEND_ROOM;

        link->index = i;
        link->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (link->fd < 0 || setsockopt(link->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room) < 0 ||
            connect(link->fd, (const struct sockaddr *)&to, sizeof to) < 0 ||
            epoll_ctl(d.epoll, EPOLL_CTL_ADD, link->fd, &event) < 0)
            fail("a datagram socket");
    }
}

static void plain_send(struct link *link)
{
    stamp(d.group + d.prefix, 'e', link->sent++);
    if (send(link->fd, d.group, d.prefix + d.client->o.size, 0) < 0)
        fail("send");
    d.started++;
}

static void plain_receive(struct link *link, bool is_echo)
{
    unsigned char data[2048];
    ssize_t n;

    while ((n = recv(link->fd, data, sizeof data, 0)) >= 0) {
        if ((size_t)n < d.prefix)
            fail("a datagram without the proxy's header");
        take(link, data + d.prefix, (size_t)n - d.prefix, is_echo);
        if (is_echo && d.started < d.units)
            plain_send(link);
    }
    if (errno != EAGAIN)
        fail("recv");
}

static void plain_turn(bool is_echo)
{
    struct epoll_event events[SOCKETS_MAX];
    int n = epoll_wait(d.epoll, events, SOCKETS_MAX, PATIENCE);

    if (n <= 0)
        fail("a datagram was lost");
    for (int i = 0; i < n; i++)
        plain_receive(&d.links[events[i].data.u32], is_echo);
}

static void begin(long units)
{
    d.started = d.done = 0;
    d.units = units;
}

static void plain_echo(struct client *c, long units)
{
    begin(units);
    for (unsigned int i = 0; i < ECHOED && d.started < units; i++)
        plain_send(&d.links[i % c->o.connections]);
    while (d.done < units)
        plain_turn(true);
}

static void plain_send_group(struct link *link)
{
    size_t size = d.prefix + d.client->o.size;
    uint64_t first = link->sent;

    for (unsigned int i = 0; i < GROUP; i++)
        stamp(group_at(i) + d.prefix, i == GROUP - 1 ? 'U' : 'u',
              i == GROUP - 1 ? first : first + i);
    for (unsigned int i = 0; i < GROUP && !is_segmented(); i++)
        if (send(link->fd, group_at(i), size, 0) < 0)
            fail("send");
    if (is_segmented() && send(link->fd, d.group, size * GROUP, 0) < 0)
        fail("send of segments");
    link->sent += GROUP;
    d.started += GROUP;
}

static void plain_stream(struct client *c, long units)
{
    struct link *link = &d.links[0];
    int size = (int)(d.prefix + c->o.size);

    begin(units - units % GROUP + GROUP);
    if (is_segmented() && setsockopt(link->fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size) < 0)
        fail("UDP_SEGMENT");
    while (d.done < d.units) {
        while (d.started < d.units && d.started - d.done < GROUPS * GROUP)
            plain_send_group(link);
        plain_turn(false);
    }
}

/* ---- asockd ---- */

static void asock_turn(void)
{
    struct pollfd fd = {.fd = asock_context_get_fd(d.context)};
    int timeout = asock_context_get_timeout(d.context);

    check(asock_context_flush(d.context), "asock_context_flush");
    fd.events = (short)asock_context_get_events(d.context);
    if (poll(&fd, 1, timeout < 0 ? PATIENCE : timeout) == 0 && timeout < 0)
        fail("a datagram was lost");
    check(asock_context_process(d.context), "asock_context_process");
}

static void on_sent(asock_op *op, void *userdata)
{
    (void)userdata;
    if (asock_op_get_error(op) != 0)
        fail("send: %s", asock_strerror(asock_op_get_error(op)));
    d.spare[d.spare_count++] = op;
}

static asock_op *spare_op(size_t len, unsigned char **ret)
{
    asock_op *op;
    uintptr_t index;

    while (d.spare_count == 0)
        asock_turn();
    op = d.spare[--d.spare_count];
    index = (uintptr_t)asock_op_get_userdata(op);
    *ret = d.buffers + index * d.client->o.size * GROUP;
    check(asock_op_set_buffer(op, *ret, len), "asock_op_set_buffer");
    return op;
}

static void asock_send_one(struct link *link)
{
    unsigned char *data;
    asock_op *op = spare_op(d.client->o.size, &data);

    stamp(data, 'e', link->sent++);
    check(asock_send(link->socket, op), "asock_send");
    d.started++;
}

/* Receives one after the other, or into a pool. */
static void on_received(asock_op *op, void *userdata)
{
    bool is_echo = strcmp(d.client->o.test, "datagrams") == 0;
    struct link *link = userdata;
    size_t len;
    const void *data = asock_op_get_slice(op, &len);

    if (asock_op_get_error(op) != 0)
        fail("receive: %s", asock_strerror(asock_op_get_error(op)));
    if (data != NULL)
        take(link, data, len, is_echo);
    if (!(asock_op_get_result_flags(op) & ASOCK_MORE))
        check(asock_receive_multishot(link->socket, op), "asock_receive_multishot");
    if (data != NULL && is_echo && d.started < d.units)
        asock_send_one(link);
}

static void asock_link(struct link *link)
{
    size_t slice = d.client->o.size < 64 ? 64 : d.client->o.size;
    asock_buffer *buffer;
    asock_pool *pool;
    asock_op *op;

    check(asock_socket_new_udp(d.context, AF_INET, &link->socket), "asock_socket_new_udp");
    check(asock_op_new(d.context, &op), "asock_op_new");
    asock_op_set_endpoint(op, (const struct sockaddr *)&d.client->o.server,
                          sizeof d.client->o.server);
    check(asock_connect(link->socket, op), "asock_connect");
    check(asock_op_wait(op, PATIENCE), "connect");
    check(-asock_error_errno(asock_op_get_error(op)), "connect");
    check(asock_buffer_new(d.context, POOL_BYTES / d.client->o.connections, PATIENCE, &buffer),
          "asock_buffer_new");
    check(asock_pool_new(buffer, slice, &pool), "asock_pool_new");
    check(asock_op_set_pool(op, pool), "asock_op_set_pool");
    check(asock_op_set_callback(op, on_received, link), "asock_op_set_callback");
    check(asock_receive_multishot(link->socket, op), "asock_receive_multishot");
}

static void asock_prepare(struct client *c)
{
    unsigned int count = sizeof d.spare / sizeof d.spare[0];

    d.client = c;
    check(asock_context_new(c->o.path, &d.context), "asock_context_new");
    check(asock_context_set_always_pending(d.context, true), "always pending");
    d.buffers = malloc((size_t)count * c->o.size * GROUP);
    if (d.buffers == NULL)
        fail("no memory");
    for (unsigned int i = 0; i < count; i++) {
        check(asock_op_new(d.context, &d.spare[i]), "asock_op_new");
        check(asock_op_set_callback(d.spare[i], on_sent, (void *)(uintptr_t)i), "callback");
    }
    d.spare_count = count;
    for (unsigned int i = 0; i < c->o.connections; i++) {
        d.links[i].index = i;
        asock_link(&d.links[i]);
    }
}

static void asock_echo(struct client *c, long units)
{
    begin(units);
    for (unsigned int i = 0; i < ECHOED && d.started < units; i++)
        asock_send_one(&d.links[i % c->o.connections]);
    while (d.done < units)
        asock_turn();
}

static void asock_send_group(struct link *link)
{
    size_t size = d.client->o.size;
    uint64_t first = link->sent;
    unsigned char *data = NULL;
    asock_op *op = is_segmented() ? spare_op(size * GROUP, &data) : NULL;

    for (unsigned int i = 0; i < GROUP; i++) {
        if (!is_segmented())
            op = spare_op(size, &data);
        stamp(data + (is_segmented() ? i * size : 0), i == GROUP - 1 ? 'U' : 'u',
              i == GROUP - 1 ? first : first + i);
        if (!is_segmented())
            check(asock_send(link->socket, op), "asock_send");
    }
    if (is_segmented()) {
        check(asock_op_set_segment_size(op, size), "asock_op_set_segment_size");
        check(asock_send(link->socket, op), "asock_send");
    }
    link->sent += GROUP;
    d.started += GROUP;
}

static void asock_stream(struct client *c, long units)
{
    (void)c;
    begin(units - units % GROUP + GROUP);
    while (d.done < d.units) {
        while (d.started < d.units && d.started - d.done < GROUPS * GROUP)
            asock_send_group(&d.links[0]);
        asock_turn();
    }
}

static const struct test plain_tests[] = {
    {"datagrams", 4000, plain_prepare, plain_echo},
    {"datagram-stream", 8000, plain_prepare, plain_stream},
};

static const struct test asock_tests[] = {
    {"datagrams", 4000, asock_prepare, asock_echo},
    {"datagram-stream", 8000, asock_prepare, asock_stream},
};

const struct test *datagram_test(const char *way, const char *name)
{
    const struct test *tests = strcmp(way, "asock") == 0 ? asock_tests : plain_tests;

    for (size_t i = 0; i < sizeof plain_tests / sizeof plain_tests[0]; i++)
        if (strcmp(tests[i].name, name) == 0 && strcmp(way, "lent") != 0)
            return &tests[i];
    return NULL;
}
