/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: a datagram of the command, whole, with its headers -> the flow of its two addresses:
 * a socket that is connected, by name where the address stands for one -> send. What comes back
 * goes into the cable, from the address that the command had sent to.
 * Failures: policy has no datagrams for that address, or the daemon has none at all: a packet that
 * says that nothing listens there, as to each datagram of the next second, so that programs fall
 * back to TCP. The network reports an error: the packet that fits. There is no room: the datagram
 * is lost, as on any network.
 *
 * Bounded: so many flows, and datagrams of each that are under way, and a time without use.
 */
#include "gateway/datagrams.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/hash.h"
#include "gateway/destination.h"
#include "gateway/packet.h"
#include "gateway/server.h"
#include "gateway/udp_flow.h"

/* Under way; also those that wait for their connects. Of a flow, and bytes of all. */
#define SENDS_MAX 512u
#define QUEUED_MAX (4u * 1024u * 1024u)
#define DATAGRAMS_MAX 64 /* in a turn */
#define SWEEP_SECONDS 10.0
/* Until policy is asked again about an address that it has denied. */
#define DENIED_SECONDS 1.0

struct exchange {
    struct list all;
    struct list node;      /* datagrams->used; not linked: it has ended */
    struct exchange *next; /* in its bucket */
    struct datagrams *datagrams;
    struct packet last; /* the last datagram's headers, and its addresses */
    ev_tstamp when;     /* something moved, or it was denied */
    bool is_denied;
    struct udp_flow udp;
};

static struct exchange *exchange_of_udp(struct udp_flow *udp)
{
    return container_of(udp, struct exchange, udp);
}

/* ---- their life ---- */

static struct exchange **place_of(struct datagrams *datagrams, const struct flow *flow)
{
    struct exchange **place =
        &datagrams->buckets[hash_bytes(flow, sizeof(*flow)) % DATAGRAM_BUCKETS];

    while (*place && memcmp(&(*place)->last.flow, flow, sizeof(*flow)) != 0)
        place = &(*place)->next;
    return place;
}

static void forget(struct exchange *exchange)
{
    if (exchange->udp.ops > 0)
        return;
    list_remove(&exchange->all);
    exchange->datagrams->held--;
    udp_flow_deinit(&exchange->udp);
    free(exchange);
}

/* It may be freed. */
static void end(struct exchange *exchange)
{
    struct datagrams *datagrams = exchange->datagrams;

    *place_of(datagrams, &exchange->last.flow) = exchange->next;
    list_remove(&exchange->node);
    if (--datagrams->count == 0)
        ev_timer_stop(datagrams->gateway->loop, &datagrams->sweep);
    udp_flow_close(&exchange->udp);
    forget(exchange);
}

static bool has_ended(const struct exchange *exchange)
{
    return !list_is_linked(&exchange->node);
}

static void touch(struct exchange *exchange)
{
    exchange->when = ev_now(exchange->datagrams->gateway->loop);
    list_remove(&exchange->node);
    list_append(&exchange->datagrams->used, &exchange->node);
}

static void on_settled(struct udp_flow *udp)
{
    struct exchange *exchange = exchange_of_udp(udp);

    if (has_ended(exchange))
        forget(exchange);
}

/* ---- errors ---- */

static void refuse(const struct datagrams *datagrams, const struct packet *datagram,
                   enum refusal refusal)
{
    _Alignas(4) uint8_t packet[PACKET_MAX];
    size_t len = packet_refuse(datagram, refusal, packet);

    (void)network_put_answer(datagrams->network, datagram->family, packet, len);
}

/* What no program without IP_RECVERR hears of is only for what the network itself has said. */
static enum refusal refusal_of(int error)
{
    if (error == ASOCK_NETWORK_UNREACHABLE)
        return REFUSAL_NETWORK;
    return error == ASOCK_HOST_UNREACHABLE ? REFUSAL_HOST : REFUSAL_PORT;
}

/* What the network reports about a datagram ends nothing. */
static bool is_passing(int error)
{
    return udp_flow_is_passing(error) || error == ASOCK_MESSAGE_SIZE;
}

/* It stays for a moment as what says so. */
static void deny(struct exchange *exchange, int error)
{
    refuse(exchange->datagrams, &exchange->last, refusal_of(error));
    exchange->is_denied = true;
    touch(exchange);
    udp_flow_close(&exchange->udp);
}

static void failed(struct exchange *exchange, int error)
{
    if (has_ended(exchange) || exchange->is_denied || error == ASOCK_OPERATION_ABORTED)
        return;
    if (!is_passing(error))
        deny(exchange, error);
    else if (error != ASOCK_MESSAGE_SIZE)
        refuse(exchange->datagrams, &exchange->last, refusal_of(error));
}

/* ---- from the network ---- */

static void give(struct exchange *exchange, size_t len)
{
    const uint8_t *packet;
    size_t size = packet_put_datagram(&exchange->last, (uint8_t *)exchange->udp.buf, len, &packet);

    if (size > 0)
        (void)network_put_answer(exchange->datagrams->network, exchange->last.family, packet, size);
    touch(exchange);
}

static void on_received(struct udp_flow *udp, asock_op *op, int error)
{
    struct exchange *exchange = exchange_of_udp(udp);

    if (!error && !has_ended(exchange))
        give(exchange, (size_t)asock_op_get_bytes(op));
    else
        failed(exchange, error);
    if (!has_ended(exchange) && udp->socket && (!error || is_passing(error))) {
        error = udp_flow_receive(udp);
        if (error)
            deny(exchange, error);
    }
}

/* ---- to the network ---- */

static void on_connected(struct udp_flow *udp, int error)
{
    struct exchange *exchange = exchange_of_udp(udp);

    if (error && !has_ended(exchange) && !exchange->is_denied)
        deny(exchange, error);
}

static void on_sent(struct udp_flow *udp, size_t len, int error)
{
    struct exchange *exchange = exchange_of_udp(udp);

    exchange->datagrams->queued -= udp_flow_cost(len);
    exchange->datagrams->gateway->datagrams_sent--;
    if (error && error != ASOCK_NO_BUFFER_SPACE) /* lost, as on any network */
        failed(exchange, error);
}

static void send_datagram(struct exchange *exchange, const uint8_t *data, size_t len)
{
    struct datagrams *datagrams = exchange->datagrams;

    if (exchange->udp.sends == SENDS_MAX || datagrams->queued + udp_flow_cost(len) > QUEUED_MAX ||
        !udp_flow_send(&exchange->udp, data, len))
        return;
    datagrams->queued += udp_flow_cost(len);
    datagrams->gateway->datagrams_sent++;
}

/* 0, or an enum asock_error. */
static int connect_to(struct exchange *exchange, const struct destination *to)
{
    int error = udp_flow_connect(&exchange->udp, gateway_context(exchange->datagrams->gateway), to);

    return error ? error : udp_flow_receive(&exchange->udp);
}

static const struct udp_flow_class exchange_class = {
    .head_max = PACKET_DATAGRAM_HEAD,
    .connected = on_connected,
    .received = on_received,
    .sent = on_sent,
    .settled = on_settled,
};

/* NULL: no memory, or the daemon is too slow to end those that have ended. */
static struct exchange *new_exchange(struct datagrams *datagrams, const struct packet *datagram)
{
    struct exchange *exchange = datagrams->held < DATAGRAM_FLOWS_HELD_MAX
                                    ? calloc(1, sizeof(*exchange))
                                    : NULL;

    if (!exchange || udp_flow_init(&exchange->udp, &exchange_class) < 0) {
        free(exchange);
        return NULL;
    }
    if (datagrams->count == DATAGRAM_FLOWS_MAX)
        end(list_first(&datagrams->used, struct exchange, node));
    exchange->datagrams = datagrams;
    exchange->last = *datagram;
    list_init(&exchange->all);
    list_init(&exchange->node);
    list_append(&datagrams->all, &exchange->all);
    datagrams->held++;
    if (datagrams->count++ == 0)
        ev_timer_again(datagrams->gateway->loop, &datagrams->sweep);
    *place_of(datagrams, &datagram->flow) = exchange;
    touch(exchange);
    return exchange;
}

static void on_session(struct session_wait *wait)
{
    (void)wait; /* the command's next datagram uses it */
}

/* Where it was lost one is opened again. */
static bool has_session(struct datagrams *datagrams)
{
    if (gateway_context(datagrams->gateway))
        return true;
    if (!datagrams->wait.link)
        (void)gateway_await_session(datagrams->gateway, &datagrams->wait);
    return false;
}

/* NULL: it was refused, or is lost. */
static struct exchange *exchange_of(struct datagrams *datagrams, const struct packet *datagram)
{
    ev_tstamp now = ev_now(datagrams->gateway->loop);
    struct exchange *exchange = *place_of(datagrams, &datagram->flow);
    struct destination to;
    int error;

    if (exchange && exchange->is_denied && now - exchange->when < DENIED_SECONDS) {
        refuse(datagrams, datagram, REFUSAL_PORT);
        return NULL;
    }
    if (exchange && !exchange->is_denied) {
        exchange->last = *datagram;
        touch(exchange);
        return exchange;
    }
    if (exchange)
        end(exchange);
    if (!has_session(datagrams)) {
        refuse(datagrams, datagram, REFUSAL_PORT);
        return NULL;
    }
    if (!fake_names_destination(datagrams->names, &datagram->flow, &to)) {
        refuse(datagrams, datagram, REFUSAL_PORT);
        return NULL;
    }
    exchange = new_exchange(datagrams, datagram);
    error = exchange ? connect_to(exchange, &to) : 0;
    if (!error)
        return exchange;
    deny(exchange, error);
    return NULL;
}

static void take(struct datagrams *datagrams, const uint8_t *data, size_t len)
{
    struct exchange *exchange;
    struct packet datagram;

    if (!packet_read_datagram(data, len, &datagram) || datagram.payload_len > len - datagram.len)
        return;
    exchange = exchange_of(datagrams, &datagram);
    if (exchange)
        send_datagram(exchange, data + datagram.len, datagram.payload_len);
}

static void on_datagrams(struct ev_loop *loop, ev_io *io, int events)
{
    struct datagrams *datagrams = io->data;

    (void)loop;
    (void)events;
    for (int i = 0; i < DATAGRAMS_MAX; i++) {
        ssize_t n = recv(io->fd, datagrams->packet, HEAD_MAX + DATAGRAM_MAX, MSG_DONTWAIT);

        if (n < 0)
            return;
        take(datagrams, datagrams->packet, (size_t)n);
    }
}

static void on_sweep(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct datagrams *datagrams = timer->data;
    struct exchange *exchange;

    (void)events;
    while ((exchange = list_first(&datagrams->used, struct exchange, node)) &&
           ev_now(loop) - exchange->when >= DATAGRAM_IDLE_SECONDS)
        end(exchange);
}

/* ---- all of them ---- */

int datagrams_init(struct datagrams *datagrams, struct gateway *gateway,
                   const struct network *network, const struct fake_names *names)
{
    *datagrams = (struct datagrams){.gateway = gateway, .network = network, .names = names};
    datagrams->wait.tell = on_session;
    list_init(&datagrams->used);
    list_init(&datagrams->all);
    datagrams->packet = malloc(HEAD_MAX + DATAGRAM_MAX);
    if (!datagrams->packet)
        return -ENOMEM;
    ev_init(&datagrams->sweep, on_sweep);
    datagrams->sweep.repeat = SWEEP_SECONDS;
    ev_io_init(&datagrams->io, on_datagrams, network->datagrams, EV_READ);
    datagrams->sweep.data = datagrams->io.data = datagrams;
    ev_io_start(gateway->loop, &datagrams->io);
    return 0;
}

void datagrams_lost(struct datagrams *datagrams)
{
    struct exchange *exchange;

    while ((exchange = list_first(&datagrams->used, struct exchange, node)))
        end(exchange);
}

void datagrams_stop(struct datagrams *datagrams)
{
    session_wait_end(&datagrams->wait);
    ev_io_stop(datagrams->gateway->loop, &datagrams->io);
    datagrams_lost(datagrams);
}

void datagrams_deinit(struct datagrams *datagrams)
{
    struct exchange *exchange;

    while ((exchange = list_first(&datagrams->all, struct exchange, all))) {
        exchange->udp.ops = 0;
        forget(exchange);
    }
    free(datagrams->packet);
}
