/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SEND.
 * Happy path: the first in the queue goes to the kernel straight from the session's input; what the
 * kernel does not take is copied and goes when the socket is writable; complete when all has gone.
 * A chain is one op whose bytes arrive in several frames. By reference the kernel takes the bytes from
 * the client's own memory, when it can. Several sends of one socket that arrived together leave with one
 * call, as do those that have waited for the kernel: the first is tried at once, those behind it when the
 * input has no more of them.
 * Failures: not connected, shut down or broken (at once); over a limit, no memory for the copy, nothing
 * behind a reference (FAULT), the
 * peer's reset, the deadline: the sending side ends with it (S28).
 */
#include <errno.h>

#include "daemon/session/complete.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_send.h"
#include "daemon/session/window.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

#define SEND_IOV 32
/* Larger ones gain nothing by a copy. */
#define SEND_COPIED 16384u

static const struct op_class send_class = {
    .name = "send", .step = send_step, .leaves_with_others = true};

int send_step(struct op *op)
{
    struct sock *sock = op->sock;
    struct iovec iov[SEND_IOV];
    uint64_t bytes;
    int count = sock_gather(op, iov, SEND_IOV, &bytes);
    ssize_t n = count > 0 ? netsock_send(&sock->ns, iov, count) : 0;

    if (n < 0 && n != -EAGAIN) {
        op->has_begun = true;
        complete(op, sock_send_error(sock, n));
        return 1;
    }
    if (n > 0) {
        sock_drop_taken(op, (size_t)n);
        sock_took(op, (uint64_t)n);
    }
    if (n < 0 || (uint64_t)n < bytes) {
        sock->wants_write = true;
        return 0;
    }
    if (op->bytes == op->send.total && sock->chain != op)
        complete(op, ERR_SUCCESS);
    else if (!op->send.first)
        return 0; /* the client has more to say */
    return 1;
}

static int reference_step(struct op *op)
{
    struct sock *sock = op->sock;
    struct iovec iov[CODEC_SEGMENTS_MAX];
    uint64_t bytes;
    int count = slices_gather(&op->slices, iov, CODEC_SEGMENTS_MAX, &bytes);
    ssize_t n = bytes > 0 ? netsock_send(&sock->ns, iov, count) : 0;

    if (n < 0 && n != -EAGAIN) {
        op->has_begun = true;
        complete(op, sock_send_error(sock, n));
        return 1;
    }
    if (n > 0) {
        slices_advance(sock->worker, &op->slices, (uint64_t)n);
        sock_took(op, (uint64_t)n);
    }
    if (n < 0 || (uint64_t)n < bytes) {
        sock->wants_write = true;
        return 0;
    }
    if (op->bytes == op->send.total)
        complete(op, ERR_SUCCESS);
    return 1;
}

static const struct op_class reference_class = {
    .name = "send", .step = reference_step, .leaves_with_others = true};

void send_restore(struct op *op)
{
    op->class = &send_class;
}

static bool may_gather(const struct sock *sock)
{
    return sock->state == SOCK_CONNECTED && !sock->wants_write;
}

/* It is not the first of this socket in this input, and there is more behind it. */
static bool waits_for_more(const struct op *op, const struct call *call)
{
    struct session *s = op->session;

    if (s->batch_of)
        return true;
    if (s->last_sent == op->socket_id)
        return transport_has_behind(&s->transport, call->payload + call->payload_len);
    s->last_sent = op->socket_id;
    return false;
}

/* In its queue: the others are waited for, up to a bound. */
static void wait_for_more(struct op *op, uint64_t bytes, uint32_t timeout_ms)
{
    struct session *s = op->session;

    s->batch_of = op->sock;
    s->batch_bytes += bytes;
    sock_queue_send(op->sock, op, timeout_ms);
    if (s->batch_bytes >= SOCK_BATCH_MAX)
        sock_batch_end(s);
}

static int send_reference(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    int err;

    if (call->payload_len > 0 || r->send.more || r->send.total_len > 0)
        return ERR_INVALID_ARGUMENT;
    err = session_take_slices(op->session, &r->send.segments, &op->slices);
    if (err != 0)
        return err;
    op->class = &reference_class;
    op->is_reference = true;
    op->send.total = slices_total(&op->slices);
    if (may_gather(op->sock) && waits_for_more(op, call))
        wait_for_more(op, op->send.total, r->timeout_ms);
    else
        sock_queue_send(op->sock, op, r->timeout_ms);
    return 0;
}

static bool may_send_now(const struct op *op)
{
    const struct sock *sock = op->sock;
    const struct list *first = sock->sends.next;

    return sock->state == SOCK_CONNECTED && !sock->wants_write && !op->send.first &&
           (list_is_empty(&sock->sends) || first == &op->node);
}

/* Bytes that have just arrived: to the kernel at once if it is their turn, the rest is kept. */
static int take_bytes(struct op *op, const uint8_t *data, uint32_t len)
{
    struct sock *sock = op->sock;
    struct iovec iov = {(void *)(uintptr_t)data, len};
    ssize_t n = 0;

    if (len > 0 && may_send_now(op)) {
        n = netsock_send(&sock->ns, &iov, 1);
        if (n == -EAGAIN)
            n = 0;
        if (n < 0) {
            op->has_begun = true;
            return (int)sock_send_error(sock, n);
        }
        if ((uint32_t)n < len)
            sock->wants_write = true;
        sock_took(op, (uint64_t)n);
    }
    if (op_append(sock->worker, op, data + n, len - (uint32_t)n) < 0)
        return ERR_NO_BUFFER_SPACE;
    return 0;
}

static int check_state(const struct sock *sock)
{
    if (sock_is_apart(sock))
        return ERR_NOT_CONNECTED;
    if (sock->state == SOCK_FAILED || sock->send_side == SIDE_BROKEN)
        return ERR_OPERATION_ABORTED;
    return sock->send_side == SIDE_SHUT ? ERR_SHUTDOWN : 0;
}

static int check_lengths(struct session *s, const struct call *call)
{
    const struct request *r = call->request;

    if (r->send.abandon) {
        s->why = "abandon without a chain";
        return -EPROTO;
    }
    if (r->send.more && (r->send.total_len == 0 || r->send.total_len < call->payload_len)) {
        s->why = "a chain shorter than its first piece";
        return -EPROTO;
    }
    if (!r->send.more && r->send.total_len != 0 && r->send.total_len != call->payload_len)
        return ERR_INVALID_ARGUMENT;
    return r->send.total_len > INT64_MAX ? ERR_INVALID_ARGUMENT : 0;
}

/* Cheaper copied than sent alone. */
static bool is_small(const struct call *call)
{
    return !call->request->send.more && call->payload_len > 0 && call->payload_len <= SEND_COPIED;
}

int verb_send(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    struct sock *sock = op->sock;
    int err;

    if (sock->dgram)
        return dgram_send(op, call);
    err = check_lengths(op->session, call);
    if (err == 0)
        err = check_state(sock);
    if (err != 0)
        return err;
    if (r->send.segments.count > 0)
        return send_reference(op, call);
    op->class = &send_class;
    op->send.total = r->send.more ? r->send.total_len : call->payload_len;
    if (is_small(call) && may_gather(sock) && waits_for_more(op, call)) {
        if (op_append(sock->worker, op, call->payload, call->payload_len) < 0)
            return ERR_NO_BUFFER_SPACE;
        wait_for_more(op, call->payload_len, r->timeout_ms);
        return 0;
    }
    err = take_bytes(op, call->payload, call->payload_len);
    if (err != 0)
        return err;
    if (r->send.more)
        sock->chain = op;
    sock_queue_send(sock, op, r->timeout_ms);
    return 0;
}

/* A piece of a chain that has ended early: its bytes are free at once. */
static void drop_piece(struct session *s, struct session_slot *slot, const struct call *call)
{
    struct reply reply = {.kind = KIND_EVENT, .body = BODY_EVENT};

    if (!call->request->send.more)
        slot->dropping = 0;
    if (call->payload_len == 0)
        return;
    if (slot->sock) {
        window_free(slot->sock, call->payload_len, 0);
        return;
    }
    reply.event = EVENT_SEND_ROOM;
    reply.socket = call->request->socket;
    reply.send_freed = call->payload_len;
    session_send_reply(s, &reply, NULL, 0);
}

static int chain_broken(struct session *s, const char *why)
{
    s->why = why;
    return -EPROTO;
}

static int check_piece(struct session *s, const struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    uint64_t rest = op->send.total - op->send.received;

    if (r->send.segments.count > 0)
        return chain_broken(s, "a reference in a chain");
    if (r->send.abandon)
        return call->payload_len > 0 || r->send.more
                   ? chain_broken(s, "abandon is an empty last piece")
                   : 0;
    if (call->payload_len > rest)
        return chain_broken(s, "a chain longer than its total");
    if (!r->send.more && call->payload_len < rest)
        return chain_broken(s, "a chain shorter than its total");
    return 0;
}

static void charge_piece(struct op *op, uint32_t len)
{
    op->send.received += len;
    window_charge(op->sock, len);
}

/* The next piece of an op that is in its queue. */
static void continue_chain(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    struct sock *sock = op->sock;
    int err;

    charge_piece(op, call->payload_len);
    err = window_is_over(sock) ? ERR_NO_BUFFER_SPACE
                               : take_bytes(op, call->payload, call->payload_len);
    if (!r->send.more)
        sock->chain = NULL;
    if (r->send.abandon) {
        op->has_begun = true;
        err = ERR_OPERATION_ABORTED;
    }
    if (err != 0) {
        op->has_begun = true;
        complete(op, (uint32_t)err);
        return;
    }
    if (!sock->wants_write)
        sock_run_sends(sock);
    else
        sock_update_watch(sock);
}

int send_piece(struct session *s, const struct call *call)
{
    const struct request *r = call->request;
    struct session_slot *slot = session_slot(s, r->socket);
    struct op *op;
    int err;

    if (!slot)
        return 0;
    if (slot->dropping == r->op) {
        drop_piece(s, slot, call);
        return 1;
    }
    if (!slot->sock || !slot->sock->chain)
        return 0;
    op = slot->sock->chain;
    if (op->token != r->op)
        return chain_broken(s, "another SEND before a chain's last piece");
    err = check_piece(s, op, call);
    if (err < 0)
        return err;
    continue_chain(op, call);
    return 1;
}
