/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RECEIVE on a datagram socket.
 * Happy path: the first in the queue takes one datagram straight into the session's output, behind
 * the place of its own reply, or by reference into the client's memory. A multishot takes one into
 * each of its slices, several with one call. What policy does not admit is dropped before anybody
 * hears of it, or sees it in shared memory.
 * Failures: no room in the output (waits until the client reads; nothing is cut for want of it), no
 * memory in the kernel (waits), no memory of the session's for a datagram (waits for a while), what
 * a router or the peer has reported, nothing behind a reference (FAULT; that datagram is lost).
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/net/udp.h"
#include "daemon/session/complete.h"
#include "daemon/session/dgram.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

static int wait_room(struct op *op)
{
    struct sock *sock = op->sock;

    if (!list_is_linked(&sock->node))
        list_append(&op->session->room_waiters, &sock->node);
    sock->wants_read = false;
    return 0;
}

/* Nothing tells when there is memory again. */
static int wait_memory(struct op *op)
{
    worker_set_deadline(op->session->worker, &op->session->retry, RETRY_MS);
    return wait_room(op);
}

/* There is a datagram, and no block for it: it stays where it is. */
static int wait_block(struct op *op)
{
    struct dgram *dgram = op->sock->more->dgram;
    uint64_t now = op->session->worker->clock();

    if (dgram->short_since == 0 || dgram->short_token != op->token) {
        dgram->short_since = now;
        dgram->short_token = op->token;
    }
    if (now - dgram->short_since < SHORT_MS)
        return wait_memory(op);
    op->text = "too little memory left for a datagram of that length";
    complete(op, ERR_NO_BUFFER_SPACE);
    return 1;
}

/* No datagram: as a step returns. An error is this op's; the socket goes on. */
static int no_datagram(struct op *op, ssize_t err)
{
    if (err == -EAGAIN) {
        op->sock->wants_read = true;
        return 0;
    }
    if (netsock_is_transient(err))
        return wait_memory(op);
    udp_drop_errors(&op->sock->ns);
    complete(op, asock_error_from_errno((int)err));
    return 1;
}

/* The port does not change once it is there. */
static uint16_t own_port(struct sock *sock)
{
    struct endpoint local = {0};

    if (sock->more->dgram->port == 0 && netsock_local(&sock->ns, &local) == 0)
        sock->more->dgram->port = local.port;
    return sock->more->dgram->port;
}

/* The op's results have one that the client may receive, of which n bytes were stored. */
static void report(struct op *op, size_t n)
{
    struct datagram *datagram = &op->receive.datagram->received;
    struct sock *sock = op->sock;

    sock->more->dgram->dropped = datagram->dropped;
    datagram->refused = sock->more->dgram->refused;
    datagram->local.port = own_port(sock);
    if (datagram->length > n)
        op->reply_flags |= REPLY_TRUNCATED;
}

/* One has come, of which n bytes were stored: in *op's results. False: policy denied its sender. */
static bool admit(struct op *op, size_t n)
{
    struct datagram *datagram = &op->receive.datagram->received;
    struct sock *sock = op->sock;

    if (!dgram_accepts(sock, &datagram->remote)) {
        sock->more->dgram->dropped = datagram->dropped;
        datagram->remote.address_len = 0;
        return false;
    }
    report(op, n);
    return true;
}

static void count_bytes(struct sock *sock, size_t n)
{
    sock->bytes_in += n;
    sock->session->bytes_in += n;
    sock->worker->stats.bytes_in += n;
}

/*
 * Takes a datagram into *op: its bytes; -ENOENT: policy denied its sender, and it was dropped;
 * other -errno.
 */
static ssize_t take(struct op *op, const struct iovec *iov, int count)
{
    struct datagram *datagram = &op->receive.datagram->received;
    bool is_peek = op->receive_flags & RECEIVE_PEEK;
    struct sock *sock = op->sock;
    ssize_t n;

    memset(datagram, 0, sizeof(*datagram));
    datagram->dropped = sock->more->dgram->dropped;
    n = udp_receive(&sock->ns, iov, count, is_peek ? MSG_PEEK : 0, datagram);
    if (n < 0)
        return n;
    if (!admit(op, (size_t)n)) {
        if (is_peek)
            udp_receive(&sock->ns, NULL, 0, 0, &(struct datagram){.length = 0});
        return -ENOENT;
    }
    if (!is_peek)
        count_bytes(sock, (size_t)n);
    return n;
}

static void receive_fill(struct op *op, struct reply *reply, const void **payload,
                         uint32_t *payload_len)
{
    (void)payload;
    (void)payload_len;
    if (op->error || op->receive.datagram->received.remote.address_len == 0)
        return;
    reply->body = BODY_DATAGRAM;
    reply->datagram = op->receive.datagram->received;
}

static void receive_cleanup(struct op *op)
{
    op->receive.datagram = mem_free(op->receive.datagram);
}

/* Only a datagram from a sender that policy allows answers a probe. */
static int probe(struct op *op)
{
    ssize_t n;

    op->receive_flags |= RECEIVE_PEEK;
    n = take(op, NULL, 0);
    if (n == -ENOENT)
        return 1;
    if (n < 0)
        return no_datagram(op, n);
    op->receive.datagram->received.remote.address_len = 0; /* it stays where it is */
    op->reply_flags = 0;
    complete(op, ERR_SUCCESS);
    return 1;
}

static int read_inline(struct op *op)
{
    struct sock *sock = op->sock;
    size_t want = op->receive.length < DGRAM_MAX ? (size_t)op->receive.length : DGRAM_MAX;
    size_t gap = CODEC_REPLY_MAX, room; /* to move the few bytes costs less than a guess */
    uint8_t *place = session_reserve(op->session, want, CODEC_REPLY_MAX, &room);
    struct iovec iov;
    ssize_t n;

    if (!place)
        return wait_room(op);
    if (room < want) {
        n = udp_next_length(&sock->ns);
        if (n < 0) /* the kernel reports an error once, here */
            return no_datagram(op, n);
        if (n > (ssize_t)room)
            return transport_is_idle(&op->session->transport) ? wait_block(op) : wait_room(op);
    }
    sock->more->dgram->short_since = 0;
    iov = (struct iovec){place + gap, room};
    n = take(op, &iov, 1);
    if (n == -ENOENT)
        return 1;
    if (n < 0)
        return no_datagram(op, n);
    op->bytes = (uint64_t)n;
    complete_receive(op, NULL, place, gap, (size_t)n);
    return 1;
}

/*
 * The client sees what is written to memory that it shares, whatever is reported of it: who has
 * sent the next datagram is asked before it goes there. 1: policy denied its sender, and it was
 * dropped; 0: it may go there; -errno.
 */
static int drop_denied(struct sock *sock)
{
    struct datagram next = {.dropped = sock->more->dgram->dropped};
    ssize_t n;

    if (dgram_accepts_all(sock))
        return 0;
    n = udp_receive(&sock->ns, NULL, 0, MSG_PEEK, &next);
    if (n < 0)
        return (int)n;
    if (dgram_accepts(sock, &next.remote))
        return 0;
    udp_receive(&sock->ns, NULL, 0, 0, &next);
    return 1;
}

static int read_reference(struct op *op)
{
    struct iovec iov[CODEC_SEGMENTS_MAX];
    uint64_t room;
    int count = slices_gather(&op->slices, iov, CODEC_SEGMENTS_MAX, &room);
    int denied = drop_denied(op->sock);
    ssize_t n;

    if (denied != 0)
        return denied > 0 ? 1 : no_datagram(op, denied);
    n = take(op, iov, count);
    if (n == -ENOENT)
        return 1;
    if (n < 0)
        return no_datagram(op, n);
    op->bytes = (uint64_t)n;
    complete(op, ERR_SUCCESS);
    return 1;
}

static int receive_step(struct op *op)
{
    if (op->receive.length == 0)
        return probe(op);
    return op->is_reference ? read_reference(op) : read_inline(op);
}

static const struct op_class receive_class = {
    .name = "receive datagram",
    .step = receive_step,
    .fill = receive_fill,
    .cleanup = receive_cleanup,
};

/* ---- multishot ---- */

/* The first slice has the datagram. is_last: it is the last one of all. */
static void tell_shot(struct op *op, size_t len, bool is_last)
{
    const struct slice *slice = op->slices.first;
    struct datagram *datagram = &op->receive.datagram->received;
    struct reply reply;
    bool fits;

    datagram->segment = (struct segment){slice->shm->id, slice->offset, len};
    slices_drop_first(op->session->worker, &op->slices);
    op->bytes = len;
    if (is_last) {
        complete(op, ERR_SUCCESS);
        return;
    }
    session_fill_reply(op, &reply);
    reply.flags |= REPLY_MORE;
    receive_fill(op, &reply, NULL, NULL);
    fits = session_send_reply(op->session, &reply, NULL, 0);
    assert(fits);
    (void)fits;
    op->bytes = 0;
    op->reply_flags = 0;
}

/* Only now and then it looks for more than the one that has come alone so often. */
static bool expects_one(const struct dgram *dgram)
{
    return dgram->alone >= DGRAM_ALONE && dgram->alone % DGRAM_ALONE != 0;
}

/*
 * How many are tried for at once, with the slices' places; what came the last times says what may
 * come now.
 */
static unsigned int shot_places(struct op *op, struct iovec *iov)
{
    struct dgram *dgram = op->sock->more->dgram;
    unsigned int most = expects_one(dgram) ? 1 : dgram->burst;
    unsigned int want = op->slices.count < most ? op->slices.count : most;
    uint64_t room;

    want = session_reply_room(op->session, want);
    if (want == 0)
        return 0;
    want = (unsigned int)slices_gather(&op->slices, iov, (int)want, &room);
    /* The last one may have been cut. */
    return want > 1 && room >= STEP_BYTES ? want - 1 : want;
}

/* Each of the first slices has a datagram, which the client may receive (drop_denied()). */
static void tell_shots(struct op *op, const struct iovec *iov, const struct datagram *came,
                       unsigned int count)
{
    for (unsigned int i = 0; i < count; i++) {
        size_t len = came[i].length < iov[i].iov_len ? came[i].length : iov[i].iov_len;
        bool is_last = op->slices.count == 1;

        op->receive.datagram->received = came[i];
        report(op, len);
        count_bytes(op->sock, len);
        tell_shot(op, len, is_last);
        if (is_last)
            return;
    }
    memset(&op->receive.datagram->received, 0, sizeof(op->receive.datagram->received));
}

/* How many have come; or -errno. */
static int receive_shots(struct op *op, struct iovec *iov, unsigned int want, struct datagram *came)
{
    struct netsock *ns = &op->sock->ns;
    ssize_t n;

    memset(came, 0, want * sizeof(came[0]));
    for (unsigned int i = 0; i < want; i++)
        came[i].dropped = op->sock->more->dgram->dropped;
    if (want > 1)
        return udp_receive_several(ns, iov, want, came);
    n = udp_receive(ns, iov, 1, 0, came);
    return n < 0 ? (int)n : 1;
}

/* The watcher knows whether there is more than the one that was expected. */
static void learn_burst(struct dgram *dgram, unsigned int came, unsigned int want)
{
    dgram->is_emptied = came < want || expects_one(dgram);
    if (want > 1)
        dgram->burst = (uint8_t)(came < UDP_TOGETHER_MAX / 2 ? 2 * came : UDP_TOGETHER_MAX);
    if (came > 1)
        dgram->alone = 0;
    else if (want > 1 || expects_one(dgram))
        dgram->alone = dgram->alone < UINT8_MAX ? dgram->alone + 1 : (int)DGRAM_ALONE;
}

static int shot_step(struct op *op)
{
    struct datagram came[UDP_TOGETHER_MAX];
    struct iovec iov[UDP_TOGETHER_MAX];
    struct dgram *dgram = op->sock->more->dgram;
    unsigned int want = shot_places(op, iov);
    bool has_judged = !dgram_accepts_all(op->sock);
    int n;

    if (want == 0)
        return wait_room(op);
    if (has_judged) {
        n = drop_denied(op->sock);
        if (n != 0)
            return n > 0 ? 1 : no_datagram(op, n);
        want = 1;
    }
    n = receive_shots(op, iov, want, came);
    if (n < 0)
        return no_datagram(op, n);
    if (!has_judged)
        learn_burst(dgram, (unsigned int)n, want);
    tell_shots(op, iov, came, (unsigned int)n);
    return 1;
}

static const struct op_class shot_class = {
    .name = "receive datagrams",
    .step = shot_step,
    .fill = receive_fill,
    .cleanup = receive_cleanup,
};

/* ---- the request ---- */

int dgram_receive_restore(struct op *op)
{
    op->class = op->receive_flags & RECEIVE_MULTISHOT ? &shot_class : &receive_class;
    op->receive.datagram = mem_zalloc(1, sizeof(*op->receive.datagram));
    return op->receive.datagram ? 0 : -ENOMEM;
}

int dgram_receive(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    uint32_t flags = r->receive.flags;
    struct sock *sock = op->sock;
    int err;

    if (flags & RECEIVE_WAIT_ALL)
        return ERR_INVALID_ARGUMENT;
    err = session_take_slices(op->session, &r->receive.segments, false, &op->slices);
    if (err != 0)
        return err;
    op->receive_flags = (uint8_t)flags;
    if (dgram_receive_restore(op) < 0)
        return ERR_NO_BUFFER_SPACE;
    op->is_reference = r->receive.segments.count > 0;
    op->receive.length = op->is_reference ? slices_total(&op->slices) : r->receive.length;
    sock_queue_receive(sock, op, r->timeout_ms);
    return 0;
}
