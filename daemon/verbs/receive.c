/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RECEIVE.
 * Happy path: the first in the queue reads from the kernel straight into the session's output,
 * behind the place of its own reply. By reference it reads into the client's memory, and the reply
 * says how much. Small ones, and ones by reference, that arrive or wait together are filled with
 * one call. A wait-all goes on with its next piece; a length of 0 only looks. A multishot stays the
 * first in the queue and tells of each slice that has bytes, until it has filled the last one.
 * Failures: not connected (at once), end of stream (0 bytes; every later one too), the peer's
 * reset (every later one too), no room in the output (waits until the client reads), no memory in
 * the kernel (waits), nothing behind a reference (FAULT; nothing is lost).
 */
#include <assert.h>
#include <errno.h>

#include "daemon/session/complete.h"
#include "daemon/session/latency.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/verbs/verbs.h"
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

static int wait_room(struct op *op)
{
    sock_wait_room(op->sock);
    return 0;
}

/* Nothing tells when the kernel has memory again. */
static int wait_memory(struct op *op)
{
    worker_set_deadline(op->session->worker, &op->session->retry, RETRY_MS);
    return wait_room(op);
}

static int ended(struct op *op, ssize_t n)
{
    struct sock *sock = op->sock;

    if (n == -EAGAIN) {
        sock->wants_read = true;
        latency_had_more(sock, false);
        return 0;
    }
    if (netsock_is_transient(n))
        return wait_memory(op);
    if (n < 0)
        return failed(op, asock_error_from_errno((int)n));
    if (sock->lost_error)
        return failed(
            op, sock->lost_error); /* a send was reported: the peer has not ended its stream */
    sock->receive_side = SIDE_SHUT;
    sock->has_seen_end = true;
    return end_of_stream(op);
}

static int probe(struct op *op)
{
    uint8_t byte;
    ssize_t n = netsock_receive(&op->sock->ns, &byte, 1, MSG_PEEK);

    if (n <= 0)
        return ended(op, n);
    complete(op, ERR_SUCCESS);
    return 1;
}

/*
 * Writes the head that the reply will have if the op ends with `room` more bytes, as most do.
 * is_first: what is still to be reported of the socket goes with it.
 */
static size_t guess_head(const struct op *op, size_t room, bool is_first, uint8_t *place,
                         struct reply *ret)
{
    long n;

    session_fill_reply(op, ret);
    ret->bytes += room;
    ret->ops_freed++;
    if (is_first) {
        ret->send_freed += op->sock->send_freed;
        ret->ops_freed += op->sock->ops_freed;
    }
    n = asock_codec_encode_reply(ret, (uint32_t)room, place, CODEC_REPLY_MAX);
    return n > 0 ? (size_t)n : CODEC_REPLY_MAX;
}

static void tell_piece(struct op *op, uint8_t *place, size_t gap, size_t len)
{
    struct reply reply;

    session_fill_reply(op, &reply);
    reply.flags |= REPLY_MORE;
    reply.bytes = len;
    session_commit(op->session, &reply, NULL, place, gap, len);
}

static void count_in(struct sock *sock, size_t len)
{
    sock->bytes_in += len;
    if (sock->more->idle)
        sock->more->idle->active = sock->worker->clock();
    sock->session->bytes_in += len;
    sock->worker->stats.bytes_in += len;
}

static int read_some(struct op *op)
{
    struct sock *sock = op->sock;
    bool peek = op->receive_flags & RECEIVE_PEEK;
    uint64_t rest = op_receive_length(op) - op->bytes;
    size_t want = rest < FRAME_PAYLOAD_MAX ? (size_t)rest : FRAME_PAYLOAD_MAX;
    size_t gap, room;
    uint8_t *place = session_reserve(op->session, want, CODEC_REPLY_MAX, &room);
    struct reply guess;
    ssize_t n;

    if (!place)
        return wait_room(op);
    gap = guess_head(op, room, true, place, &guess);
    n = netsock_receive(&sock->ns, place + gap, room, peek ? MSG_PEEK : 0);
    if (n <= 0)
        return ended(op, n);
    if (!peek)
        count_in(sock, (size_t)n);
    if ((size_t)n < room)
        sock->wants_read = true; /* the kernel has no more: the next one need not ask */
    op->bytes += (uint64_t)n;
    if (op->receive_flags & RECEIVE_WAIT_ALL && op->bytes < op_receive_length(op)) {
        tell_piece(op, place, gap, (size_t)n);
        return sock->wants_read ? 0 : 2;
    }
    complete_receive(op, &guess, place, gap, (size_t)n);
    return 1;
}

/* ---- several with one call ---- */

/* Of ordinary memory a large one is worth a call of its own. By reference: into one piece. */
static bool may_share_call(const struct op *op)
{
    uint64_t length = op_receive_length(op);

    if (op->class != &receive_class || op->receive_flags != 0 || op->bytes > 0 || !op->is_counted)
        return false;
    if (op->is_reference)
        return length > 0 && op->slices.count == 1;
    return length > 0 && length <= RECEIVE_SMALL;
}

/* How many of the first receives, of one kind, may be filled by one call, and their bytes. */
static unsigned int count_together(const struct sock *sock, size_t *ret_bytes)
{
    bool is_reference = ring_first(&sock->receives, struct op, node)->is_reference;
    unsigned int count = 0;

    *ret_bytes = 0;
    ring_for_each (&sock->receives, it) {
        const struct op *op = container_of(it, struct op, node);

        if (count == RECEIVES_TOGETHER || !may_share_call(op) || op->is_reference != is_reference ||
            op_receive_length(op) > STEP_BYTES - *ret_bytes)
            break;
        *ret_bytes += op_receive_length(op);
        count++;
    }
    return count;
}

/* Where their bytes go: each behind the head that its reply has if it is filled. */
static void lay_out(const struct sock *sock, uint8_t *place, unsigned int count, struct iovec *iov,
                    struct reply *guesses)
{
    const struct list *it = sock->receives.first;

    for (unsigned int i = 0; i < count; i++, it = it->next) {
        const struct op *op = container_of(it, struct op, node);
        size_t len = op_receive_length(op);

        iov[i].iov_base = place + guess_head(op, len, i == 0, place, &guesses[i]);
        iov[i].iov_len = len;
        place = (uint8_t *)iov[i].iov_base + len;
    }
}

/* The last one that has bytes may have fewer than it asked for; those behind it wait on. */
static void complete_filled(struct sock *sock, uint8_t *place, const struct iovec *iov,
                            const struct reply *guesses, size_t bytes)
{
    for (; bytes > 0; iov++, guesses++) {
        struct op *op = ring_first(&sock->receives, struct op, node);
        uint8_t *data = iov->iov_base;
        size_t len = bytes < iov->iov_len ? bytes : iov->iov_len;

        op->bytes = len;
        bytes -= len;
        complete_receive(op, guesses, place, (size_t)(data - place), len);
        place = data + len;
    }
}

static int read_together(struct op *op, unsigned int count, size_t bytes)
{
    struct reply guesses[RECEIVES_TOGETHER];
    struct iovec iov[RECEIVES_TOGETHER];
    struct sock *sock = op->sock;
    size_t room;
    uint8_t *place = session_reserve(op->session, bytes, count * CODEC_REPLY_MAX, &room);
    ssize_t n;

    if (!place || room < bytes)
        return read_some(op);
    lay_out(sock, place, count, iov, guesses);
    n = netsock_receive_list(&sock->ns, iov, (int)count, 0);
    if (n <= 0)
        return ended(op, n);
    count_in(sock, (size_t)n);
    if ((size_t)n < bytes)
        sock->wants_read = true;
    complete_filled(sock, place, iov, guesses, (size_t)n);
    return 1;
}

/* ---- by reference ---- */

/* Bytes, 0 at the end of the stream, -errno; of -EFAULT the op has ended. */
static ssize_t read_into(struct op *op, const struct iovec *iov, int count)
{
    struct sock *sock = op->sock;
    bool peek = op->receive_flags & RECEIVE_PEEK;
    size_t room = 0;
    ssize_t n;

    for (int i = 0; i < count; i++)
        room += iov[i].iov_len;
    n = netsock_receive_list(&sock->ns, iov, count, peek ? MSG_PEEK : 0);
    /* It says nothing of the connection: the bytes are still there. */
    if (n == -EFAULT)
        complete(op, ERR_FAULT);
    if (n > 0 && !peek)
        count_in(sock, (size_t)n);
    if (n > 0 && (size_t)n < room)
        sock->wants_read = true;
    return n;
}

static int read_reference(struct op *op)
{
    struct iovec iov[CODEC_SEGMENTS_MAX];
    struct sock *sock = op->sock;
    uint64_t room;
    int count = slices_gather(&op->slices, iov, CODEC_SEGMENTS_MAX, &room);
    ssize_t n = read_into(op, iov, count);

    if (n <= 0)
        return n == -EFAULT ? 1 : ended(op, n);
    op->bytes += (uint64_t)n;
    if (op->receive_flags & RECEIVE_WAIT_ALL && op->bytes < op_receive_length(op)) {
        slices_advance(sock->worker, &op->slices, (uint64_t)n);
        /* It stays the first one; the next step goes on, if there is time for it in this turn. */
        return sock->wants_read ? 0 : 1;
    }
    complete(op, ERR_SUCCESS);
    return 1;
}

/* The bytes of each op go into its own piece of the client's memory. */
static void lay_out_references(const struct sock *sock, unsigned int count, struct iovec *iov)
{
    const struct list *it = sock->receives.first;

    for (unsigned int i = 0; i < count; i++, it = it->next) {
        uint64_t room;

        slices_gather(&container_of(it, struct op, node)->slices, &iov[i], 1, &room);
    }
}

static int read_references(struct op *op, unsigned int count, size_t bytes)
{
    struct iovec iov[RECEIVES_TOGETHER];
    struct sock *sock = op->sock;
    ssize_t n;

    lay_out_references(sock, count, iov);
    n = netsock_receive_list(&sock->ns, iov, (int)count, 0);
    if (n == -EFAULT)
        return read_reference(op); /* perhaps only another one has nothing behind it */
    if (n <= 0)
        return ended(op, n);
    count_in(sock, (size_t)n);
    if ((size_t)n < bytes)
        sock->wants_read = true;
    for (const struct iovec *next = iov; n > 0; next++) {
        op = ring_first(&sock->receives, struct op, node);
        op->bytes = (size_t)n < next->iov_len ? (size_t)n : next->iov_len;
        n -= (ssize_t)op->bytes;
        complete(op, ERR_SUCCESS);
    }
    return 1;
}

static int read_first(struct op *op)
{
    size_t bytes;
    unsigned int count = count_together(op->sock, &bytes);

    if (op->is_reference)
        return count > 1 ? read_references(op, count, bytes) : read_reference(op);
    return count > 1 ? read_together(op, count, bytes) : read_some(op);
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
    if (op_receive_length(op) == 0)
        return probe(op);
    do {
        r = read_first(op);
    } while (r == 2);
    return r;
}

/* ---- multishot ---- */

/* The first slice has len bytes. 1: it was the last one, and the op has ended. */
static int tell_shot(struct op *op, size_t len)
{
    const struct slice *slice = op->slices.first;
    struct segment shot = {slice->shm->id, slice->offset, len};
    struct reply reply;
    bool fits;

    slices_drop_first(op->session->worker, &op->slices);
    if (op->slices.count == 0) {
        op->receive.shot = shot;
        op->bytes = len;
        complete(op, ERR_SUCCESS);
        return 1;
    }
    session_fill_reply(op, &reply);
    reply.flags |= REPLY_MORE;
    reply.bytes = len;
    reply.body = BODY_SEGMENT;
    reply.segment = shot;
    fits = session_send_reply(op->session, &reply, NULL, 0);
    assert(fits);
    (void)fits;
    return 0;
}

/* How many of the first slices are filled by one call: whole ones, or a part of the first. */
static int gather_shots(const struct op *op, unsigned int most, struct iovec *iov)
{
    uint64_t room;
    int count = slices_gather(&op->slices, iov, (int)most, &room), whole = 0;

    for (const struct slice *slice = op->slices.first;
         whole < count && slice->length == iov[whole].iov_len; slice = slice->next)
        whole++;
    return whole > 0 ? whole : 1;
}

static int shot_step(struct op *op)
{
    struct sock *sock = op->sock;
    struct iovec iov[SHOT_SLICES];
    unsigned int room;
    ssize_t n;

    if (sock->receive_side != SIDE_OPEN)
        return receive_step(op);
    room = session_reply_room(op->session, SHOT_SLICES);
    if (room == 0)
        return wait_room(op);
    n = read_into(op, iov, gather_shots(op, room, iov));
    if (n <= 0)
        return n == -EFAULT ? 1 : ended(op, n);
    for (int i = 0; n > 0; i++) {
        size_t len = (size_t)n < iov[i].iov_len ? (size_t)n : iov[i].iov_len;

        n -= (ssize_t)len;
        if (tell_shot(op, len))
            return 1;
    }
    return 1;
}

static void shot_fill(struct op *op, struct reply *reply, const void **payload,
                      uint32_t *payload_len)
{
    (void)payload;
    (void)payload_len;
    if (op->receive.shot.length == 0)
        return;
    reply->body = BODY_SEGMENT;
    reply->segment = op->receive.shot;
}

static const struct op_class shot_class = {
    .name = "receive",
    .step = shot_step,
    .fill = shot_fill,
};

/* ---- the request ---- */

/* Bytes in all; more than there can be where that is no number. */
static uint64_t wanted(const struct request *r)
{
    const struct segments *segments = &r->receive.segments;
    uint64_t total = r->receive.length;

    for (uint32_t i = 0; i < segments->count; i++) {
        uint64_t length = segments->at[i].length;

        if (length > UINT64_MAX - total)
            return UINT64_MAX;
        total += length;
    }
    return total;
}

static int check_segments(const struct request *r)
{
    const struct segments *segments = &r->receive.segments;

    if (segments->count > 0 && r->receive.length > 0)
        return ERR_INVALID_ARGUMENT;
    if (!(r->receive.flags & RECEIVE_MULTISHOT))
        return 0;
    if (r->receive.flags & ~(uint32_t)RECEIVE_MULTISHOT || segments->count == 0)
        return ERR_INVALID_ARGUMENT;
    return segments_have_empty(segments) ? ERR_INVALID_ARGUMENT : 0;
}

static int check_receive(const struct sock *sock, const struct request *r)
{
    const uint32_t known = RECEIVE_PEEK | RECEIVE_WAIT_ALL | RECEIVE_MULTISHOT;
    uint64_t length = wanted(r);
    int err = check_segments(r);

    if (err != 0)
        return err;
    if (r->receive.flags & ~known || length > INT64_MAX)
        return ERR_INVALID_ARGUMENT;
    /* A peek cannot be reported in pieces. */
    if (r->receive.flags & RECEIVE_PEEK &&
        (r->receive.flags & RECEIVE_WAIT_ALL || length > FRAME_PAYLOAD_MAX))
        return ERR_INVALID_ARGUMENT;
    if (!sock->more->dgram && sock_is_apart(sock))
        return ERR_NOT_CONNECTED;
    return sock->state == SOCK_FAILED ? ERR_OPERATION_ABORTED : 0;
}

int verb_receive(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    int err = check_receive(op->sock, r);

    if (err == 0 && op->sock->more->dgram)
        return dgram_receive(op, call);
    if (err == 0 && !op->is_small)
        err = session_take_slices(op->session, &r->receive.segments, false, &op->slices);
    if (err != 0)
        return err;
    op->class = r->receive.flags & RECEIVE_MULTISHOT ? &shot_class : &receive_class;
    op->is_reference = r->receive.segments.count > 0;
    op_set_receive_length(op, wanted(r));
    op->receive_flags = (uint8_t)r->receive.flags;
    if (op->sock->receive_side != SIDE_OPEN)
        op->sock->wants_read = false;
    else if (may_share_call(op) && latency_gathers_receives(op, call->payload))
        op->session->reads_of = op->sock;
    sock_queue_receive(op->sock, op, r->timeout_ms);
    return 0;
}

void receive_restore(struct op *op)
{
    op->class = op->receive_flags & RECEIVE_MULTISHOT ? &shot_class : &receive_class;
}
