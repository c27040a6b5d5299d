/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: a socket for datagrams at the address of the TCP connection -> a datagram of the
 * program -> the flow of its destination, which is a datagram socket of the daemon's that is
 * connected there, by name where the program has named it: so policy judges the name as for every
 * connect -> send. What comes back goes to the program with the flow's address in front.
 * Failures: a datagram is lost, as on any network: it is malformed or a fragment (which RFC 1928
 * lets a relay drop), not the program's, its destination is denied or cannot be reached, there is
 * no room. SOCKS has no message to report that. Where the kernel does not say which user has a
 * datagram socket, there is no association.
 *
 * Bounded: so many associations, flows of each, datagrams of each flow that are under way, and
 * bytes of all of these. A flow more takes the place of the one that was used least recently. That
 * one counts until the daemon has answered everything; while too many wait for that, a datagram to
 * another destination is dropped.
 */
#include "gateway/associate.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/guard.h"
#include "gateway/server.h"
#include "gateway/udp_flow.h"

#define ASSOCIATIONS_MAX 64u
#define FLOWS_MAX 16u
/* With those that have ended and wait for the daemon's answers: of a program, and of all. */
#define FLOWS_HELD_MAX (2 * FLOWS_MAX)
#define FLOWS_ALL_MAX (ASSOCIATIONS_MAX * FLOWS_HELD_MAX)
/* Under way; also those that wait for their connects. Of a flow, and bytes of all. */
#define SENDS_MAX 512u
#define QUEUED_MAX (4u * 1024u * 1024u)
#define DATAGRAMS_MAX 32     /* of a program, in a turn */
#define ROOM_BYTES (1 << 20) /* asked for: a burst of SENDS_MAX ordinary ones */

struct flow {
    struct list all;  /* gateway->flows, until it is freed */
    struct list node; /* associate->flows, in the order of use; not linked: it has ended */
    struct associate *associate;
    struct client *client;
    struct destination to;
    struct udp_flow udp;
};

struct associate {
    struct session_wait wait;
    struct client *client;
    ev_io io;
    struct sockaddr_storage program; /* who may send; port 0: not known yet */
    struct sockaddr_storage own;
    unsigned int
        round;        /* of the loop, in which the owner of the program's port was looked at last */
    bool is_programs; /* then */
    struct list flows;
    unsigned int flow_count;
};

/* ---- flows ---- */

static struct flow *flow_of(struct udp_flow *udp)
{
    return container_of(udp, struct flow, udp);
}

static void forget(struct flow *flow)
{
    if (flow->udp.ops > 0)
        return;
    list_remove(&flow->all);
    flow->client->flow_count--;
    flow->client->gateway->flow_count--;
    udp_flow_deinit(&flow->udp);
    free(flow);
}

/* The client may go with it. */
static void on_settled(struct udp_flow *udp)
{
    struct flow *flow = flow_of(udp);
    struct client *client = flow->client;

    if (!list_is_linked(&flow->node))
        forget(flow);
    client_settle(client);
}

static void end_flow(struct flow *flow)
{
    list_remove(&flow->node);
    flow->associate->flow_count--;
    udp_flow_close(&flow->udp);
    forget(flow);
}

static void receive(struct flow *flow)
{
    if (udp_flow_receive(&flow->udp))
        end_flow(flow);
}

/* A socket of nobody is one that has been closed: that is no attempt to get in. */
static bool is_users(const struct associate *associate, const struct sockaddr_storage *peer)
{
    struct guard *guard = associate->client->gateway->guard;
    uid_t user;

    if (!guard || guard_admits(guard, IPPROTO_UDP, peer, &associate->own, &user))
        return true;
    if (user != GUARD_UNKNOWN)
        guard_count(guard, user);
    return false;
}

/*
 * A port that its program has closed may be another user's by now. In one turn of the loop this is
 * asked once.
 */
static bool has_port_still(struct associate *associate)
{
    unsigned int round = ev_iteration(associate->client->gateway->loop);

    if (associate->round != round)
        associate->is_programs = is_users(associate, &associate->program);
    associate->round = round;
    return associate->is_programs;
}

static void give(struct flow *flow, size_t len, const struct sockaddr_storage *from)
{
    struct associate *associate = flow->associate;
    uint8_t head[SOCKS_DATAGRAM_HEAD_MAX];
    size_t head_len = socks_write_datagram(from, head);
    char *at = flow->udp.buf + SOCKS_DATAGRAM_HEAD_MAX - head_len;

    if (!has_port_still(associate))
        return;
    memcpy(at, head, head_len);
    (void)sendto(associate->io.fd, at, head_len + len, MSG_DONTWAIT,
                 (const struct sockaddr *)&associate->program, sizeof(associate->program));
}

static void on_received(struct udp_flow *udp, asock_op *op, int error)
{
    struct flow *flow = flow_of(udp);
    struct sockaddr_storage from;

    if (!list_is_linked(&flow->node))
        return;
    if (!error && asock_op_get_remote(op, &from) > 0)
        give(flow, asock_op_get_bytes(op), &from);
    if (!error || udp_flow_is_passing(error))
        receive(flow);
    else
        end_flow(flow);
}

/* What waits behind it ends with it. The next datagram to that destination tries again. */
static void on_connected(struct udp_flow *udp, int error)
{
    struct flow *flow = flow_of(udp);

    if (list_is_linked(&flow->node) && error)
        end_flow(flow);
}

/* Lost or not: SOCKS has no message for it. */
static void on_sent(struct udp_flow *udp, size_t len, int error)
{
    struct client *client = flow_of(udp)->client;

    (void)error;
    client->datagram_bytes -= udp_flow_cost(len);
    client->gateway->datagram_bytes -= udp_flow_cost(len);
}

/* A program may have as much as it leaves to the others: none can take all of it. */
static void send_datagram(struct flow *flow, const char *data, size_t len)
{
    struct client *client = flow->client;
    size_t *queued = &client->gateway->datagram_bytes, cost = udp_flow_cost(len);

    if (flow->udp.sends == SENDS_MAX || *queued + client->datagram_bytes + cost > QUEUED_MAX ||
        !udp_flow_send(&flow->udp, data, len))
        return;
    client->datagram_bytes += cost;
    *queued += cost;
}

static const struct udp_flow_class flow_class = {
    .head_max = SOCKS_DATAGRAM_HEAD_MAX,
    .connected = on_connected,
    .received = on_received,
    .sent = on_sent,
    .settled = on_settled,
};

static void on_session(struct session_wait *wait)
{
    (void)wait; /* the program's next datagram uses it */
}

/* NULL: there is no room, or it cannot be had. */
static struct flow *new_flow(struct associate *associate, const struct destination *to)
{
    asock_context *context = gateway_context(associate->client->gateway);
    struct flow *flow;

    /* Opens one again where it was lost; this datagram is lost, too. */
    if (!context && !associate->wait.link)
        (void)gateway_await_session(associate->client->gateway, &associate->wait);
    if (!context)
        return NULL;
    if (associate->client->flow_count >= FLOWS_HELD_MAX ||
        associate->client->gateway->flow_count >= FLOWS_ALL_MAX)
        return NULL;
    if (associate->flow_count == FLOWS_MAX)
        end_flow(list_first(&associate->flows, struct flow, node));
    flow = calloc(1, sizeof(*flow));
    if (!flow || udp_flow_init(&flow->udp, &flow_class) < 0) {
        free(flow);
        return NULL;
    }
    flow->associate = associate;
    flow->client = associate->client;
    flow->to = *to;
    list_init(&flow->node);
    list_init(&flow->all);
    list_append(&associate->client->gateway->flows, &flow->all);
    flow->client->flow_count++;
    flow->client->gateway->flow_count++;
    if (udp_flow_connect(&flow->udp, context, to)) {
        udp_flow_close(&flow->udp);
        forget(flow);
        return NULL;
    }
    list_append(&associate->flows, &flow->node);
    associate->flow_count++;
    receive(flow);
    return list_is_linked(&flow->node) ? flow : NULL;
}

static struct flow *flow_to(struct associate *associate, const struct destination *to)
{
    list_for_each (&associate->flows, it) {
        struct flow *flow = container_of(it, struct flow, node);

        if (strcmp(flow->to.host, to->host) != 0 || strcmp(flow->to.service, to->service) != 0)
            continue;
        list_remove(&flow->node);
        list_append(&associate->flows, &flow->node);
        return flow;
    }
    return new_flow(associate, to);
}

/* ---- the program's datagrams ---- */

static bool is_same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    const struct sockaddr_in *a4 = (const struct sockaddr_in *)a,
                             *b4 = (const struct sockaddr_in *)b;
    const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *)a,
                              *b6 = (const struct sockaddr_in6 *)b;

    if (a->ss_family != b->ss_family)
        return false;
    return a->ss_family == AF_INET ? a4->sin_addr.s_addr == b4->sin_addr.s_addr
                                   : IN6_ARE_ADDR_EQUAL(&a6->sin6_addr, &b6->sin6_addr);
}

static in_port_t *port_of(struct sockaddr_storage *addr)
{
    return &((struct sockaddr_in *)addr)->sin_port; /* of both families */
}

/*
 * The first one of the program's user from the program's address is the program's; from then on
 * only its port counts, and the kernel drops what comes from others.
 */
static bool is_programs(struct associate *associate, struct sockaddr_storage *from)
{
    if (!is_same_address(&associate->program, from))
        return false;
    if (*port_of(&associate->program) == *port_of(from))
        return has_port_still(associate);
    if (*port_of(&associate->program) != 0 || !is_users(associate, from))
        return false;
    *port_of(&associate->program) = *port_of(from);
    (void)connect(associate->io.fd, (struct sockaddr *)from, sizeof(*from));
    return true;
}

static void on_datagrams(struct ev_loop *loop, ev_io *io, int events)
{
    struct associate *associate = io->data;
    struct client *client = associate->client;
    static const size_t size = SOCKS_DATAGRAM_HEAD_MAX + DATAGRAM_MAX;
    char *data = malloc(size);

    (void)loop;
    (void)events;
    for (int i = 0; data && i < DATAGRAMS_MAX; i++) {
        struct sockaddr_storage from = {0};
        socklen_t from_len = sizeof(from);
        struct destination to;
        struct flow *flow;
        ssize_t n = recvfrom(io->fd, data, size, MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
        long head;

        if (n < 0)
            break;
        if (!is_programs(associate, &from))
            continue;
        head = socks_read_datagram((const uint8_t *)data, (size_t)n, &to);
        if (head < 0)
            continue;
        flow = flow_to(associate, &to);
        if (flow && flow->udp.sends < SENDS_MAX)
            send_datagram(flow, data + head, (size_t)(n - head));
    }
    free(data);
    client_settle(client);
}

/* ---- life ---- */

static struct associate *open_relay(struct client *client, struct sockaddr_storage *local)
{
    struct associate *associate = calloc(1, sizeof(*associate));
    socklen_t len = sizeof(*local), peer_len = sizeof(associate->program);
    int fd = -1, room = ROOM_BYTES;

    if (!associate)
        return NULL;
    if (getsockname(client->io.fd, (struct sockaddr *)local, &len) == 0 &&
        getpeername(client->io.fd, (struct sockaddr *)&associate->program, &peer_len) == 0)
        fd = socket(local->ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    *port_of(local) = 0;
    *port_of(&associate->program) = 0;
    if (fd < 0 || bind(fd, (struct sockaddr *)local, len) < 0 ||
        getsockname(fd, (struct sockaddr *)local, &len) < 0) {
        if (fd >= 0)
            close(fd);
        free(associate);
        return NULL;
    }
    associate->client = client;
    associate->own = *local;
    /* The own socket shows whether the kernel reports which user a socket belongs to. */
    if (!is_users(associate, local)) {
        close(fd);
        free(associate);
        return NULL;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    associate->wait.tell = on_session;
    list_init(&associate->flows);
    ev_io_init(&associate->io, on_datagrams, fd, EV_READ);
    associate->io.data = associate;
    return associate;
}

static void refuse(struct client *client, enum socks_code code)
{
    uint8_t reply[SOCKS_ANSWER_MAX];

    client_answer(client, reply, socks_reply(&client->socks, code, NULL, reply));
}

void associate_begin(struct client *client)
{
    struct gateway *gateway = client->gateway;
    struct sockaddr_storage local = {0};
    uint8_t reply[SOCKS_ANSWER_MAX];

    /*
     * The program of a Unix socket may be in another network, where it would not find this one's.
     */
    if (!client->is_tcp) {
        refuse(client, SOCKS_BAD_COMMAND);
        return;
    }
    if (gateway->association_count == ASSOCIATIONS_MAX ||
        !(client->associate = open_relay(client, &local))) {
        refuse(client, SOCKS_GENERAL_FAILURE);
        return;
    }
    gateway->association_count++;
    client->state = CLIENT_ASSOCIATED;
    ev_timer_stop(gateway->loop, &client->deadline);
    ev_io_start(gateway->loop, &client->associate->io);
    if (client_put(client, reply, socks_reply(&client->socks, SOCKS_GRANTED, &local, reply)))
        pump_write(client);
}

struct associate *associate_end(struct associate *associate)
{
    struct flow *flow;

    if (!associate)
        return NULL;
    session_wait_end(&associate->wait);
    ev_io_stop(associate->client->gateway->loop, &associate->io);
    close(associate->io.fd);
    while ((flow = list_first(&associate->flows, struct flow, node)))
        end_flow(flow);
    associate->client->gateway->association_count--;
    free(associate);
    return NULL;
}

void associate_free_flows(struct gateway *gateway)
{
    struct flow *flow;

    while ((flow = list_first(&gateway->flows, struct flow, all))) {
        flow->udp.ops = 0;
        forget(flow);
    }
}
