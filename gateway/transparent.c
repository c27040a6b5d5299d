/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: the first packet of a connection is held -> connect, by name where its address stands
 * for one -> a listener for the port -> the packet is put in front of it -> accepted: the program's
 * connect(2) succeeds, and pump.c moves the bytes, or splice.c where the daemon has lent the
 * connection.
 * Failures: the connect fails: a packet that makes connect(2) fail with the errno that fits. There
 * are too many, or no memory: the packet is forgotten; the program's kernel sends it again. The
 * program has given up: its kernel does not send the packet again, or no program accepts, and a
 * deadline ends the connection. A packet that was sent again is read after its connection was
 * accepted: it is dropped.
 */
#include "gateway/transparent.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/hash.h"
#include "gateway/client.h"
#include "gateway/datagrams.h"
#include "gateway/destination.h"
#include "gateway/fake_names.h"
#include "gateway/packet.h"
#include "gateway/ports.h"
#include "gateway/stub.h"

/* Of connects that wait; more are left to the kernel's retransmission. */
#define HELD_MAX 2048u
#define BUCKETS 1024u
#define PACKETS_MAX 64   /* in a turn, */
#define PACKETS_BATCH 16 /* and with one call */
#define HEADERS_MAX 256  /* of a packet; what stands behind them is not needed */
/*
 * In which the program's kernel has to go on with a connection that succeeded: some
 * retransmissions.
 */
#define ACCEPT_SECONDS 10.0
/*
 * While a connect waits the program's kernel sends the packet again: after a second, then in the
 * same or twice the time. A program that has given up does not. So much later than that it has.
 */
#define AGAIN_SECONDS 1.0
#define LATE_SECONDS 3.0

enum held_state { HELD_DIALING, HELD_GIVEN_UP, HELD_ANSWERED };

struct held {
    struct session_wait wait; /* for a session to dial with */
    struct place_wait place;  /* for a socket of it */
    struct held *next;        /* in its bucket */
    struct transparent *transparent;
    enum held_state state;
    struct packet syn; /* the last one */
    asock_socket *socket;
    asock_op *op;
    struct port *port; /* HELD_ANSWERED */
    ev_timer deadline; /* for the next packet, or for the program to accept */
    ev_tstamp last;    /* when the last packet came */
};

/*
 * A connection that the program has. The program's kernel may have sent its first packet again
 * while the gateway was busy: it is then read behind the connection, and is not a new one.
 */
struct accepted {
    struct accepted *next; /* in its bucket */
    struct transparent *transparent;
    struct passage *passage;
    struct flow flow;
    uint32_t seq; /* of the first packet */
};

struct transparent {
    struct gateway *gateway;
    struct network network;
    struct fake_names names;
    struct stub stub;
    struct ports ports;
    struct datagrams datagrams;
    ev_io packets;
    unsigned int round; /* of the loop, in which packets were read last */
    bool is_behind;     /* and more were left */
    struct held *buckets[BUCKETS];
    unsigned int count;
    struct accepted *accepted[BUCKETS];
    struct publish *published[TRANSPARENT_PUBLISH_MAX];
    unsigned int published_count;
};

/* ---- what is held ---- */

static size_t bucket_of(const struct flow *flow)
{
    return hash_bytes(flow, sizeof(*flow)) % BUCKETS;
}

static struct held **place_of(struct transparent *transparent, const struct flow *flow)
{
    struct held **place = &transparent->buckets[bucket_of(flow)];

    while (*place && memcmp(&(*place)->syn.flow, flow, sizeof(*flow)) != 0)
        place = &(*place)->next;
    return place;
}

static void forget(struct held *held)
{
    struct transparent *transparent = held->transparent;

    *place_of(transparent, &held->syn.flow) = held->next;
    transparent->count--;
    session_wait_end(&held->wait);
    list_remove(&held->place.node);
    ev_timer_stop(transparent->gateway->loop, &held->deadline);
    if (held->port)
        ports_unuse(held->port);
    asock_op_unref(held->op);
    asock_socket_unref(held->socket);
    free(held);
}

/* The connection is not needed any more. */
static void abort_socket(struct held *held)
{
    if (held->socket)
        uplink_abort(held->socket);
}

static enum refusal refusal_of(int error)
{
    switch (error) {
    case ASOCK_CONNECTION_REFUSED:
    case ASOCK_CONNECTION_RESET:
        return REFUSAL_REFUSED;
    case ASOCK_ACCESS_DENIED:
        return REFUSAL_DENIED;
    case ASOCK_NETWORK_UNREACHABLE:
    case ASOCK_NETWORK_DOWN:
    case ASOCK_ADDRESS_NOT_AVAILABLE:
    case ASOCK_ADDRESS_FAMILY_NOT_SUPPORTED:
    case ASOCK_CONNECTION_ABORTED:
    case ASOCK_TOO_MANY_OPEN_SOCKETS:
    case ASOCK_NO_BUFFER_SPACE:
        return REFUSAL_NETWORK;
    default:
        return REFUSAL_HOST;
    }
}

/* What does not arrive is asked for again by the program's kernel. */
static void refuse(struct transparent *transparent, const struct packet *syn, enum refusal refusal)
{
    _Alignas(4) uint8_t packet[PACKET_MAX];
    size_t len = packet_refuse(syn, refusal, packet);

    (void)network_put_answer(&transparent->network, syn->family, packet, len);
}

static void set_deadline(struct held *held, ev_tstamp seconds)
{
    struct ev_loop *loop = held->transparent->gateway->loop;

    ev_timer_stop(loop, &held->deadline);
    ev_timer_set(&held->deadline, seconds, 0);
    ev_timer_start(loop, &held->deadline);
}

/* gap: how long the last packet was waited for. */
static void await_again(struct held *held, ev_tstamp gap)
{
    held->last = ev_now(held->transparent->gateway->loop);
    set_deadline(held, 2 * (gap > AGAIN_SECONDS ? gap : AGAIN_SECONDS) + LATE_SECONDS);
}

static void read_packets(struct transparent *transparent);

/*
 * Packets that arrived while this process was stopped count as in time. A connect that is under way
 * is over when its op says so.
 */
static void on_deadline(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct held *held = timer->data;
    struct transparent *transparent = held->transparent;

    (void)events;
    if (transparent->round != ev_iteration(loop))
        read_packets(transparent);
    if (ev_is_active(timer))
        return;
    if (transparent->is_behind) {
        set_deadline(held, 0);
        return;
    }
    abort_socket(held);
    if (held->state == HELD_DIALING && held->op)
        held->state = HELD_GIVEN_UP;
    else
        forget(held);
}

static void answer(struct held *held)
{
    struct transparent *transparent = held->transparent;
    int r = ports_use(&transparent->ports, held->syn.family, held->syn.flow.target_port,
                      &held->port);

    if (r < 0) {
        refuse(transparent, &held->syn, REFUSAL_NETWORK);
        abort_socket(held);
        forget(held);
        return;
    }
    held->state = HELD_ANSWERED;
    set_deadline(held, ACCEPT_SECONDS);
    (void)network_put_syn(&transparent->network, &held->syn);
}

static void on_connected(asock_op *op, void *userdata)
{
    struct held *held = userdata;
    int error = asock_op_get_error(op);

    if (!error && held->state == HELD_DIALING) {
        answer(held);
        return;
    }
    if (held->state == HELD_DIALING)
        refuse(held->transparent, &held->syn, refusal_of(error));
    forget(held);
}

/* ---- what was accepted ---- */

static bool is_accepted(const struct transparent *transparent, const struct packet *syn)
{
    const struct accepted *accepted = transparent->accepted[bucket_of(&syn->flow)];

    while (accepted && (accepted->seq != syn->seq ||
                        memcmp(&accepted->flow, &syn->flow, sizeof(syn->flow)) != 0))
        accepted = accepted->next;
    return accepted;
}

static void leave(void *userdata, bool reset)
{
    struct accepted *accepted = userdata;
    struct accepted **place = &accepted->transparent->accepted[bucket_of(&accepted->flow)];

    while (*place != accepted)
        place = &(*place)->next;
    *place = accepted->next;
    ports_leave(accepted->passage, reset);
    free(accepted);
}

/* NULL: no memory. */
static struct accepted *note_accepted(struct transparent *transparent, const struct packet *syn,
                                      struct passage *passage)
{
    struct accepted *accepted = calloc(1, sizeof(*accepted));
    struct accepted **first = &transparent->accepted[bucket_of(&syn->flow)];

    if (!accepted)
        return NULL;
    *accepted = (struct accepted){.next = *first,
                                  .transparent = transparent,
                                  .passage = passage,
                                  .flow = syn->flow,
                                  .seq = syn->seq};
    *first = accepted;
    return accepted;
}

/* ---- a first packet ---- */

/* An enum asock_error. */
static int dial(struct held *held, const struct destination *to)
{
    asock_context *context = gateway_context(held->transparent->gateway);
    int r;

    if (!context)
        return ASOCK_CONNECTION_ABORTED;
    r = asock_socket_new(context, AF_UNSPEC, &held->socket);
    if (r == -EMFILE)
        return ASOCK_TOO_MANY_OPEN_SOCKETS;
    if (r < 0 || asock_op_new(context, &held->op) < 0)
        return ASOCK_NO_BUFFER_SPACE;
    if (asock_op_set_host(held->op, to->host, to->service) < 0)
        return ASOCK_INVALID_ARGUMENT;
    asock_op_set_timeout(held->op, GATEWAY_DIAL_MS);
    asock_op_set_callback(held->op, on_connected, held);
    asock_op_set_flags(held->op, ASOCK_LEND_IF_ALLOWED);
    r = asock_connect(held->socket, held->op);
    if (r == 1)
        return ASOCK_SUCCESS;
    return r == 0 ? asock_op_get_error(held->op) : ASOCK_SOCKET_ERROR;
}

static void dial_or_refuse(struct held *held, const struct destination *to)
{
    struct gateway *gateway = held->transparent->gateway;
    int error = gateway_has_queue(gateway) ? ASOCK_TOO_MANY_OPEN_SOCKETS : dial(held, to);

    if (!error)
        return;
    if (error == ASOCK_TOO_MANY_OPEN_SOCKETS && !held->socket) {
        gateway_await_place(gateway, &held->place);
        return;
    }
    refuse(held->transparent, &held->syn, refusal_of(error));
    forget(held);
}

static bool on_place(struct place_wait *wait, bool is_last)
{
    struct held *held = container_of(wait, struct held, place);
    struct destination to;
    int error = ASOCK_INVALID_ARGUMENT;

    if (fake_names_destination(&held->transparent->names, &held->syn.flow, &to))
        error = dial(held, &to);
    if (error == ASOCK_TOO_MANY_OPEN_SOCKETS && !held->socket && !is_last)
        return false;
    list_remove(&held->place.node);
    if (error) {
        refuse(held->transparent, &held->syn, refusal_of(error));
        forget(held);
    }
    return true;
}

/* Its name keeps its address. */
static void on_session(struct session_wait *wait)
{
    struct held *held = (struct held *)wait;
    struct destination to;

    if (fake_names_destination(&held->transparent->names, &held->syn.flow, &to))
        dial_or_refuse(held, &to);
    else
        forget(held);
}

static void hold(struct transparent *transparent, const struct packet *syn)
{
    struct destination to;
    struct held *held;

    if (!fake_names_destination(&transparent->names, &syn->flow, &to)) {
        refuse(transparent, syn, REFUSAL_HOST);
        return;
    }
    if (transparent->count == HELD_MAX ||
        transparent->count + transparent->ports.passages >= GATEWAY_CLIENTS_MAX)
        return;
    held = calloc(1, sizeof(*held));
    if (!held)
        return;
    held->transparent = transparent;
    held->syn = *syn;
    held->wait.tell = on_session;
    held->place.serve = on_place;
    list_init(&held->place.node);
    ev_init(&held->deadline, on_deadline);
    held->deadline.data = held;
    *place_of(transparent, &syn->flow) = held;
    transparent->count++;
    await_again(held, 0);
    if (!gateway_await_session(transparent->gateway, &held->wait))
        dial_or_refuse(held, &to);
}

static void take_packet(struct transparent *transparent, const struct packet *syn)
{
    struct held *held = *place_of(transparent, &syn->flow);

    if (is_accepted(transparent, syn))
        return;
    if (!held) {
        hold(transparent, syn);
        return;
    }
    /* Sent again, or by a new socket at the same place. */
    held->syn = *syn;
    if (held->state == HELD_DIALING)
        await_again(held, ev_now(transparent->gateway->loop) - held->last);
    if (held->state == HELD_ANSWERED)
        (void)network_put_syn(&transparent->network, syn);
}

/* Up to a batch of them, each handled by the callee. False: no more are there. */
static bool read_batch(struct transparent *transparent, int fd,
                       void (*take)(struct transparent *transparent, const uint8_t *data,
                                    size_t len))
{
    uint8_t data[PACKETS_BATCH][HEADERS_MAX];
    struct mmsghdr messages[PACKETS_BATCH];
    struct iovec places[PACKETS_BATCH];
    int n;

    for (int i = 0; i < PACKETS_BATCH; i++) {
        places[i] = (struct iovec){data[i], HEADERS_MAX};
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &places[i], .msg_iovlen = 1}};
    }
    n = recvmmsg(fd, messages, PACKETS_BATCH, 0, NULL);
    for (int i = 0; i < n; i++)
        take(transparent, data[i], messages[i].msg_len);
    return n == PACKETS_BATCH;
}

static void take_syn(struct transparent *transparent, const uint8_t *data, size_t len)
{
    struct packet syn;

    if (packet_read_syn(data, len, &syn))
        take_packet(transparent, &syn);
}

static void read_packets(struct transparent *transparent)
{
    int left = PACKETS_MAX / PACKETS_BATCH;

    transparent->round = ev_iteration(transparent->gateway->loop);
    while (left > 0 && read_batch(transparent, transparent->packets.fd, take_syn))
        left--;
    transparent->is_behind = left == 0;
}

static void on_packets(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    (void)events;
    read_packets(io->data);
}

/* ---- an accepted connection ---- */

static void on_accepted(void *userdata, int fd, const struct flow *flow, struct passage *passage)
{
    struct transparent *transparent = userdata;
    struct held *held = *place_of(transparent, flow);
    struct accepted *accepted = NULL;
    asock_socket *socket;
    int lent;

    if (held && held->state == HELD_ANSWERED)
        accepted = note_accepted(transparent, &held->syn, passage);
    if (!accepted) {
        ports_leave(passage, true);
        return;
    }
    socket = held->socket;
    held->socket = NULL;
    lent = asock_op_take_fd(held->op);
    forget(held);
    client_adopt(transparent->gateway, fd, socket, lent, leave, accepted);
}

/* ---- life ---- */

/* Every op has completed: what is held still has been answered. */
static void on_lost(void *userdata)
{
    struct transparent *transparent = userdata;

    for (unsigned int i = 0; i < BUCKETS; i++)
        while (transparent->buckets[i])
            forget(transparent->buckets[i]);
    datagrams_lost(&transparent->datagrams);
    for (unsigned int i = 0; i < transparent->published_count; i++)
        publish_lost(transparent->published[i]);
}

void transparent_publish(struct transparent *transparent, struct publish *publish)
{
    transparent->published[transparent->published_count++] = publish;
    publish_start(publish, &transparent->network);
}

int transparent_new(struct gateway *gateway, const struct network *network,
                    struct transparent **ret)
{
    struct transparent *transparent = calloc(1, sizeof(*transparent));
    int r = -ENOMEM;

    if (transparent && ports_init(&transparent->ports, gateway->loop, &transparent->network,
                                  on_accepted, transparent)) {
        transparent->network = *network;
        r = datagrams_init(&transparent->datagrams, gateway, &transparent->network,
                           &transparent->names);
        if (r == 0)
            r = stub_init(&transparent->stub, gateway, &transparent->names);
        if (r < 0) {
            datagrams_stop(&transparent->datagrams);
            datagrams_deinit(&transparent->datagrams);
            ports_deinit(&transparent->ports);
        }
    }
    if (r < 0) {
        free(transparent);
        gateway_free(gateway);
        return r;
    }
    transparent->gateway = gateway;
    gateway->lost = on_lost;
    gateway->lost_userdata = transparent;
    fake_names_init(&transparent->names);
    ev_io_init(&transparent->packets, on_packets, network->packets, EV_READ);
    transparent->packets.data = transparent;
    ev_io_start(gateway->loop, &transparent->packets);
    *ret = transparent;
    return 0;
}

void transparent_drain(struct transparent *transparent, double seconds)
{
    for (unsigned int i = 0; i < transparent->published_count; i++)
        publish_end(transparent->published[i]);
    gateway_drain(transparent->gateway, seconds);
}

void transparent_free(struct transparent *transparent)
{
    if (!transparent)
        return;
    ev_io_stop(transparent->gateway->loop, &transparent->packets);
    datagrams_stop(&transparent->datagrams);
    for (unsigned int i = 0; i < BUCKETS; i++)
        for (struct held *held = transparent->buckets[i]; held; held = held->next) {
            ev_timer_stop(transparent->gateway->loop, &held->deadline);
            session_wait_end(&held->wait);
        }
    stub_stop(&transparent->stub);
    for (unsigned int i = 0; i < transparent->published_count; i++)
        publish_stop(transparent->published[i]);
    /* The session ends, and with it every op that has a pointer into what is held. */
    gateway_free(transparent->gateway);
    for (unsigned int i = 0; i < BUCKETS; i++) {
        struct held *held = transparent->buckets[i], *next;

        for (; held; held = next) {
            next = held->next;
            if (held->port)
                ports_unuse(held->port);
            asock_op_unref(held->op);
            asock_socket_unref(held->socket);
            free(held);
        }
    }
    stub_deinit(&transparent->stub);
    datagrams_deinit(&transparent->datagrams);
    ports_deinit(&transparent->ports);
    fake_names_deinit(&transparent->names);
    network_close(&transparent->network);
    free(transparent);
}
