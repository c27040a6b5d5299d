/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Steps with datagram sockets, and what must come of them (S64 to S67). They have a model of their
 * own: a socket sends to one port, by which the kernel's socket is known. At the end the kernel's
 * record of what was sent and received is held against what was reported: each datagram whole, in
 * its order, once; none lost between the kernel and the program.
 */
#include <errno.h>
#include <string.h>

#include "client-lib/core/objects.h"
#include "tests/sim/inbound.h"
#include "tests/sim/steps.h"
#include "tests/sim/udp.h"

#define SOCKETS_MAX 64
#define SLOTS 3
#define OPS_MAX 6000
#define PORT_FIRST 50000u
#define LEN_MAX 70000

struct flight {
    struct datagrams *socket;
    asock_op *op;
    enum asock_operation operation; /* of one that is neither a send nor a receive */
    bool is_send, is_done, may_be_unknown, was_cancelled;
    uint64_t until; /* ms; 0: it has no deadline */
    uint64_t number;
    size_t len, bytes, length; /* length: that the datagram had */
    int error;
    unsigned int flags, traffic_class;
    uint16_t port;  /* of who sent it */
    size_t segment; /* of a send of several datagrams: bytes of each; 0: one */
    uint8_t *data;
};

struct datagrams {
    struct client *client;
    unsigned int generation;
    asock_socket *socket; /* NULL: no reference left */
    uint16_t port;
    bool is_connected, is_blurred; /* is_blurred: not all that happened was reported */
    bool is_disconnecting, was_bound, has_connected;
    uint64_t connected; /* number of the connect that succeeded */
};

static struct {
    struct datagrams *slots[SLOTS], *all[SOCKETS_MAX];
    struct flight *flights[OPS_MAX];
    unsigned int count, flight_count;
    uint64_t number;
} all;

void datagrams_reset(void)
{
    for (unsigned int i = 0; i < all.flight_count; i++) {
        sim_free(all.flights[i]->data);
        sim_free(all.flights[i]);
    }
    for (unsigned int i = 0; i < all.count; i++)
        sim_free(all.all[i]);
    memset(&all, 0, sizeof(all));
    all.number = UINT64_C(1) << 32;
}

static void let_go(struct datagrams *d)
{
    if (d->socket)
        d->socket = LIB(asock_socket_unref(d->socket));
    for (unsigned int i = 0; i < SLOTS; i++)
        if (all.slots[i] == d)
            all.slots[i] = NULL;
}

/* Its context goes: nothing is reported any more. */
void datagrams_lost(const struct client *client)
{
    groups_lost(client);
    for (unsigned int i = 0; i < all.flight_count; i++) {
        struct flight *f = all.flights[i];

        if (f->socket->client != client || !f->op)
            continue;
        f->may_be_unknown = true;
        f->is_done = true;
        f->error = ASOCK_CONNECTION_ABORTED;
        f->op = LIB(asock_op_unref(f->op));
    }
    for (unsigned int i = 0; i < all.count; i++)
        if (all.all[i]->client == client) {
            all.all[i]->is_blurred = true;
            let_go(all.all[i]);
        }
}

void step_datagrams(const struct step *step)
{
    static const int families[] = {AF_UNSPEC, AF_INET, AF_UNSPEC, AF_UNSPEC};
    struct client *client = client_of(step->c);
    struct datagrams *d;
    asock_socket *socket;

    if (!client || all.slots[step->a % SLOTS] || all.count == SOCKETS_MAX)
        return;
    if (LIB(asock_socket_new_udp(client->context, families[step->b % 4], &socket)) < 0)
        return;
    d = sim_alloc(sizeof(*d));
    d->client = client;
    d->generation = client->generation;
    d->socket = socket;
    d->port = (uint16_t)(PORT_FIRST + all.count);
    all.all[all.count++] = d;
    all.slots[step->a % SLOTS] = d;
}

/* ---- disconnects (S73) ---- */

static bool has_ended(const struct flight *f)
{
    return f->is_done || !f->op || f->op->state == OP_DONE || f->op->state == OP_HELD;
}

/* All before it have ended, and nothing that was to go was dropped. */
static void judge_disconnect(const struct flight *disconnect)
{
    const struct datagrams *d = disconnect->socket;

    if (!d->has_connected)
        sim_fail("untrue-disconnect: %llu, and its socket was never connected",
                 (unsigned long long)disconnect->number);
    for (unsigned int i = 0; i < all.flight_count; i++) {
        const struct flight *f = all.flights[i];

        if (f->socket != d || f->number >= disconnect->number)
            continue;
        if (!has_ended(f))
            sim_fail("outlives: datagram %llu, the disconnect %llu of its socket",
                     (unsigned long long)f->number, (unsigned long long)disconnect->number);
        /* One whose time is over before it leaves ends like one that is cancelled (S30). */
        if (f->is_send && f->number > d->connected && f->is_done && !f->was_cancelled &&
            !(f->until && sim_now_ms() >= f->until) && f->error == ASOCK_OPERATION_ABORTED)
            sim_fail("untrue-disconnect: %llu, and datagram %llu did not leave",
                     (unsigned long long)disconnect->number, (unsigned long long)f->number);
    }
}

/* Its socket goes on as another one, which has a port of its own. */
static void renew(struct datagrams *d)
{
    struct datagrams *next;

    if (all.count == SOCKETS_MAX) {
        LIB(asock_close(d->socket, NULL, 0));
        let_go(d);
        return;
    }
    next = sim_alloc(sizeof(*next));
    next->client = d->client;
    next->generation = d->generation;
    next->socket = d->socket;
    next->port = (uint16_t)(PORT_FIRST + all.count);
    all.all[all.count++] = next;
    for (unsigned int i = 0; i < SLOTS; i++)
        if (all.slots[i] == d)
            all.slots[i] = next;
    d->socket = NULL;
    sim_trace("  port %u goes on as %u", d->port, next->port);
}

static void ended(struct flight *f)
{
    struct datagrams *d = f->socket;

    sim_trace("  %llu: operation %d of port %u ends: %s", (unsigned long long)f->number,
              f->operation, d->port, asock_error_name(f->error));
    if (f->operation == ASOCK_OPERATION_CONNECT && !f->error) {
        d->has_connected = true;
        d->connected = f->number;
    }
    if (f->operation != ASOCK_OPERATION_DISCONNECT)
        return;
    d->is_disconnecting = false;
    if (f->error == ASOCK_NOT_CONNECTED && d->has_connected && !d->was_bound)
        sim_fail("lost-peer: of port %u", d->port);
    if (f->error)
        return;
    judge_disconnect(f);
    if (d->socket)
        renew(d);
}

static void done(asock_op *op, void *userdata)
{
    struct flight *f = userdata;
    struct asock_datagram datagram;
    struct sockaddr_storage from;

    if (f->is_done)
        sim_fail("told-twice: datagram %llu", (unsigned long long)f->number);
    f->is_done = true;
    f->error = asock_op_get_error(op);
    f->bytes = asock_op_get_bytes(op);
    f->flags = asock_op_get_result_flags(op);
    if (asock_op_get_datagram(op, &datagram) == 0) {
        f->length = datagram.length;
        f->traffic_class = datagram.traffic_class;
        SIM_MUST(asock_op_get_remote(op, &from) > 0);
        f->port = ntohs(((const struct sockaddr_in *)(const void *)&from)->sin_port);
    }
    f->op = NULL;
    if (f->operation)
        ended(f);
    asock_op_unref(op);
}

/* An op of its own for each: used again they are elsewhere. */
static struct flight *begin(struct datagrams *d, bool is_send, size_t len, uint32_t manner)
{
    static const unsigned int timeouts[] = {0, 0, 0, 0, 5, 300, 3000, 20000};
    struct flight *f;
    asock_op *op;

    if (all.flight_count == OPS_MAX || LIB(asock_op_new(d->client->context, &op)) < 0)
        return NULL;
    f = sim_alloc(sizeof(*f));
    f->socket = d;
    f->op = op;
    f->is_send = is_send;
    f->number = all.number++;
    f->len = len;
    f->data = sim_alloc(len + 1);
    if (is_send)
        sim_pattern(f->number, 0, f->data, len);
    all.flights[all.flight_count++] = f;
    SIM_MUST(asock_op_set_callback(op, done, f) == 0);
    SIM_MUST(asock_op_set_timeout(op, timeouts[manner % 8]) == 0);
    f->until = timeouts[manner % 8] ? sim_now_ms() + timeouts[manner % 8] : 0;
    SIM_MUST(asock_op_set_flags(op, is_send && manner / 8 % 5 == 0 ? ASOCK_ERRORS_ONLY : 0) == 0);
    SIM_MUST(asock_op_set_buffer(op, f->data, len) == 0);
    if (is_send)
        f->traffic_class = manner / 40 % 4;
    if (is_send && manner / 160 % 3)
        f->segment = manner / 160 % 3 == 1 ? 1200 : len / 7 + 1;
    SIM_MUST(asock_op_set_ecn(op, f->traffic_class) == 0);
    SIM_MUST(asock_op_set_segment_size(op, f->segment) == 0);
    return f;
}

static void made(struct flight *f, int r)
{
    asock_op *op = f->op;

    if (r == 1)
        return;
    if (r < 0)
        f->is_done = true, f->error = ASOCK_INVALID_ARGUMENT;
    f->op = NULL;
    if (r == 0) {
        f->is_done = true;
        f->error = LIB(asock_op_get_error(op));
    }
    if (f->operation)
        ended(f);
    LIB(asock_op_unref(op));
}

static struct datagrams *find(const struct step *step)
{
    struct datagrams *d = all.slots[step->a % SLOTS];

    return d && d->client->context ? d : NULL;
}

bool datagrams_slot(uint32_t slot, struct datagram_slot *ret)
{
    const struct datagrams *d = find(&(struct step){.a = slot});

    if (d && d->is_disconnecting)
        return false;
    if (d)
        *ret = (struct datagram_slot){d->client, d->socket, d->port, d->generation};
    return d != NULL;
}

static void set_endpoint(struct flight *f, uint32_t how)
{
    /* A family that the first one has not chosen is an error, which is one op's. */
    struct destination to = step_destination(how % 16 | (how / 16 % 8 == 1 ? 16u : 32u),
                                             f->socket->port - KERNEL_PORT_FIRST);

    SIM_MUST(asock_op_set_endpoint(f->op, (const struct sockaddr *)&to.addr, to.len) == 0);
}

void step_datagram_send(const struct step *step)
{
    struct datagrams *d = find(step);
    size_t len = step_length(step->c);
    struct flight *f;

    /* Another peer's port would be the next socket's. */
    if (!d || (d->is_disconnecting && !d->is_connected))
        return;
    f = begin(d, true, len < LEN_MAX ? len : LEN_MAX, step->d);
    if (!f)
        return;
    if (d->is_connected) {
        made(f, LIB(asock_send(d->socket, f->op)));
        return;
    }
    set_endpoint(f, step->b);
    made(f, LIB(asock_send_to(d->socket, f->op)));
}

void step_datagram_receive(const struct step *step)
{
    struct datagrams *d = find(step);
    struct flight *f = NULL;

    /* What comes behind a disconnect may be of the next socket. */
    if (d && !d->is_disconnecting)
        f = begin(d, false, 1 + step_length(step->c), step->d);

    if (f)
        made(f, LIB(asock_receive_from(d->socket, f->op)));
}

/* While a name is looked up, and before it, answers to what was sent may come. */
void step_datagram_connect(const struct step *step)
{
    struct datagrams *d = find(step);
    struct destination to;
    struct flight *f;

    if (!d || d->is_connected || d->is_disconnecting)
        return;
    f = begin(d, false, 0, 0);
    if (!f)
        return;
    f->len = SIZE_MAX; /* it is neither a send nor a receive */
    f->operation = ASOCK_OPERATION_CONNECT;
    d->is_connected = true;
    to = step_destination(step->b * 1021 + step->c, d->port - KERNEL_PORT_FIRST);
    if (to.is_name)
        SIM_MUST(asock_op_set_host(f->op, to.name, to.service) == 0);
    else
        SIM_MUST(asock_op_set_endpoint(f->op, (const struct sockaddr *)&to.addr, to.len) == 0);
    made(f, LIB(asock_connect(d->socket, f->op)));
}

void step_datagram_disconnect(const struct step *step)
{
    struct datagrams *d = find(step);
    struct flight *f;

    if (!d || d->is_disconnecting || (!d->is_connected && step->c % 4))
        return;
    f = begin(d, false, 0, step->d);
    if (!f)
        return;
    f->len = SIZE_MAX;
    f->operation = ASOCK_OPERATION_DISCONNECT;
    d->is_disconnecting = true;
    made(f, LIB(asock_disconnect(d->socket, f->op)));
}

/*
 * To a port of its own, by which the kernel's socket is known; what hosts send comes from that port
 * too.
 */
void step_datagram_bind(const struct step *step)
{
    struct datagrams *d = find(step);
    struct sockaddr_storage local;
    struct flight *f;

    if (!d || d->is_connected || d->is_disconnecting)
        return;
    f = begin(d, false, 0, 0);
    if (!f)
        return;
    f->len = SIZE_MAX;
    f->operation = ASOCK_OPERATION_BIND;
    d->was_bound = true;
    SIM_MUST(asock_op_set_endpoint(f->op, (const struct sockaddr *)&local,
                                   inbound_local(step->b % 4, d->port, &local)) == 0);
    made(f, LIB(asock_bind(d->socket, f->op)));
}

/* Of one that is bound: nobody else is sent what nobody asked for. */
void step_datagram_arrives(const struct step *step)
{
    struct datagrams *d = find(step);
    struct udp *udp = d ? udp_by_port(d->port) : NULL;
    size_t len = step_length(step->c);

    for (uint32_t i = 0; udp && udp->local.ss_family && i <= step->d % 4; i++)
        udp_arrive(udp, 1 + (step->b + i) % 5, len < LEN_MAX - 5000 ? len : LEN_MAX - 5000);
}

void step_datagram_cancel(const struct step *step)
{
    struct flight *f = all.flight_count ? all.flights[step->c % all.flight_count] : NULL;

    if (!f || !f->op || !f->socket->client->context)
        return;
    f->was_cancelled = true;
    LIB(asock_cancel(f->op));
}

void step_datagram_close(const struct step *step)
{
    struct datagrams *d = find(step);

    if (!d)
        return;
    LIB(asock_close(d->socket, NULL, step->b % 3 ? 0 : (int)(step->c % 3000)));
    let_go(d);
}

/* ---- the end ---- */

/* No send waits: hosts take what comes. No receive waits for what is there. */
static void judge_waiting(void)
{
    for (unsigned int i = 0; i < all.flight_count; i++) {
        const struct flight *f = all.flights[i];
        const struct udp *udp = udp_by_port(f->socket->port);

        if (!f->is_done && f->is_send)
            sim_fail("never-sent: datagram %llu", (unsigned long long)f->number);
        if (!f->is_done && !f->is_send && f->len != SIZE_MAX && udp && !udp->is_closed &&
            udp->rx.count > 0 && udp->rx.at[0].due <= sim.now_ns)
            sim_fail("never-told: a datagram is there, and %llu waits for one",
                     (unsigned long long)f->number);
    }
}

bool datagrams_close_all(void)
{
    bool has_closed = false;

    judge_waiting();
    for (unsigned int i = 0; i < all.count; i++) {
        if (all.all[i]->socket && all.all[i]->client->context) {
            LIB(asock_close(all.all[i]->socket, NULL, 0));
            has_closed = true;
        }
        let_go(all.all[i]);
    }
    return has_closed;
}

/* How it ended is unknown: the session was lost, or the daemon did not answer. */
static bool is_unknown(const struct flight *f)
{
    return f->may_be_unknown || f->error == ASOCK_CONNECTION_ABORTED || (f->error && f->bytes) ||
           f->error == ASOCK_TIMED_OUT || f->socket->is_blurred;
}

/* Is the message what f sends behind the bytes that have gone? */
static bool is_sent_as(const struct flight *f, size_t done, const struct udp_message *message)
{
    size_t left = f->len - done;
    size_t len = f->segment && f->segment < left ? f->segment : left;

    return len == message->len && f->traffic_class == message->traffic_class &&
           sim_compare(f->number, done, message->data, len) == len;
}

static struct flight *next_of(const struct datagrams *d, unsigned int *at, bool is_send)
{
    while (*at < all.flight_count) {
        struct flight *f = all.flights[(*at)++];

        if (f->socket == d && f->is_send == is_send && f->len != SIZE_MAX &&
            (f->error == 0 || (is_send && is_unknown(f))))
            return f;
    }
    return NULL;
}

static size_t last_part(const struct flight *f)
{
    return f->segment ? f->len % f->segment : f->len;
}

/* One of so few bytes that it looks like others, and whether it left is unknown. */
static bool has_ambiguous(const struct datagrams *d)
{
    for (unsigned int i = 0; i < all.flight_count; i++)
        if (all.flights[i]->socket == d && all.flights[i]->is_send && all.flights[i]->error &&
            is_unknown(all.flights[i]) && last_part(all.flights[i]) < 8)
            return true;
    return false;
}

/* The flight that the next message is taken for, and how far it has left. */
struct leaving {
    struct flight *flight;
    size_t done;
    bool has_begun;
};

static bool is_over(const struct leaving *l)
{
    return !l->flight || (l->has_begun && l->done == l->flight->len);
}

static void next_leaves(const struct datagrams *d, unsigned int *at, struct leaving *l)
{
    if (!is_over(l) && !is_unknown(l->flight))
        sim_fail("lost-datagram: %llu was sent with success, and not all of it left",
                 (unsigned long long)l->flight->number);
    *l = (struct leaving){.flight = next_of(d, at, true)};
}

/* What left is what was sent, each wholly, in order, once. */
static void judge_sent(const struct datagrams *d, const struct udp_queue *sent)
{
    struct leaving l = {.flight = NULL};
    unsigned int at = 0;

    if (has_ambiguous(d))
        return;
    for (unsigned int i = 0; i < sent->count; i++) {
        while (is_over(&l) || !is_sent_as(l.flight, l.done, &sent->at[i])) {
            next_leaves(d, &at, &l);
            if (!l.flight)
                sim_fail("stray-datagram: of port %u, %zu bytes", d->port, sent->at[i].len);
        }
        l.done += sent->at[i].len;
        l.has_begun = true;
    }
    do
        next_leaves(d, &at, &l);
    while (l.flight);
}

static bool may_miss(const struct datagrams *d)
{
    return d->is_blurred || model_may_deny(d->client) || d->client->generation != d->generation ||
           d->client->is_lost || d->client->has_given_up || model_may_be_lost(d->client) ||
           sim.faults & (1u << FAULT_DENIES | 1u << FAULT_ALLOC | 1u << FAULT_LIBRARY_ALLOC);
}

/* What was received is reported once, in order, and cut only where there was no room. */
static void judge_received(const struct datagrams *d, const struct udp_queue *consumed)
{
    unsigned int at = 0;

    for (unsigned int i = 0; i < consumed->count; i++) {
        const struct udp_message *message = &consumed->at[i];
        struct flight *f;
        size_t n;

        /* It came before there was a peer, and is dropped. */
        if (message->is_stranger)
            continue;
        f = next_of(d, &at, false);
        while (f && (f->length != message->len ||
                     sim_compare(message->number, 0, f->data, f->bytes) != f->bytes)) {
            if (!may_miss(d))
                sim_fail("other-datagram: %llu", (unsigned long long)f->number);
            i++;
            if (i == consumed->count)
                sim_fail("stray-datagram: %llu was received, and nobody sent it",
                         (unsigned long long)f->number);
            message = &consumed->at[i];
        }
        if (!f && !may_miss(d))
            sim_fail("lost-datagram: %u of %u that the daemon has received were told", i,
                     consumed->count);
        if (!f)
            return;
        n = message->len < f->len ? message->len : f->len;
        if (f->bytes != n || f->port != d->port || f->traffic_class != message->traffic_class ||
            !(f->flags & ASOCK_TRUNCATED) != (message->len <= f->len))
            sim_fail("cut-datagram: %llu has %zu bytes of %zu, flags %u",
                     (unsigned long long)f->number, f->bytes, message->len, f->flags);
    }
    if (next_of(d, &at, false))
        sim_fail("stray-datagram: received on port %u, and the kernel had none", d->port);
}

/* What the kernel's sockets of a port have sent, or what was received of them. */
static struct udp_queue history(uint16_t port, bool is_sent)
{
    struct udp_queue all_of_it = {.at = NULL};
    const struct udp *udp;
    unsigned int at = 0;

    while ((udp = udp_next_by_port(port, &at))) {
        const struct udp_queue *part = is_sent ? &udp->sent : &udp->consumed;

        all_of_it.at = sim_grow(all_of_it.at,
                                (all_of_it.count + part->count + 1) * sizeof(*part->at));
        for (unsigned int i = 0; i < part->count; i++)
            all_of_it.at[all_of_it.count++] = part->at[i];
    }
    return all_of_it;
}

void datagrams_judge(void)
{
    for (unsigned int i = 0; i < all.flight_count; i++)
        if (!all.flights[i]->is_done)
            sim_fail("never-done: datagram %llu", (unsigned long long)all.flights[i]->number);
    for (unsigned int i = 0; i < all.count; i++) {
        struct udp_queue sent = history(all.all[i]->port, true);
        struct udp_queue consumed = history(all.all[i]->port, false);

        judge_sent(all.all[i], &sent);
        judge_received(all.all[i], &consumed);
        sim_free(sent.at);
        sim_free(consumed.at);
    }
}
