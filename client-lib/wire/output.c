/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frames on their way into the Unix socket. Small payload is copied behind its head, so that small
 * frames are one piece. Other payload is not: the output holds pointers into the program's
 * segments, and an op that has ended stays until no frame refers to it.
 *
 * Every frame is whole, however many pieces its payload is in: the pieces of the last frame that
 * find no room in the list follow when those before them have been written (out->rest).
 */
#include "client-lib/wire/output.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/time.h"
#include "client-lib/core/complete.h"
#include "client-lib/core/segments.h"
#include "client-lib/shm/buffer.h"
#include "client-lib/wire/request.h"
#include "client-lib/wire/run.h"
#include "client-lib/wire/session.h"

/* A frame needs its head and some segments. */
#define FRAME_IOV 8
/* Cheaper copied than named to the kernel. */
#define PAYLOAD_COPIED 256u

bool asock_output_has_room(const struct output *out)
{
    return out->rest == 0 && out->frame_count < OUT_FRAMES &&
           out->iov_count + FRAME_IOV <= OUT_IOV &&
           out->heads_len + CODEC_REQUEST_MAX <= OUT_HEADS && out->payload_len < OUT_PAYLOAD;
}

/* The op's payload, behind its head. */
static void copy_payload(asock_op *op, uint8_t *to, size_t len)
{
    while (len > 0) {
        struct iovec piece;
        size_t part = len;

        asock_segments_take(op, &op->cursor, &part, &piece, 1);
        assert(part > 0);
        memcpy(to, piece.iov_base, part);
        to += part;
        len -= part;
    }
}

/* Adds as many pieces of the last frame's payload as there is room for. */
static void point_at_rest(struct output *out)
{
    asock_op *op = out->frames[out->frame_count - 1].op;
    size_t n = out->rest;

    out->iov_count += asock_segments_take(op, &op->cursor, &n, out->iov + out->iov_count,
                                          OUT_IOV - out->iov_count);
    assert(n > 0 || out->iov_count == OUT_IOV);
    out->rest -= n;
}

/* Bytes of the heads; with what stands in front of them they are one piece. */
static void add_bytes(struct output *out, uint8_t *at, size_t len)
{
    struct iovec *last = out->iov_count > 0 ? &out->iov[out->iov_count - 1] : NULL;

    if (last && (uint8_t *)last->iov_base + last->iov_len == at)
        last->iov_len += len;
    else
        out->iov[out->iov_count++] = (struct iovec){.iov_base = at, .iov_len = len};
}

int asock_output_add(struct output *out, const struct request *request, asock_op *op,
                     size_t payload_len)
{
    uint8_t *head = out->heads + out->heads_len;
    struct out_frame *frame = &out->frames[out->frame_count];
    long n;

    assert(out->rest == 0);
    n = asock_codec_encode_request(request, (uint32_t)payload_len, head,
                                   OUT_HEADS - out->heads_len);
    if (n < 0)
        return (int)n;
    *frame = (struct out_frame){.left = (size_t)n + payload_len};
    out->frame_count++;
    out->heads_len += (size_t)n;
    out->payload_len += payload_len;
    if (payload_len <= PAYLOAD_COPIED && payload_len <= OUT_HEADS - out->heads_len) {
        copy_payload(op, head + n, payload_len);
        out->heads_len += payload_len;
        add_bytes(out, head, (size_t)n + payload_len);
        return 0;
    }
    add_bytes(out, head, (size_t)n);
    frame->op = op;
    op->wire_refs++;
    out->rest = payload_len;
    point_at_rest(out);
    return 0;
}

static void advance_iov(struct output *out, size_t n)
{
    while (n > 0) {
        struct iovec *iov = &out->iov[out->iov_at];
        size_t part = n < iov->iov_len ? n : iov->iov_len;

        iov->iov_base = (uint8_t *)iov->iov_base + part;
        iov->iov_len -= part;
        n -= part;
        if (iov->iov_len == 0)
            out->iov_at++;
    }
}

static void written(struct output *out, size_t n)
{
    advance_iov(out, n);
    while (n > 0) {
        struct out_frame *frame = &out->frames[out->frame_at];
        size_t part = n < frame->left ? n : frame->left;

        frame->left -= part;
        frame->has_begun = true;
        n -= part;
        if (frame->left > 0)
            continue;
        out->frame_at++;
        if (frame->op)
            asock_op_frame_written(frame->op);
    }
}

static void clear(struct output *out)
{
    out->iov_at = out->iov_count = out->frame_at = out->frame_count = 0;
    out->heads_len = out->payload_len = 0;
}

static bool is_empty(const struct output *out)
{
    return out->frame_at == out->frame_count;
}

static bool is_passing(int err)
{
    return err == EAGAIN || err == ENOBUFS || err == ENOMEM;
}

void asock_output_pass_fd(asock_context *context, int fd)
{
    assert(!context->out.has_fd);
    context->out.fd = fd;
    context->out.has_fd = true;
}

void asock_output_drop_fd(asock_context *context)
{
    if (context->out.has_fd)
        close(context->out.fd);
    context->out.has_fd = false;
}

union passed {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
};

static void attach_fd(struct msghdr *msg, union passed *control, int fd)
{
    struct cmsghdr *cmsg;

    memset(control, 0, sizeof(*control));
    msg->msg_control = control->bytes;
    msg->msg_controllen = sizeof(control->bytes);
    cmsg = CMSG_FIRSTHDR(msg);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
    memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
}

/* 1 progress, 0 the daemon takes no more for now, -errno. */
static int write_some(asock_context *context)
{
    struct output *out = &context->out;
    struct msghdr msg = {0};
    union passed control;
    ssize_t n;

    if (out->iov_at == out->iov_count) {
        out->iov_at = out->iov_count = 0;
        point_at_rest(out);
    }
    msg.msg_iov = out->iov + out->iov_at;
    msg.msg_iovlen = out->iov_count - out->iov_at;
    if (out->has_fd)
        attach_fd(&msg, &control, out->fd);
    /* Sandboxes forbid sendto(2), which send(3) is. */
    do
        n = sendmsg(context->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return is_passing(errno) ? 0 : -errno;
    asock_output_drop_fd(context);
    written(out, (size_t)n);
    return 1;
}

void asock_output_cut(asock_context *context)
{
    const struct output *out = &context->out;
    uint8_t byte = 0;
    struct iovec iov = {&byte, sizeof(byte)};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (context->is_alive && !out->is_broken &&
        (is_empty(out) || !out->frames[out->frame_at].has_begun))
        (void)!sendmsg(context->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

bool asock_output_is_wanted(asock_context *context)
{
    if (!context->is_alive || context->out.is_broken)
        return false;
    return !is_empty(&context->out) || context->is_hello_wanted || context->ids.sync_wanted ||
           !list_is_empty(&context->ready) || !list_is_empty(&context->closes) ||
           !list_is_empty(&context->cancels) || !list_is_empty(&context->inspections) ||
           !list_is_empty(&context->syncs) || asock_memory_is_wanted(context);
}

/* 1: the daemon takes no more for now; 0: everything has left, or nothing can. */
static int flush(asock_context *context, bool *ret_has_left)
{
    struct output *out = &context->out;

    while (context->is_alive && !out->is_broken) {
        int r;

        if (is_empty(out)) {
            clear(out);
            asock_request_fill(context);
            if (is_empty(out))
                return 0;
        }
        r = write_some(context);
        if (r > 0 && out->is_full)
            context->taken_at = time_now_ms();
        out->is_full = r == 0;
        if (r == 0)
            return 1;
        *ret_has_left |= r > 0;
        /* What the daemon said before it closed is still to be read, and tells why. */
        if (r == -EPIPE || r == -ECONNRESET)
            out->is_broken = true;
        else if (r < 0)
            asock_session_end(context, ERR_CONNECTION_ABORTED);
    }
    return 0;
}

int asock_output_flush(asock_context *context)
{
    bool has_left = false;

    asock_run_timers(context);
    context->queued = 0;
    return flush(context, &has_left);
}

bool asock_output_push(asock_context *context)
{
    bool has_left = false;

    flush(context, &has_left);
    return has_left;
}
