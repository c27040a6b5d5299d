/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Listeners. The op of an accept is an op as any other (model.c), and so is the socket that comes
 * of it a stream: its connect is one that was never submitted. The kernel's listener of a stream is
 * known by its port, or by what has come of it.
 */
#include "tests/sim/listeners.h"

#include <errno.h>
#include <string.h>

#include "client-lib/core/objects.h"
#include "tests/sim/daemon.h"
#include "tests/sim/inbound.h"
#include "tests/sim/kernel.h"
#include "tests/sim/policies.h"
#include "tests/sim/raw.h"
#include "tests/sim/steps.h"

#define RESTRICTED_PEERS 8u /* client->denies: only some may connect to its listeners */

/* By asock_end_accept(), which is the first to return the op; NULL: nothing. */
static asock_socket *ended;

static const unsigned int timeouts[] = {0, 0, 0, 0, 5, 300, 3000, 20000};

static bool find(const struct step *step, struct stream **ret_stream, struct model_op **ret_op)
{
    *ret_stream = stream_at(step->a);
    if (!*ret_stream || !(*ret_stream)->client->context)
        return false;
    *ret_op = op_for((*ret_stream)->client, step->b);
    return *ret_op && !model_is_pending(*ret_op);
}

static void set_common(struct submission *s, uint32_t manner)
{
    s->timeout_ms = timeouts[manner % 8];
    s->changes = policies_changes();
    SIM_MUST(asock_op_set_timeout(s->op->op, s->timeout_ms) == 0);
    SIM_MUST(asock_op_set_flags(s->op->op, 0) == 0);
}

void step_bind(const struct step *step)
{
    struct sockaddr_storage local;
    struct stream *stream;
    struct model_op *op;
    struct submission *s;
    uint16_t port = step->d % 4 ? 0 : (uint16_t)(INBOUND_PORT + step->d / 4 % 2);
    socklen_t len;

    if (!find(step, &stream, &op))
        return;
    s = submission_new(op, stream, ASOCK_OPERATION_BIND);
    stream->was_bound = true;
    s->how = (int)(step->c % 16 == 15 ? LOCAL_FOREIGN : step->c % LOCAL_FOREIGN);
    s->value = port;
    if (stream->family == AF_INET)
        s->how = step->c % 16 == 14 ? s->how : s->how % LOCAL_ANY6;
    set_common(s, step->c >> 8);
    len = inbound_local((unsigned int)s->how, port, &local);
    SIM_MUST(asock_op_set_endpoint(op->op, (const struct sockaddr *)&local, len) == 0);
    submission_made(s, LIB(asock_bind(stream->socket, op->op)));
}

void step_listen(const struct step *step)
{
    static const int backlogs[] = {0, 1, 2, 5, 128, 1000};
    struct stream *stream;
    struct model_op *op;
    struct submission *s;

    if (!find(step, &stream, &op))
        return;
    s = submission_new(op, stream, ASOCK_OPERATION_LISTEN);
    set_common(s, step->c >> 8);
    submission_made(s, LIB(asock_listen(stream->socket, op->op, backlogs[step->c % 6])));
}

void step_accept(const struct step *step)
{
    struct stream *stream;
    struct model_op *op;
    struct submission *s;

    if (!find(step, &stream, &op))
        return;
    s = submission_new(op, stream, ASOCK_OPERATION_ACCEPT);
    set_common(s, step->c);
    s->accepts_on = op->has_callback && step->d % 4 == 0;
    submission_made(s, s->accepts_on ? LIB(asock_accept_multishot(stream->socket, op->op))
                                     : LIB(asock_accept(stream->socket, op->op)));
}

void step_accept_begin(const struct step *step)
{
    struct stream *stream = stream_at(step->a);
    struct model_op *op, *old = model.ops[step->b % OPS];
    struct submission *s;
    int r;

    if (!stream || !stream->client->context || (old && old->op))
        return;
    op = op_make(stream->client);
    op->is_begun = true;
    op->has_callback = step->b % 4 != 3;
    s = submission_new(op, stream, ASOCK_OPERATION_ACCEPT);
    s->changes = policies_changes();
    r = LIB(
        asock_begin_accept(stream->socket, op->has_callback ? model_callback : NULL, op, &op->op));
    if (r == 0 || (r < 0 && op->op))
        sim_fail("not-begun: submission %u is begun with %d", s->number, r);
    if (r > 0)
        model.ops[step->b % OPS] = op;
    submission_made(s, r);
}

/* ---- what has come ---- */

static struct stream *stream_of(const struct tcp *listener)
{
    for (struct stream *stream = model.streams; stream; stream = stream->next)
        if (stream->bound == listener)
            return stream;
    return NULL;
}

static bool is_lost(const struct stream *stream)
{
    return model_may_be_lost(stream->client) || stream->generation != stream->client->generation;
}

/* The restrictions of a session that is not known yet are not known either. */
void listeners_accepting(struct tcp *tcp)
{
    const struct stream *stream = stream_of(tcp->in.listener);
    bool is_raw = !stream && raw_has_port(inbound_port(&tcp->in.listener->local));
    unsigned int denies = stream ? model_denies(stream->client) : 0;

    tcp->in.is_taken = true;
    tcp->in.admission = policies_let_in(policies_number(), !tcp->in.is_in4, tcp->host);
    if (!tcp->in.admission)
        return;
    if (denies & ~RESTRICTED_PEERS || (denies && tcp->host > 3))
        tcp->in.admission = 0;
    else if (!is_raw && (!stream || model_may_deny(stream->client)))
        tcp->in.admission = -1;
}

/* The socket of an op that has succeeded becomes a stream, in some slot that is free. */
static void adopt(struct submission *s, asock_socket *socket, uint32_t slot)
{
    struct client *client = s->op->client;
    struct submission *connect = submission_new(op_make(client), NULL, ASOCK_OPERATION_CONNECT);
    struct stream *stream = stream_make(client, slot);

    sim_trace("  taken: connection %u of a listener", s->accepted->in.place);
    stream->socket = socket;
    stream->was_killed |= s->stream->was_killed; /* before it was taken, perhaps */
    stream->family = s->stream->family;
    stream->generation = s->generation;
    stream->tcp = s->accepted;
    stream->connect = stream->first = stream->last = connect;
    connect->stream = stream;
    connect->is_done = connect->is_counted = true;
    connect->intent = s->accepted->intent;
    model.intents[connect->intent].submission = connect;
}

static void take(struct submission *s, uint32_t slot)
{
    asock_socket *socket;

    if (model.sockets[slot % SOCKETS] || !s->op->op)
        return;
    socket = ended ? ended : LIB(asock_op_take_socket(s->op->op));
    ended = NULL;
    if (!socket)
        sim_fail("no-socket: submission %u has accepted a connection", s->number);
    s->is_taken = true;
    adopt(s, socket, slot);
}

void step_take_socket(const struct step *step)
{
    struct model_op *op = model.ops[step->a % OPS];
    struct submission *s = op ? op->submission : NULL;

    if (s && op->op && s->operation == ASOCK_OPERATION_ACCEPT && s->is_done && !s->is_told_early &&
        s->accepted && !s->is_taken && !s->accepts_on && s->generation == op->client->generation)
        take(s, step->b);
}

static bool is_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    if (a->ss_family != b->ss_family || inbound_port(a) != inbound_port(b))
        return false;
    if (a->ss_family == AF_INET)
        return ((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)(const void *)b)->sin_addr.s_addr;
    return memcmp(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr,
                  &((const struct sockaddr_in6 *)(const void *)b)->sin6_addr, 16) == 0;
}

static struct tcp *find_accepted(const struct submission *s)
{
    struct sockaddr_storage local, remote;

    if (asock_op_get_local(s->op->op, &local) < 0 || asock_op_get_remote(s->op->op, &remote) < 0)
        sim_fail("no-address: submission %u has accepted a connection", s->number);
    for (unsigned int i = 0; i < kernel.tcp_count; i++) {
        struct tcp *tcp = kernel.tcps[i];

        if (tcp->in.is_taken && is_same(&tcp->remote, &remote) && is_same(&tcp->local, &local))
            return tcp;
    }
    sim_fail("made-up: submission %u has accepted a connection that there is not", s->number);
}

/* Earlier accepts have earlier connections, as far as the order of callbacks shows it. */
static void judge_order(const struct submission *s)
{
    const struct submission *it;

    if (!s->op->has_callback || s->is_told_early)
        return;
    for (it = s->stream->first; it != s; it = it->next_of_stream) {
        if (it->operation != ASOCK_OPERATION_ACCEPT || !it->op->has_callback || it->is_told_early)
            continue;
        /* One that goes on stands behind the others for its next connection. */
        if (!it->is_done && !it->accepts_on)
            sim_fail("overtaken: accept %u by %u", it->number, s->number);
        if (it->accepts_on)
            continue;
        if (it->accepted && it->accepted->in.place > s->accepted->in.place)
            sim_fail("overtaken: connection %u of a listener by %u", s->accepted->in.place,
                     it->accepted->in.place);
    }
}

static void judge_accepted(struct submission *s)
{
    struct tcp *tcp = find_accepted(s);

    if (s->accepted && s->accepted->in.place > tcp->in.place)
        sim_fail("overtaken: connection %u of a listener by %u", tcp->in.place,
                 s->accepted->in.place);
    if (tcp->in.is_told)
        sim_fail("told-twice: connection %u of a listener", tcp->in.place);
    if (tcp->in.admission == 0)
        sim_fail("denied-accepted: submission %u, from host %u", s->number, tcp->host);
    if (s->stream->bound && s->stream->bound != tcp->in.listener && s->stream->is_bound_certain)
        sim_fail("other-listener: submission %u of stream %u", s->number, s->stream->number);
    tcp->in.is_told = true;
    s->accepted = tcp;
    s->stream->bound = tcp->in.listener;
    s->stream->is_bound_certain = true;
    judge_order(s);
    if (sim_mix(s->number, 9) % 4)
        take(s, (uint32_t)(sim_mix(s->number, 8) % 8));
}

void listeners_arrival(struct submission *s)
{
    judge_accepted(s);
}

/* ---- how they end ---- */

/* Policy was the same all the time, no restriction can be there, and the audit was no reason. */
static bool is_certain(const struct submission *s)
{
    return s->changes == policies_changes() && !model_may_deny(s->op->client) &&
           !(sim.faults & 1u << FAULT_AUDIT) && !is_lost(s->stream);
}

static bool is_let(const struct submission *s)
{
    bool is_in6 = s->how == LOCAL_ANY6 || s->how == LOCAL_OWN6;

    return policies_let_listen(policies_number(), is_in6,
                               s->how == LOCAL_ANY6 && s->stream->family == AF_UNSPEC);
}

static void find_bound(const struct submission *s)
{
    struct sockaddr_storage local;
    struct tcp *found = NULL;
    unsigned int count = 0;

    if ((s->op->op ? asock_op_get_local(s->op->op, &local)
                   : asock_socket_get_local(s->stream->socket, &local)) < 0)
        sim_fail("no-address: submission %u has bound", s->number);
    for (unsigned int i = 0; i < kernel.tcp_count; i++)
        if (kernel.tcps[i]->in.is_bound && is_same(&kernel.tcps[i]->local, &local)) {
            found = kernel.tcps[i];
            count++;
        }
    if (!found || inbound_port(&local) == 0)
        sim_fail("not-bound: submission %u, port %u", s->number, inbound_port(&local));
    if (s->value && s->value != inbound_port(&local))
        sim_fail("other-port: submission %u asked for %d", s->number, (int)s->value);
    if (count == 1 && !stream_of(found)) {
        s->stream->bound = found;
        s->stream->is_bound_certain = true;
    }
}

static void judge_bind(const struct submission *s)
{
    bool is_own_family = s->stream->family == AF_UNSPEC ||
                         (s->stream->family == AF_INET6) ==
                             (s->how == LOCAL_ANY6 || s->how == LOCAL_OWN6);

    if (s->error == 0 && (!is_own_family || s->how == LOCAL_FOREIGN))
        sim_fail("bound-nowhere: submission %u", s->number);
    if (s->error == 0)
        find_bound(s);
    if (s->error == ASOCK_ACCESS_DENIED && is_certain(s) && is_let(s))
        sim_fail("denied: submission %u may listen there", s->number);
    if (s->error == 0 && is_certain(s) && !is_let(s))
        sim_fail("denied-bound: submission %u", s->number);
}

/* It listened when the op was submitted, as far as completions said. */
static bool has_listened(const struct submission *s)
{
    bool has = false;

    for (const struct submission *it = s->stream->first; it != s; it = it->next_of_stream)
        has |= it->operation == ASOCK_OPERATION_LISTEN && it->is_done && !it->error;
    return has;
}

static bool was_asked_to(const struct stream *stream, enum asock_operation operation)
{
    for (const struct submission *s = stream->first; s; s = s->next_of_stream)
        if (s->operation == operation)
            return true;
    return false;
}

/* A bind behind a disconnect may be submitted before that has ended: it is of the next stream. */
static bool was_asked_to_bind(const struct stream *stream)
{
    const struct submission *s = stream->before ? stream->before->disconnect : NULL;

    for (; s; s = s->next_of_stream)
        if (s->operation == ASOCK_OPERATION_BIND)
            return true;
    return was_asked_to(stream, ASOCK_OPERATION_BIND);
}

/* Policy may have ended the listener, since whenever it was bound. */
static bool may_have_ended(const struct submission *s)
{
    for (const struct submission *it = s->stream->first; it; it = it->next_of_stream)
        if (it->operation == ASOCK_OPERATION_BIND && it->changes != policies_changes())
            return true;
    return model_may_deny(s->op->client);
}

static void judge_accept(struct submission *s)
{
    if (s->error == 0 && s->accepts_on)
        sim_fail("ended: submission %u goes on until it fails", s->number);
    if (s->error == 0)
        judge_accepted(s);
    if (s->error == ASOCK_INVALID_ARGUMENT && has_listened(s) && !may_have_ended(s))
        sim_fail("not-listening: submission %u, and its socket listens", s->number);
    if (s->error == ASOCK_OPERATION_ABORTED && !s->is_cancelled && !s->stream->is_closing &&
        !may_have_ended(s) && !was_asked_to(s->stream, ASOCK_OPERATION_CONNECT) &&
        !is_lost(s->stream))
        sim_fail("aborted: submission %u, and nobody has ended it", s->number);
    if (s->error == ASOCK_ACCESS_DENIED && is_certain(s) && !may_have_ended(s))
        sim_fail("denied: submission %u, and nothing denies it", s->number);
    if (s->error == ASOCK_TIMED_OUT && !s->timeout_ms && model.stopped_until <= s->submitted)
        sim_fail("timed-out: submission %u has no time", s->number);
}

/* A close is the last that a socket hears of. */
static void judge_close(const struct submission *s)
{
    if (s->error || !s->op->has_callback || s->is_told_early)
        return;
    for (const struct submission *it = s->stream->first; it != s; it = it->next_of_stream)
        if (it->operation == ASOCK_OPERATION_ACCEPT && !it->is_done && it->op->has_callback)
            sim_fail("overtaken: accept %u by close %u", it->number, s->number);
}

void listeners_done(struct submission *s)
{
    if (s->operation == ASOCK_OPERATION_BIND)
        judge_bind(s);
    else if (s->operation == ASOCK_OPERATION_ACCEPT)
        judge_accept(s);
    else if (s->operation == ASOCK_OPERATION_CLOSE)
        judge_close(s);
    else if (s->operation == ASOCK_OPERATION_LISTEN && s->error == 0 &&
             !was_asked_to_bind(s->stream))
        sim_fail("listens-unbound: submission %u", s->number);
}

int listeners_end(struct model_op *op, uint64_t *ret_bytes)
{
    if (op->submission->operation != ASOCK_OPERATION_ACCEPT)
        return LIB(asock_end(op->op, ret_bytes));
    *ret_bytes = 0;
    return LIB(asock_end_accept(op->op, &ended));
}

void listeners_ended(struct model_op *op)
{
    if (op->submission->operation == ASOCK_OPERATION_ACCEPT && ended && op->submission->error)
        sim_fail("a-socket: submission %u has failed", op->submission->number);
    if (ended)
        ended = LIB(asock_socket_unref(ended));
}

bool listeners_is_endless(const struct submission *s)
{
    return s->operation == ASOCK_OPERATION_ACCEPT;
}

static bool has_waiting(const struct tcp *listener)
{
    for (unsigned int i = 0; i < kernel.tcp_count; i++)
        if (kernel.tcps[i]->in.listener == listener && kernel.tcps[i]->in.is_waiting)
            return true;
    return false;
}

/* Policy does not let it listen where it is bound. */
static bool is_forbidden(const struct stream *stream)
{
    for (const struct submission *s = stream->first; s; s = s->next_of_stream)
        if (s->operation == ASOCK_OPERATION_BIND && s->is_done && !s->error && !is_let(s))
            return true;
    return model_denies(stream->client) & ~RESTRICTED_PEERS;
}

/* One that goes on waits for a socket where the session has none left. */
static bool may_be_parked(const struct submission *s)
{
    const asock_context *context = s->op->client->context;

    return s->accepts_on && context && context->open_sockets >= context->limits.sockets;
}

void listeners_judge_waiting(void)
{
    for (const struct submission *s = model.submissions; s; s = s->next)
        if (!s->is_done && s->operation == ASOCK_OPERATION_ACCEPT && !is_lost(s->stream) &&
            is_forbidden(s->stream) && !may_be_parked(s))
            sim_fail("forbidden-waits: submission %u", s->number);
    for (const struct submission *s = model.submissions; s; s = s->next)
        if (!s->is_done && s->operation == ASOCK_OPERATION_ACCEPT && s->stream->bound &&
            s->stream->bound->file && !is_lost(s->stream) && has_waiting(s->stream->bound) &&
            !may_be_parked(s))
            sim_fail("never-accepted: submission %u, and a connection waits", s->number);
}

/* The session that would report it has gone, or cannot. */
static bool may_be_untold(const struct tcp *tcp)
{
    const struct stream *stream = stream_of(tcp->in.listener);

    return tcp->in.admission != 1 || !stream || !stream->client->context || is_lost(stream) ||
           stream->was_killed || sim.faults & (1u << FAULT_ALLOC | 1u << FAULT_LIBRARY_ALLOC);
}

void listeners_judge_all(void)
{
    for (unsigned int i = 0; i < kernel.tcp_count; i++) {
        const struct tcp *tcp = kernel.tcps[i];

        if (tcp->in.is_taken && !tcp->in.is_told && !may_be_untold(tcp))
            sim_fail("lost-connection: %u of a listener was taken, and nobody was told",
                     tcp->in.place);
    }
}

/* ---- the peers ---- */

/* Some send at once, some reset while they wait. */
static void begin_peer(struct tcp *tcp, uint64_t salt)
{
    peer_set_manner(tcp, sim_mix(salt, tcp->in.place));
    if (salt % 7 == 0)
        tcp_reset_by_peer(tcp);
    else if (salt % 7 == 1)
        tcp->manner.stays_open = false;
}

void step_incoming(const struct step *step)
{
    struct tcp *listener = inbound_at(step->a), *tcp;
    uint32_t count = step->b % 8 == 7 ? 1 + step->c % 20 : 1 + step->b % 2;

    for (uint32_t i = 0; i < count && listener && model.intent_count < INTENTS; i++) {
        tcp = inbound_arrive(listener, step->d % 2, 1 + (step->c + i) % 5, model.intent_count);
        if (!tcp)
            return;
        model.intents[model.intent_count].submission = NULL;
        model.intents[model.intent_count++].peer = *step;
        begin_peer(tcp, sim_mix(step->salt, i));
    }
}

/* ---- what changes policy ---- */

static void flush_all(void)
{
    for (unsigned int i = 0; i < CONTEXTS; i++)
        if (model.clients[i].context)
            LIB(asock_context_flush(model.clients[i].context));
}

void step_reload(const struct step *step)
{
    static const int times[] = {20000, 20000, 1, 100};
    const char *args[] = {step->b % 2 ? "close" : NULL, NULL};
    int r, timeout = times[step->d % 4];
    uint64_t began;
    asock_context *context;

    flush_all();
    if (LIB(asock_context_new(DAEMON_CONTROL, &context)) < 0)
        return;
    policies_choose(step->c % 8 < POLICIES ? step->c : 0, step->b % 2);
    began = sim_now_ms();
    if (step->b % 2)
        raw_killed();
    if (step->b % 2)
        for (struct stream *stream = model.streams; stream; stream = stream->next)
            stream->was_killed = true;
    r = LIB(asock_context_control(context, "reload", args, NULL, NULL, timeout));
    oracle_check_call("asock_context_control", began, (uint64_t)timeout);
    model.blocked_until = sim_now_ms();
    if (r < 0 && r != -ETIMEDOUT && r != -EINVAL && r != -ECONNABORTED && r != -ENOMEM &&
        r != -ENOBUFS)
        sim_fail("other-answer: a reload says %d", r);
    if (r >= 0)
        policies_settled();
    LIB(asock_context_unref(context));
}

void step_restrict_peers(const struct step *step)
{
    static const char rules[] =
        "[Rules]\nAllow=tcp * * +loopback +private +linklocal +local +special\n"
        "Listen=tcp * * from 10.0.0.0/30,2001:db8::/126\n";
    struct client *client = client_at(step->a);
    uint64_t began;
    int r;

    if (!client || is_in_callback(client))
        return;
    flush_all();
    began = sim_now_ms();
    client->may_deny = true;
    r = LIB(asock_context_restrict(client->context, rules, strlen(rules), 20000, NULL, 0));
    oracle_check_call("asock_context_restrict", began, 20000);
    model.blocked_until = sim_now_ms();
    if (r == 0)
        client->denies |= RESTRICTED_PEERS;
}
