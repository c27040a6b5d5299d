/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine of the sending side (send.h).
 *
 * Happy path: the first in the queue goes to the kernel straight from the session's input; what the
 * kernel does not take is copied, and goes when the socket is writable; the op is complete when all
 * has gone. By reference the kernel takes the bytes from the client's own memory. Several sends of
 * one socket that arrived together leave with one call, as do those that have waited for the
 * kernel: what it has taken is shared out among them in their order. The first is tried at once,
 * those behind it when the input has no more of them.
 * Failures: an error of the connection ends the first one, as if it had been alone; over a limit,
 * no memory for the copy, nothing behind a reference (FAULT), the deadline: the op that it is due
 * to ends, and the sending side with it (S28).
 */
#include "daemon/session/send.h"

#include <errno.h>

#include "daemon/session/complete.h"
#include "daemon/session/dgram.h"
#include "daemon/session/latency.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/window.h"
#include "proto/errors.h"

/* Of one op, and of those that leave together. */
#define SEND_IOV 32
#define SEND_IOV_ALL 64
/* Bytes that leave together: what the kernel makes of them stays in the processor's cache. */
#define SEND_BATCH_MAX (256u * 1024u)
/* Larger ones gain nothing by a copy. */
#define SEND_COPIED 16384u

/* ---- one op ---- */

/*
 * EPIPE is the kernel's word for "reset earlier": this side's own shutdown was checked before. Any
 * other error the kernel tells once, and then it has an end of stream for receives, which would be
 * a lie.
 */
static uint32_t send_error(struct sock *sock, ssize_t err)
{
    uint32_t error = asock_error_from_errno((int)err);

    if (err == -EPIPE && sock->receive_side == SIDE_BROKEN)
        return sock->receive_error;
    if (err == -EPIPE)
        return sock->lost_error ? sock->lost_error : ERR_CONNECTION_RESET;
    if (err != -ENOMEM && err != -ENOBUFS && err != -EFAULT)
        sock->lost_error = (uint8_t)error;
    return error;
}

void send_took(struct op *op, uint64_t bytes)
{
    struct sock *sock = op->sock;

    if (bytes == 0)
        return;
    op->has_begun = true;
    op->bytes += bytes;
    sock->bytes_out += bytes;
    if (sock->more->idle)
        sock->more->idle->active = sock->worker->clock();
    if (sock->session)
        sock->session->bytes_out += bytes;
    sock->worker->stats.bytes_out += bytes;
    if (!op->is_reference)
        window_uncharge(sock, bytes);
}

int send_gather(const struct op *op, struct iovec *iov, int cap, uint64_t *ret_bytes)
{
    int count = 0;

    *ret_bytes = 0;
    for (struct chunk *c = op->send.first; c && count < cap && *ret_bytes < STEP_BYTES;
         c = c->next) {
        iov[count++] = (struct iovec){c->data + c->start, c->end - c->start};
        *ret_bytes += c->end - c->start;
    }
    return count;
}

static uint64_t chunks_total(const struct op *op)
{
    uint64_t total = 0;

    for (const struct chunk *c = op->send.first; c; c = c->next)
        total += c->end - c->start;
    return total;
}

static void drop_taken(struct op *op, size_t bytes)
{
    while (bytes > 0) {
        struct chunk *c = op->send.first;
        uint32_t rest = c->end - c->start;

        if (bytes < rest) {
            c->start += (uint32_t)bytes;
            return;
        }
        bytes -= rest;
        op->send.first = c->next;
        if (!c->next)
            op->send.last = NULL;
        c->next = NULL;
        op_drop_chunk(op->sock->worker, c);
    }
}

int send_step(struct op *op)
{
    struct sock *sock = op->sock;
    struct iovec iov[SEND_IOV];
    uint64_t bytes;
    int count = send_gather(op, iov, SEND_IOV, &bytes);
    ssize_t n = count > 0 ? netsock_send(&sock->ns, iov, count) : 0;

    if (n < 0 && n != -EAGAIN) {
        op->has_begun = true;
        complete(op, send_error(sock, n));
        return 1;
    }
    if (n > 0) {
        drop_taken(op, (size_t)n);
        send_took(op, (uint64_t)n);
    }
    if (n < 0 || (uint64_t)n < bytes) {
        sock->wants_write = true;
        return 0;
    }
    if (op->bytes == op->send.total && !op->has_pieces)
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
        complete(op, send_error(sock, n));
        return 1;
    }
    if (n > 0) {
        slices_advance(sock->worker, &op->slices, (uint64_t)n);
        send_took(op, (uint64_t)n);
    }
    if (n < 0 || (uint64_t)n < bytes) {
        sock->wants_write = true;
        return 0;
    }
    if (op->bytes == op->send.total)
        complete(op, ERR_SUCCESS);
    return 1;
}

static const struct op_class send_class = {
    .name = "send", .step = send_step, .leaves_with_others = true};
static const struct op_class reference_class = {
    .name = "send", .step = reference_step, .leaves_with_others = true};

void send_restore(struct op *op)
{
    op->class = op->is_reference ? &reference_class : &send_class;
}

/* ---- the queue ---- */

/* What this op adds to the list: entries; *ret: bytes. */
static int add(const struct op *op, struct iovec *iov, int cap, uint64_t *ret)
{
    return op->is_reference ? slices_gather(&op->slices, iov, cap, ret)
                            : send_gather(op, iov, cap, ret);
}

/* Of the sends at the front, in order, up to one that has more to come; count of ops in *ops. */
static int gather_all(const struct sock *sock, struct iovec *iov, uint64_t *bytes, int *ops)
{
    int count = 0;

    *bytes = 0;
    *ops = 0;
    ring_for_each (&sock->sends, it) {
        const struct op *op = container_of(it, struct op, node);
        uint64_t n;

        if (!op->class->leaves_with_others || count == SEND_IOV_ALL || *bytes >= SEND_BATCH_MAX)
            break;
        count += add(op, iov + count, SEND_IOV_ALL - count, &n);
        *bytes += n;
        (*ops)++;
        if (op->bytes + n < op->send.total)
            break;
    }
    return count;
}

/* The kernel has taken so many bytes of those at the front. */
static void share_out(struct sock *sock, uint64_t bytes)
{
    struct op *op;

    while (bytes > 0 && (op = ring_first(&sock->sends, struct op, node))) {
        uint64_t rest = op->is_reference ? slices_total(&op->slices) : chunks_total(op);
        uint64_t part = bytes < rest ? bytes : rest;

        if (op->is_reference)
            slices_advance(sock->worker, &op->slices, part);
        else
            drop_taken(op, (size_t)part);
        send_took(op, part);
        bytes -= part;
        if (op->bytes < op->send.total || op->has_pieces)
            return;
        complete(op, ERR_SUCCESS);
    }
}

/* The sends at the front of the queue, with one call; like a step. There is one at least. */
static int run_front(struct sock *sock)
{
    struct op *first = ring_first(&sock->sends, struct op, node);
    struct iovec iov[SEND_IOV_ALL];
    uint64_t bytes;
    int ops, count = gather_all(sock, iov, &bytes, &ops);
    ssize_t n;

    if (ops < 2 || bytes == 0)
        return first->class->step(first);
    n = netsock_send(&sock->ns, iov, count);
    if (n == -EFAULT)
        return first->class->step(first);
    if (n < 0 && n != -EAGAIN) {
        first->has_begun = true;
        complete(first, send_error(sock, n));
        return 1;
    }
    if (n > 0)
        share_out(sock, (uint64_t)n);
    if (n < 0 || (uint64_t)n < bytes) {
        sock->wants_write = true;
        return 0;
    }
    return 1;
}

void send_run(struct sock *sock)
{
    unsigned int budget = TURN_SOCKET_STEPS;

    if (sock->more->dgram) {
        dgram_run_sends(sock);
        return;
    }
    while (sock_may_send(sock) && !ring_is_empty(&sock->sends)) {
        if (budget == 0 ||
            (budget < TURN_SOCKET_STEPS && share_step_is_over(&sock->worker->shares))) {
            sock->wants_write = true; /* the watcher fires in the next turn */
            break;
        }
        budget--;
        if (run_front(sock) == 0)
            break;
    }
    sock_update_watch(sock);
}

void send_queue(struct sock *sock, struct op *op, uint32_t timeout_ms)
{
    sock_hold_op(sock, op, timeout_ms);
    ring_append(&sock->sends, &op->node);
    if (sock->session && sock->session->batch_of == sock)
        return; /* more is coming */
    if (!sock->wants_write)
        send_run(sock);
    else
        sock_update_watch(sock);
}

void send_batch_end(struct session *s)
{
    struct sock *sock = s->batch_of;

    s->batch_of = NULL;
    s->batch_bytes = 0;
    if (sock)
        send_run(sock);
}

/* ---- what has just arrived ---- */

static bool may_gather(const struct sock *sock)
{
    return sock->state == SOCK_CONNECTED && !sock->wants_write;
}

void send_wait_for_more(struct op *op, uint64_t bytes, uint32_t timeout_ms)
{
    struct session *s = op->session;

    s->batch_of = op->sock;
    s->batch_bytes += bytes;
    send_queue(op->sock, op, timeout_ms);
    if (s->batch_bytes >= SEND_BATCH_MAX)
        send_batch_end(s);
}

static bool may_send_now(const struct op *op)
{
    const struct sock *sock = op->sock;
    const struct list *first = sock->sends.first;

    return sock->state == SOCK_CONNECTED && !sock->wants_write && !op->send.first &&
           (!first || first == &op->node);
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
            return (int)send_error(sock, n);
        }
        if ((uint32_t)n < len)
            sock->wants_write = true;
        send_took(op, (uint64_t)n);
    }
    if (op_append(sock->worker, op, data + n, len - (uint32_t)n) < 0)
        return ERR_NO_BUFFER_SPACE;
    return 0;
}

int send_begin(struct op *op, const uint8_t *data, uint32_t len, uint64_t total, bool has_pieces,
               uint32_t timeout_ms)
{
    struct sock *sock = op->sock;
    /* Cheaper copied than sent alone. */
    bool is_small = !has_pieces && len > 0 && len <= SEND_COPIED;
    int err;

    op->class = &send_class;
    op->send.total = total;
    if (is_small && may_gather(sock) && latency_gathers(op, data + len)) {
        if (op_append(sock->worker, op, data, len) < 0)
            return ERR_NO_BUFFER_SPACE;
        send_wait_for_more(op, len, timeout_ms);
        return 0;
    }
    err = take_bytes(op, data, len);
    if (err != 0)
        return err;
    /* Nothing of it is left to wait in the queue. */
    if (len > 0 && op->bytes == total && !has_pieces) {
        complete(op, ERR_SUCCESS);
        return 0;
    }
    op->has_pieces = has_pieces;
    send_queue(sock, op, timeout_ms);
    return 0;
}

void send_begin_reference(struct op *op, const uint8_t *end, uint32_t timeout_ms)
{
    op->class = &reference_class;
    op->is_reference = true;
    op->send.total = slices_total(&op->slices);
    if (may_gather(op->sock) && latency_gathers(op, end))
        send_wait_for_more(op, op->send.total, timeout_ms);
    else
        send_queue(op->sock, op, timeout_ms);
}

void send_continue(struct op *op, const uint8_t *data, uint32_t len, bool is_last, uint32_t error)
{
    struct sock *sock = op->sock;
    uint32_t err;

    op->send.received += len;
    window_charge(sock, len);
    err = window_is_over(sock) ? ERR_NO_BUFFER_SPACE : (uint32_t)take_bytes(op, data, len);
    if (is_last)
        op->has_pieces = false;
    if (error != 0)
        err = error;
    if (err != 0) {
        op->has_begun = true;
        complete(op, err);
        return;
    }
    if (!sock->wants_write)
        send_run(sock);
    else
        sock_update_watch(sock);
}
