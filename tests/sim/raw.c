/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/endpoint.h"
#include "proto/errors.h"
#include "proto/frame.h"
#include "tests/sim/inbound.h"
#include "tests/sim/kernel.h"
#include "tests/sim/lent.h"
#include "tests/sim/raw_state.h"
#include "tests/sim/relay.h"
#include "tests/sim/watch.h"

struct raw raws[RAW_CLIENTS];

void raw_killed(void)
{
    for (unsigned int i = 0; i < RAW_CLIENTS; i++)
        raws[i].may_end = true;
    relay_killed();
}

bool raw_listens(const struct raw *raw, uint16_t port)
{
    /* One that was asked for may be another's, too, of another family. */
    for (uint32_t id = 1; id < RAW_IDS && raw->is_there && port < INBOUND_PORT; id++)
        if (raw->ids[id].state == ID_LISTENING && raw->ids[id].port == port)
            return true;
    return false;
}

bool raw_has_port(uint16_t port)
{
    for (unsigned int i = 0; i < RAW_CLIENTS; i++)
        if (raw_listens(&raws[i], port))
            return true;
    return false;
}

/* ---- to and fro ---- */

void raw_forget(struct raw *raw)
{
    enum actor before = sim.actor;

    sim.actor = ACTOR_CLIENT;
    close(raw->fd);
    sim.actor = before;
    watch_forget(raw);
    byte_queue_free(&raw->in);
    byte_queue_free(&raw->out);
    memset(raw, 0, sizeof(*raw));
}

static bool can_write(const struct raw *raw)
{
    return byte_queue_len(&raw->out) > 0 && !raw->has_ended &&
           file_events(fd_file(raw->fd)) & (POLLOUT | POLLHUP);
}

static bool can_read(const struct raw *raw)
{
    return !raw->is_mute && !raw->has_ended &&
           file_events(fd_file(raw->fd)) & (POLLIN | POLLHUP | POLLERR);
}

bool raw_has_work(void)
{
    for (unsigned int i = 0; i < RAW_CLIENTS; i++)
        if (raws[i].is_there && (can_read(&raws[i]) || can_write(&raws[i])))
            return true;
    return false;
}

static void write_some(struct raw *raw)
{
    ssize_t n = send(raw->fd, raw->out.at + raw->out.start, byte_queue_len(&raw->out),
                     MSG_NOSIGNAL);

    if (n > 0)
        byte_queue_drop(&raw->out, (size_t)n);
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        byte_queue_drop(&raw->out, byte_queue_len(&raw->out));
}

static struct raw_op *find_op(struct raw *raw, uint64_t token)
{
    for (unsigned int i = 0; i < RAW_OPS; i++)
        if (raw->ops[i].token == token)
            return &raw->ops[i];
    return NULL;
}

/* ---- what the daemon says ---- */

bool raw_is_counted(uint32_t verb)
{
    return verb != VERB_CLOSE && verb != VERB_CANCEL && verb != VERB_HELLO;
}

static struct tcp *find_accepted(const struct endpoint *remote)
{
    struct sockaddr_storage addr;

    asock_endpoint_to(remote, &addr);
    for (unsigned int i = 0; i < kernel.tcp_count; i++)
        if (kernel.tcps[i]->in.listener &&
            inbound_port(&kernel.tcps[i]->remote) == inbound_port(&addr))
            return kernel.tcps[i];
    sim_fail("made-up: a connection that there is not");
}

static void take_connection(struct raw *raw, struct raw_op *op, const struct reply *reply)
{
    struct raw_id *id, *listener = &raw->ids[op->id];
    struct tcp *tcp;

    if (reply->body != BODY_CONNECTED || op->next == op->end || reply->connected.socket != op->next)
        sim_fail("other-id: %u of an ACCEPT, %u was next", reply->connected.socket, op->next);
    tcp = find_accepted(&reply->connected.remote);
    if (!tcp->in.is_taken || tcp->in.is_told || tcp->in.admission == 0)
        sim_fail("%s: connection %u of a listener",
                 tcp->in.is_told    ? "told-twice"
                 : tcp->in.is_taken ? "denied-accepted"
                                    : "made-up",
                 tcp->in.place);
    if (!listener->has_closed && listener->state == ID_LISTENING) {
        if (inbound_port(&tcp->in.listener->local) != listener->port)
            sim_fail("other-listener: port %u", listener->port);
        if (tcp->in.place + 1 <= listener->place)
            sim_fail("overtaken: connection %u by %u", tcp->in.place, listener->place - 1);
        listener->place = tcp->in.place + 1;
    }
    tcp->in.is_told = true;
    id = &raw->ids[op->next++];
    if (id->state != ID_KEPT)
        sim_fail("not-kept: an id that an ACCEPT had");
    *id = (struct raw_id){.state = ID_ACCEPTED, .tcp = tcp};
}

static void accepted(struct raw *raw, struct raw_op *op, const struct reply *reply)
{
    bool is_last = !(reply->flags & REPLY_MORE);

    /* The id that was not its own may be free by now. */
    if (raw->has_broken)
        return;
    if (!reply->error)
        take_connection(raw, op, reply);
    if (!is_last && op->next == op->end)
        sim_fail("no-end: an ACCEPT has used all of its ids, and goes on");
    if (is_last && !reply->error && op->next < op->end)
        sim_fail("early-end: an ACCEPT has ids left, and has ended");
    for (uint32_t id = op->next; is_last && id < op->end; id++)
        raw->ids[id] = (struct raw_id){.state = ID_FREE};
    if (is_last && reply->error == ERR_TIMED_OUT && !op->due)
        sim_fail("timed-out: an ACCEPT without a time");
}

static void received(struct raw *raw, const struct raw_op *op, const struct frame *frame)
{
    struct raw_id *id = &raw->ids[op->id];
    size_t same;

    if (!id->tcp || id->has_closed)
        return;
    same = sim_compare(id->tcp->manner.salt, id->received, frame->payload, frame->payload_len);
    if (same < frame->payload_len)
        sim_fail("corrupt-receive: byte %zu of an accepted connection",
                 (size_t)id->received + same);
    id->received += frame->payload_len;
}

/*
 * The life of the id that a reply belongs to: until the answer to its CLOSE it is the earlier one
 * (docs/PROTOCOL.md, "Windows").
 */
static struct raw_id *life_of(struct raw *raw, uint32_t id)
{
    return raw->before[id].has_closed ? &raw->before[id] : &raw->ids[id];
}

static void closed(struct raw *raw, const struct raw_op *op)
{
    struct raw_id *id = life_of(raw, op->id);

    if (!id->has_closed)
        sim_fail("closed-unasked: id %u", op->id);
    if (id->counted != id->freed && !raw->may_end)
        sim_fail("not-freed: %u ops of a socket that is closed, %u were freed", id->counted,
                 id->freed);
    for (unsigned int i = 0; i < RAW_OPS; i++)
        if (raw->ops[i].token && raw->ops[i].token < op->token && raw->ops[i].id == op->id &&
            raw_is_counted(raw->ops[i].verb))
            sim_fail("overtaken: op %llu by a close", (unsigned long long)raw->ops[i].token);
    *id = (struct raw_id){.state = ID_FREE};
}

static void completed(struct raw *raw, const struct reply *reply, const struct frame *frame)
{
    struct raw_op *op = find_op(raw, reply->op);

    if (!op || !reply->op)
        sim_fail("told-twice: op %llu of a raw client", (unsigned long long)reply->op);
    if (reply->ops_freed && reply->socket)
        life_of(raw, reply->socket)->freed += reply->ops_freed;
    if (watch_is_ask(op->verb))
        watch_told(raw, op, reply, frame);
    if (op->verb == VERB_ACCEPT)
        accepted(raw, op, reply);
    if (op->verb == VERB_RECEIVE && !reply->error)
        received(raw, op, frame);
    if (op->verb == VERB_CONNECT && reply->error == ERR_NO_BUFFER_SPACE && !lent_may_be_refused())
        sim_fail("refused-lent: op %llu of a raw client", (unsigned long long)op->token);
    if (op->verb == VERB_BIND && !reply->error && !raw->ids[op->id].has_closed)
        raw->ids[op->id].port = reply->connected.local.port;
    if (op->verb == VERB_LISTEN && !reply->error && raw->ids[op->id].state == ID_OPEN)
        raw->ids[op->id].state = ID_LISTENING;
    if (op->verb == VERB_CLOSE && !(reply->flags & REPLY_MORE))
        closed(raw, op);
    if (reply->flags & REPLY_MORE)
        return;
    sim_trace("raw %u: op %llu ends: %u", (unsigned int)(raw - raws), (unsigned long long)reply->op,
              reply->error);
    *op = (struct raw_op){.token = 0};
    raw->live--;
}

static void ended(struct raw *raw, uint32_t error)
{
    bool is_broken = error == ERR_PROTOCOL_ERROR;

    sim_trace("raw %u: the session has ended: %u", (unsigned int)(raw - raws), error);
    if (is_broken && !raw->has_broken)
        sim_fail("refused: a raw client that has kept the rules");
    if (!is_broken && !raw->may_end && !(sim.faults & 1u << FAULT_ALLOC) && raw->is_welcome)
        sim_fail("lost-session: of a raw client, with %u", error);
    raw->has_ended = true;
}

static void take_frame(struct raw *raw, const struct frame *frame)
{
    struct reply reply;
    const char *why;

    if (asock_codec_decode_reply(frame->head, frame->head_len, &reply, &why) < 0)
        sim_fail("no-reply: %s", why);
    if (reply.kind == KIND_WELCOME) {
        raw->is_welcome = true;
        raw->sockets = reply.welcome.sockets;
    } else if (reply.kind == KIND_COMPLETION) {
        completed(raw, &reply, frame);
    } else if (reply.kind == KIND_EVENT && reply.event == EVENT_SESSION_ENDED) {
        ended(raw, reply.error);
    } else if (reply.ops_freed && reply.socket) {
        life_of(raw, reply.socket)->freed += reply.ops_freed;
    }
}

static void read_some(struct raw *raw)
{
    uint8_t data[2000];
    struct frame frame;
    ssize_t n = recv(raw->fd, data, 1 + sim_random(sizeof(data)), 0);
    long len;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        ended(raw, ERR_CONNECTION_ABORTED);
        return;
    }
    byte_queue_append(&raw->in, data, (size_t)n);
    while (!raw->has_ended && (len = asock_frame_parse(raw->in.at + raw->in.start,
                                                       byte_queue_len(&raw->in), &frame)) != 0) {
        if (len < 0)
            sim_fail("no-frame: a raw client reads what is none");
        take_frame(raw, &frame);
        byte_queue_drop(&raw->in, (size_t)len);
    }
}

bool raw_run(void)
{
    enum actor before = sim.actor;
    bool has_run = false;

    sim.actor = ACTOR_CLIENT;
    for (unsigned int i = 0; i < RAW_CLIENTS && !has_run; i++) {
        struct raw *raw = &raws[i];

        if (!raw->is_there)
            continue;
        has_run = true;
        if (can_write(raw))
            write_some(raw);
        else if (can_read(raw))
            read_some(raw);
        else
            has_run = false;
    }
    sim.actor = before;
    return has_run;
}
