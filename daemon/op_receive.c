/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RECEIVE.
 * Happy path: the first in the queue reads from the kernel straight into the session's output, behind
 * the place of its own reply. A wait-all goes on with its next piece; a length of 0 only looks.
 * Failures: not connected (at once), end of stream (0 octets; every later one too), the peer's
 * reset (every later one too), no room in the output (waits until the client reads).
 */
#include <errno.h>

#include "daemon/complete.h"
#include "daemon/session.h"
#include "daemon/sock.h"
#include "daemon/verbs.h"
#include "proto/errors.h"
#include "proto/frame.h"

static int receive_step(struct op *op);

static const struct op_class receive_class = {.name = "receive", .step = receive_step};

/* Nothing more will come: this receive, and each behind it in its turn, says so. */
static int end_of_stream(struct op *op)
{
    op->reply_flags |= REPLY_END_OF_STREAM;
    complete(op, ERR_SUCCESS);
    return 1;
}

static int failed(struct op *op, uint32_t error)
{
    struct sock *sock = op->sock;

    sock->receive_side = SIDE_BROKEN;
    sock->receive_error = (uint8_t)error;
    complete(op, error);
    return 1;
}

static int ended(struct op *op, ssize_t n)
{
    struct sock *sock = op->sock;

    if (n == -EAGAIN) {
        sock->wants_read = true;
        sock->had_more = false;
        return 0;
    }
    if (n < 0)
        return failed(op, asock_error_from_errno((int)n));
    if (sock->lost_error)
        return failed(op,
                      sock->lost_error); /* a send was told: the peer has not ended its stream */
    sock->receive_side = SIDE_SHUT;
    sock->has_seen_end = true;
    return end_of_stream(op);
}

static int probe(struct op *op)
{
    uint8_t octet;
    ssize_t n = netsock_receive(&op->sock->ns, &octet, 1, MSG_PEEK);

    if (n <= 0)
        return ended(op, n);
    complete(op, ERR_SUCCESS);
    return 1;
}

static int wait_room(struct op *op)
{
    struct sock *sock = op->sock;

    if (!list_is_linked(&sock->room))
        list_append(&op->session->room_waiters, &sock->room);
    sock->wants_read = false;
    return 0;
}

/* Octets of the head that will stand in front of `want` octets; a guess that is mostly right. */
static size_t guess_gap(struct op *op, size_t want)
{
    uint8_t head[CODEC_REPLY_MAX];
    struct reply reply;
    long n;

    session_fill_reply(op, &reply);
    reply.bytes = want;
    reply.ops_freed = 1;
    n = asock_codec_encode_reply(&reply, (uint32_t)want, head, sizeof(head));
    return n > 0 ? (size_t)n : CODEC_REPLY_MAX;
}

static void tell_piece(struct op *op, uint8_t *place, size_t gap, size_t len)
{
    struct reply reply;

    session_fill_reply(op, &reply);
    reply.flags |= REPLY_MORE;
    reply.bytes = len;
    session_commit(op->session, &reply, place, gap, len);
}

static void count_in(struct sock *sock, size_t len)
{
    sock->bytes_in += len;
    sock->worker->stats.bytes_in += len;
}

static int read_some(struct op *op)
{
    struct sock *sock = op->sock;
    bool peek = op->receive.flags & RECEIVE_PEEK;
    uint64_t rest = op->receive.length - op->bytes;
    size_t want = rest < FRAME_PAYLOAD_MAX ? (size_t)rest : FRAME_PAYLOAD_MAX;
    size_t gap = guess_gap(op, want), room;
    uint8_t *place = session_reserve(op->session, want, CODEC_REPLY_MAX, &room);
    ssize_t n;

    if (!place)
        return wait_room(op);
    n = netsock_receive(&sock->ns, place + gap, room, peek ? MSG_PEEK : 0);
    if (n <= 0)
        return ended(op, n);
    if (!peek)
        count_in(sock, (size_t)n);
    if ((size_t)n < room)
        sock->wants_read = true; /* the kernel has no more: the next one need not ask */
    op->bytes += (uint64_t)n;
    if (op->receive.flags & RECEIVE_WAIT_ALL && op->bytes < op->receive.length) {
        tell_piece(op, place, gap, (size_t)n);
        return sock->wants_read ? 0 : 2;
    }
    complete_receive(op, place, gap, (size_t)n);
    return 1;
}

static int receive_step(struct op *op)
{
    struct sock *sock = op->sock;
    int r;

    if (sock->receive_side == SIDE_SHUT)
        return end_of_stream(op);
    if (sock->receive_side == SIDE_BROKEN) {
        complete(op, sock->receive_error);
        return 1;
    }
    if (op->receive.length == 0)
        return probe(op);
    do {
        r = read_some(op);
    } while (r == 2);
    return r;
}

static int check_receive(const struct sock *sock, const struct request *r)
{
    const uint32_t known = RECEIVE_PEEK | RECEIVE_WAIT_ALL;

    if (r->receive.flags & ~known || r->receive.length > INT64_MAX)
        return ERR_INVALID_ARGUMENT;
    /* What is only looked at cannot be told in pieces. */
    if (r->receive.flags & RECEIVE_PEEK &&
        (r->receive.flags & RECEIVE_WAIT_ALL || r->receive.length > FRAME_PAYLOAD_MAX))
        return ERR_INVALID_ARGUMENT;
    if (sock->state == SOCK_OPEN)
        return ERR_NOT_CONNECTED;
    return sock->state == SOCK_FAILED ? ERR_OPERATION_ABORTED : 0;
}

int verb_receive(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    int err = check_receive(op->sock, r);

    if (err != 0)
        return err;
    op->class = &receive_class;
    op->receive.length = r->receive.length;
    op->receive.flags = r->receive.flags;
    if (op->sock->receive_side != SIDE_OPEN)
        op->sock->wants_read = false;
    sock_queue_receive(op->sock, op, r->timeout_ms);
    return 0;
}
