/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What sends hand to the kernel.
 *
 * Happy path: of the sends at the front of a socket's queue as many as fit leave with one call; what the
 * kernel has taken is shared out among them in their order, and who has nothing left is complete.
 * Failures: an error of the connection ends the first one, as if it had been alone; what is due to one of
 * them, its own step finds out.
 */
#include <errno.h>

#include "daemon/session/complete.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_send.h"
#include "daemon/session/window.h"
#include "proto/errors.h"

#define SEND_IOV_ALL 64

/*
 * EPIPE is the kernel's word for "reset earlier": this side's own shutdown was checked before. Any other
 * error the kernel tells once, and then it has an end of stream for receives, which would be a lie.
 */
uint32_t sock_send_error(struct sock *sock, ssize_t err)
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

void sock_took(struct op *op, uint64_t bytes)
{
    struct sock *sock = op->sock;

    if (bytes == 0)
        return;
    op->has_begun = true;
    op->bytes += bytes;
    sock->bytes_out += bytes;
    if (sock->idle)
        sock->idle->active = sock->worker->now;
    if (sock->session)
        sock->session->bytes_out += bytes;
    sock->worker->stats.bytes_out += bytes;
    if (!op->is_reference)
        window_uncharge(sock, bytes);
}

int sock_gather(const struct op *op, struct iovec *iov, int cap, uint64_t *ret_bytes)
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

void sock_drop_taken(struct op *op, size_t bytes)
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

/* What this op adds to the list: entries; *ret: bytes. */
static int add(const struct op *op, struct iovec *iov, int cap, uint64_t *ret)
{
    return op->is_reference ? slices_gather(&op->slices, iov, cap, ret)
                            : sock_gather(op, iov, cap, ret);
}

/* Of the sends at the front, in order, up to one that has more to come; count of ops in *ops. */
static int gather_all(const struct sock *sock, struct iovec *iov, uint64_t *bytes, int *ops)
{
    int count = 0;

    *bytes = 0;
    *ops = 0;
    list_for_each (&sock->sends, it) {
        const struct op *op = container_of(it, struct op, node);
        uint64_t n;

        if (!op->class->leaves_with_others || count == SEND_IOV_ALL || *bytes >= SOCK_BATCH_MAX)
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

    while (bytes > 0 && (op = list_first(&sock->sends, struct op, node))) {
        uint64_t rest = op->is_reference ? slices_total(&op->slices) : chunks_total(op);
        uint64_t part = bytes < rest ? bytes : rest;

        if (op->is_reference)
            slices_advance(sock->worker, &op->slices, part);
        else
            sock_drop_taken(op, (size_t)part);
        sock_took(op, part);
        bytes -= part;
        if (op->bytes < op->send.total || sock->chain == op)
            return;
        complete(op, ERR_SUCCESS);
    }
}

int sock_send_step(struct sock *sock)
{
    struct op *first = list_first(&sock->sends, struct op, node);
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
        complete(first, sock_send_error(sock, n));
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

void sock_batch_end(struct session *s)
{
    struct sock *sock = s->batch_of;

    s->batch_of = NULL;
    s->batch_bytes = 0;
    if (sock)
        sock_run_sends(sock);
}
