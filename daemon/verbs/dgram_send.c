/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SEND on a datagram socket.
 * Happy path: policy admits the address, and the datagram goes to the kernel straight from the
 * session's input, or by reference from the client's memory; complete. Several datagrams of one
 * length are one call too; where the kernel cannot divide them, one call for each. Sends of one
 * socket that arrived together, or have waited together, leave with one call. What the kernel has
 * no room for is copied and waits in its place.
 * Failures: no address and no peer, an address where there is a peer, too long (MESSAGE_SIZE),
 * policy, over a limit, no memory, the kernel's error: of this datagram alone. None is ever cut.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/net/udp.h"
#include "daemon/session/complete.h"
#include "daemon/session/dgram.h"
#include "daemon/session/latency.h"
#include "daemon/session/send.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_policy.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

/* Chunks of the longest datagram: of 32 KiB, and one that begins earlier. */
#define SEND_IOV CODEC_SEGMENTS_MAX
#define ECN_BITS 3 /* of a traffic class */

/* What is behind op->text belongs to the op. */
static void keep_reason(struct op *op, const char *reason)
{
    size_t size = strlen(reason) + 1;

    if (size == 1)
        return;
    op->send.datagram->reason = mem_alloc(size);
    if (op->send.datagram->reason)
        op->text = memcpy(op->send.datagram->reason, reason, size);
}

static void send_cleanup(struct op *op)
{
    if (op->send.datagram)
        mem_free(op->send.datagram->reason);
    op->send.datagram = mem_free(op->send.datagram);
}

/*
 * The peer where the op has no address. One that was in front of the connect still goes where it
 * should.
 */
static int find_destination(const struct op *op, struct endpoint *ret)
{
    const struct op_datagram *datagram = op->send.datagram;
    bool has_peer = op->sock->state == SOCK_CONNECTED;

    *ret = datagram->to.address_len > 0 ? datagram->to : op->sock->more->dgram->peer;
    if (datagram->to.address_len > 0)
        return has_peer && datagram->is_behind ? ERR_IS_CONNECTED : 0;
    return has_peer ? 0 : ERR_NOT_CONNECTED;
}

/* 0, or an error. */
static int prepare(struct op *op)
{
    const struct endpoint *source = &op->send.datagram->source;
    struct sock *sock = op->sock;
    char reason[POLICY_REASON_MAX + 1];
    struct sockaddr_storage addr;
    struct endpoint to;
    uint32_t error;
    socklen_t len;
    int r = find_destination(op, &to);

    if (r == 0)
        r = netsock_sockaddr(&to, &addr, &len);
    if (r != 0)
        return r;
    error = dgram_may_send(sock, &to, reason);
    if (error != ERR_SUCCESS) {
        keep_reason(op, reason);
        return (int)error;
    }
    if (source->address_len > 0)
        error = dgram_may_use_source(sock, source, &to, &op->text);
    if (error != ERR_SUCCESS)
        return (int)error;
    r = dgram_open(sock, (const struct sockaddr *)&addr);
    if (r == -ENOBUFS)
        op->text = SOCK_BUFFERS_TEXT;
    return r < 0 ? (int)asock_error_from_errno(r) : 0;
}

static struct udp_way way_of(const struct op *op)
{
    const struct op_datagram *datagram = op->send.datagram;

    return (struct udp_way){
        .to = datagram->to.address_len > 0 ? &datagram->to : NULL,
        .source = datagram->source.address_len > 0 ? &datagram->source : NULL,
        .segment = datagram->segment,
        .is_ipv6 = op->sock->family == FAMILY_INET6,
        .traffic_class = datagram->ecn > 0
                             ? (sock_traffic_class(op->sock) & ~ECN_BITS) | datagram->ecn
                             : -1,
    };
}

/* Sends segment by segment, from the first that has not gone. As udp_send() of them all. */
static ssize_t send_apart(struct op *op, const struct iovec *iov, int count,
                          const struct udp_way *way)
{
    size_t done = (size_t)op->bytes;

    while (done < op->send.total) {
        ssize_t n = udp_send_one_of(&op->sock->ns, iov, count, way, done);

        if (n < 0)
            return n;
        send_took(op, (uint64_t)n);
        done += (size_t)n;
    }
    return 0;
}

/* Bytes that have gone at once; they are the op's to note. */
static ssize_t send_all(struct op *op, const struct iovec *iov, int count)
{
    struct dgram *dgram = op->sock->more->dgram;
    struct udp_way way = way_of(op);
    ssize_t n = -EIO;

    if (way.segment == 0 || !dgram->has_no_segments)
        n = udp_send(&op->sock->ns, iov, count, &way);
    /* A tunnel, or a device without checksums: it cannot divide them. */
    if (way.segment == 0 || n != -EIO)
        return n;
    dgram->has_no_segments = true;
    return send_apart(op, iov, count, &way);
}

/* 1: the op has ended; 0: the kernel has no room. */
static int transmit(struct op *op, const struct iovec *iov, int count)
{
    struct sock *sock = op->sock;
    ssize_t n;
    int err = prepare(op);

    if (err != 0) {
        complete(op, (uint32_t)err);
        return 1;
    }
    n = send_all(op, iov, count);
    if (n == -EAGAIN) {
        sock->wants_write = true;
        return 0;
    }
    if (n < 0) {
        udp_drop_errors(&sock->ns);
        complete(op, asock_error_from_errno((int)n));
        return 1;
    }
    send_took(op, (uint64_t)n);
    complete(op, ERR_SUCCESS);
    return 1;
}

/* The bytes of op as the kernel wants them. */
static int gather(const struct op *op, struct iovec *iov, int cap, uint64_t *ret_bytes)
{
    const uint8_t *input = op->send.datagram->input;

    if (op->is_reference)
        return slices_gather(&op->slices, iov, cap, ret_bytes);
    if (!input)
        return send_gather(op, iov, cap, ret_bytes);
    *ret_bytes = op->send.total;
    iov[0] = (struct iovec){(void *)(uintptr_t)input, (size_t)op->send.total};
    return 1;
}

static int step_alone(struct op *op)
{
    struct iovec iov[SEND_IOV];
    uint64_t bytes;
    int count = gather(op, iov, SEND_IOV, &bytes);

    return transmit(op, iov, count);
}

/* ---- several with one call ---- */

/* Can it go without a question to policy that has consequences? */
static bool may_join(const struct op *op)
{
    const struct op_datagram *datagram = op->send.datagram;
    const char *why;
    struct endpoint to;

    if (op->verb != VERB_SEND)
        return false;
    if (datagram->segment > 0 || find_destination(op, &to) != 0 || !dgram_is_known(op->sock, &to))
        return false;
    return datagram->source.address_len == 0 ||
           dgram_may_use_source(op->sock, &datagram->source, &to, &why) == ERR_SUCCESS;
}

/* The sends from the front on that can leave together; how many. */
static unsigned int gather_several(const struct sock *sock, struct udp_packet *packets,
                                   struct iovec *iov)
{
    unsigned int n = 0;
    int used = 0;

    ring_for_each (&sock->sends, it) {
        const struct op *op = container_of(it, struct op, node);
        uint64_t bytes;
        int count;

        if (n == UDP_TOGETHER_MAX || used == SEND_IOV || (n > 0 && !may_join(op)))
            break;
        count = gather(op, iov + used, SEND_IOV - used, &bytes);
        if (n > 0 && bytes < op->send.total)
            break;
        packets[n++] = (struct udp_packet){iov + used, count, way_of(op)};
        used += count;
    }
    return n;
}

/* As a step. The first one can go. */
static int transmit_several(struct sock *sock, const struct udp_packet *packets, unsigned int count)
{
    struct ring *sends = &sock->sends;
    int sent = udp_send_several(&sock->ns, packets, count), err = 0;

    if (sent == -EAGAIN) {
        sock->wants_write = true;
        return 0;
    }
    if (sent < 0) {
        udp_drop_errors(&sock->ns);
        complete(ring_first(sends, struct op, node), asock_error_from_errno(sent));
        return 1;
    }
    for (int i = 0; i < sent; i++) {
        struct op *op = ring_first(sends, struct op, node);

        send_took(op, op->send.total);
        complete(op, ERR_SUCCESS);
    }
    /* The next one met an error, which has gone with it, or no room. */
    if ((unsigned int)sent < count)
        err = udp_take_error(&sock->ns);
    if (err < 0)
        complete(ring_first(sends, struct op, node), asock_error_from_errno(err));
    return 1;
}

static int datagram_step(struct op *op)
{
    struct udp_packet packets[UDP_TOGETHER_MAX];
    struct iovec iov[SEND_IOV];
    struct sock *sock = op->sock;
    unsigned int count;
    int err;

    if (!ring_next(&sock->sends, &op->node) || op->send.datagram->segment > 0)
        return step_alone(op);
    err = prepare(op);
    if (err != 0) {
        complete(op, (uint32_t)err);
        return 1;
    }
    count = gather_several(sock, packets, iov);
    return transmit_several(sock, packets, count);
}

static const struct op_class send_class = {
    .name = "send datagram",
    .step = datagram_step,
    .cleanup = send_cleanup,
};

int dgram_send_restore(struct op *op)
{
    op->class = &send_class;
    op->send.datagram = mem_zalloc(1, sizeof(*op->send.datagram));
    return op->send.datagram ? 0 : -ENOMEM;
}

/* An address alone, and not the one that means all; or nothing. */
static bool is_source(const struct endpoint *source)
{
    static const uint8_t all[16];

    if (source->malformed || source->port != 0)
        return false;
    return source->address_len == 0 || memcmp(source->address, all, source->address_len) != 0;
}

static int check(struct session *s, const struct sock *sock, const struct call *call)
{
    const struct request *r = call->request;
    bool has_address = r->send.endpoint.address_len > 0;

    if (r->send.abandon) {
        s->why = "an abandon piece without a chain";
        return -EPROTO;
    }
    if (r->send.more || r->send.total_len > 0 || r->send.endpoint.malformed ||
        (r->send.segments.count > 0 && call->payload_len > 0))
        return ERR_INVALID_ARGUMENT;
    if (r->send.segment_size > DGRAM_MAX || r->send.ecn > ECN_BITS || !is_source(&r->send.source))
        return ERR_INVALID_ARGUMENT;
    if (has_address && r->send.endpoint.port == 0)
        return ERR_INVALID_ARGUMENT;
    if (sock->is_disconnecting)
        return ERR_SHUTDOWN;
    if (has_address && sock->state == SOCK_CONNECTED)
        return ERR_IS_CONNECTED;
    if (has_address && sock->family != FAMILY_ANY &&
        (sock->family == FAMILY_INET6) != (r->send.endpoint.address_len == 16))
        return ERR_ADDRESS_FAMILY_NOT_SUPPORTED;
    if (sock->state == SOCK_FAILED)
        return ERR_OPERATION_ABORTED;
    return !has_address && (sock->state == SOCK_OPEN || sock->more->bound) ? ERR_NOT_CONNECTED : 0;
}

static bool has_too_many(const struct op *op, uint32_t segment)
{
    return segment > 0 && op->send.total > (uint64_t)segment * UDP_SEGMENTS_MAX;
}

static bool is_next(const struct sock *sock)
{
    return sock->state != SOCK_CONNECTING && !sock->wants_write && ring_is_empty(&sock->sends);
}

/* The kernel takes it, or says that it cannot, without a copy. */
static int send_now(struct op *op, const struct call *call)
{
    struct iovec iov = {(void *)(uintptr_t)call->payload, call->payload_len};

    return transmit(op, &iov, 1);
}

/* Those that are behind it in the input are for this socket too, and it may leave with them. */
static bool joins_others(const struct op *op, const struct call *call)
{
    const struct sock *sock = op->sock;

    return sock->state != SOCK_CONNECTING && !sock->wants_write &&
           op->send.datagram->segment == 0 &&
           latency_gathers(op, (const uint8_t *)call->payload + call->payload_len);
}

static void wait_for_others(struct op *op, const struct call *call)
{
    if (!op->is_reference && op->send.total > 0) {
        op->send.datagram->input = call->payload;
        op->sock->more->dgram->borrows = true;
    }
    send_wait_for_more(op, op->send.total, call->request->timeout_ms);
}

int dgram_send(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    struct sock *sock = op->sock;
    int err = check(op->session, sock, call);

    if (err == 0 && r->send.segments.count > 0)
        err = session_take_slices(op->session, &r->send.segments, false, &op->slices);
    if (err != 0)
        return err;
    op->class = &send_class;
    op->send.datagram = mem_zalloc(1, sizeof(*op->send.datagram));
    if (!op->send.datagram)
        return ERR_NO_BUFFER_SPACE;
    op->is_reference = r->send.segments.count > 0;
    op->send.total = op->is_reference ? slices_total(&op->slices) : call->payload_len;
    op->send.datagram->to = r->send.endpoint;
    op->send.datagram->source = r->send.source;
    op->send.datagram->ecn = (uint8_t)r->send.ecn;
    op->send.datagram->is_behind = sock->state == SOCK_CONNECTING;
    if (op->send.total > DGRAM_MAX || has_too_many(op, r->send.segment_size))
        return ERR_MESSAGE_SIZE;
    if (r->send.segment_size < op->send.total)
        op->send.datagram->segment = (uint16_t)r->send.segment_size;
    if (joins_others(op, call)) {
        wait_for_others(op, call);
        return 0;
    }
    if (!op->is_reference && is_next(sock) && send_now(op, call))
        return 0;
    if (!op->is_reference && op_append(sock->worker, op, call->payload, call->payload_len) < 0)
        return ERR_NO_BUFFER_SPACE;
    send_queue(sock, op, r->timeout_ms);
    return 0;
}
