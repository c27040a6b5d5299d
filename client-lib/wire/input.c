/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reading replies.
 *
 * Happy path: heads come through a small buffer, many in one read; the bytes of a large receive are
 * read straight into the program's segments. Failures: end of file, a reset, a frame that is not
 * allowed; each ends the session.
 */
#include "client-lib/wire/input.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "client-lib/core/inspection.h"
#include "client-lib/core/segments.h"
#include "client-lib/shm/buffer.h"
#include "client-lib/wire/reply.h"
#include "client-lib/wire/session.h"

/* The most reads of one call, so that timers and callbacks have their turn. */
#define INPUT_READS 16
#define INPUT_IOV 64
/* More bytes than the socket can hold: the daemon is alive. */
#define DRAIN_READS 1024
/* The library never asks for more than two at a time; more are received only to be closed. */
#define INPUT_DESCRIPTORS 4
/*
 * After a large payload the read asks for no more than a head: payload behind that head would have
 * to be copied, while the next read puts it directly in its place.
 */
#define INPUT_LARGE 16384
#define INPUT_BEHIND 128

static size_t available(const struct input *in)
{
    return in->end - in->start;
}

static void copy_to_segments(asock_op *op, const uint8_t *data, size_t len)
{
    while (len > 0) {
        struct iovec iov;
        size_t part = len;

        if (asock_segments_take(op, &op->cursor, &part, &iov, 1) == 0)
            return;
        memcpy(iov.iov_base, data, iov.iov_len);
        data += iov.iov_len;
        len -= iov.iov_len;
        op->moved += iov.iov_len;
    }
}

static void take_payload(asock_context *context)
{
    struct input *in = &context->in;
    const uint8_t *data = in->buffer + in->start;
    size_t n = available(in);

    if (n > in->payload_left)
        n = in->payload_left;
    in->start += n;
    in->payload_left -= (uint32_t)n;
    if (in->sink == SINK_SEGMENTS) {
        copy_to_segments(in->op, data, n);
    } else if (in->sink == SINK_TEXT) {
        memcpy(in->text + in->text_len, data, n);
        in->text_len += n;
    } else if (in->sink == SINK_RECORD && in->op->inspection) {
        asock_inspection_append(in->op->inspection, data, n);
    }
}

/* A head: 1 it was taken, 0 more bytes are needed, -EPROTO. */
static int take_head(asock_context *context)
{
    struct input *in = &context->in;
    const uint8_t *at = in->buffer + in->start;
    const char *why;
    uint32_t head_len, payload_len;
    int r;

    r = asock_frame_lengths(at, available(in), &head_len, &payload_len);
    if (r <= 0)
        return r;
    if (available(in) < FRAME_PREFIX + head_len)
        return 0;
    r = asock_codec_decode_reply(at + FRAME_PREFIX, head_len, &in->reply, &why);
    if (r < 0)
        return r;
    in->start += FRAME_PREFIX + head_len;
    in->op = NULL;
    in->sink = SINK_NONE;
    in->text_len = 0;
    in->payload_left = payload_len;
    r = asock_reply_head(context);
    if (r < 0)
        return r;
    in->in_payload = true;
    return 1;
}

/* Handles everything in the buffer. */
static void take_all(asock_context *context)
{
    struct input *in = &context->in;
    int r = 1;

    while (context->is_alive && r > 0) {
        if (!in->in_payload) {
            r = take_head(context);
            continue;
        }
        take_payload(context);
        if (in->payload_left > 0)
            break;
        in->in_payload = false;
        r = asock_reply_finish(context);
    }
    if (context->is_alive && r < 0)
        asock_session_end(context, ERR_PROTOCOL_ERROR);
    /* Close descriptors that no frame has announced. */
    if (available(in) == 0 && !in->in_payload)
        asock_memory_drop_descriptors(context);
}

/* What is left goes to the front: a whole head always fits. */
static void compact(struct input *in)
{
    size_t left = available(in);

    if (in->start > 0 && left > 0)
        memmove(in->buffer, in->buffer + in->start, left);
    in->start = 0;
    in->end = left;
}

/* The buffer is empty where the payload goes past it. */
static unsigned int aim(struct input *in, struct iovec *iov, size_t *ret_direct)
{
    unsigned int count = 0;
    size_t room;

    *ret_direct = 0;
    if (in->in_payload && in->sink == SINK_SEGMENTS && in->payload_left > 0) {
        struct cursor cursor = in->op->cursor;

        *ret_direct = in->payload_left;
        count = asock_segments_take(in->op, &cursor, ret_direct, iov, INPUT_IOV - 1);
        if (*ret_direct < in->payload_left)
            return count;
    }
    room = IN_BUFFER - in->end;
    if (*ret_direct >= INPUT_LARGE && room > INPUT_BEHIND)
        room = INPUT_BEHIND;
    iov[count++] = (struct iovec){.iov_base = in->buffer + in->end, .iov_len = room};
    return count;
}

static void read_direct(struct input *in, size_t n)
{
    struct iovec unused[INPUT_IOV];
    size_t moved = n;

    if (n == 0)
        return;
    asock_segments_take(in->op, &in->op->cursor, &moved, unused, INPUT_IOV);
    in->op->moved += n;
    in->payload_left -= (uint32_t)n;
}

static size_t room_of(const struct msghdr *msg)
{
    size_t room = 0;

    for (size_t i = 0; i < msg->msg_iovlen; i++)
        room += msg->msg_iov[i].iov_len;
    return room;
}

/* Descriptors come with the first byte of their frame, whose head may still be cut. */
static void take_descriptors(asock_context *context, struct msghdr *msg)
{
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        size_t count = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < count; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(fd), sizeof(fd));
            asock_memory_add_descriptor(context, fd);
        }
    }
}

/* Bytes, or -errno. */
static ssize_t receive(const asock_context *context, struct msghdr *msg)
{
    ssize_t n;

    do
        n = recvmsg(context->fd, msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

/*
 * 1: something came, and there may be more; 2: that was all there is; 0: nothing is there; -errno:
 * the connection is over.
 */
static int read_some(asock_context *context)
{
    struct input *in = &context->in;
    struct iovec iov[INPUT_IOV];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(INPUT_DESCRIPTORS * sizeof(int))];
    } control;
    struct msghdr msg = {
        .msg_iov = iov, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    size_t direct;
    ssize_t n;

    compact(in);
    msg.msg_iovlen = aim(in, iov, &direct);
    n = receive(context, &msg);
    if (n < 0)
        return n == -EAGAIN ? 0 : (int)n;
    take_descriptors(context, &msg);
    context->memory.is_cut |= (msg.msg_flags & MSG_CTRUNC) != 0;
    if (n == 0)
        return -ECONNABORTED;
    if ((size_t)n < direct)
        direct = (size_t)n;
    read_direct(in, direct);
    in->end += (size_t)n - direct;
    return (size_t)n < room_of(&msg) ? 2 : 1;
}

/* As read_some; 1 and 2: what came has been handled. */
static int run_some(asock_context *context)
{
    int r = read_some(context);

    /* The daemon has closed. Its last message, if it sent one, has been read. */
    if (r == 0 && context->out.is_broken)
        r = -ECONNABORTED;
    if (r < 0)
        asock_session_end(context, ERR_CONNECTION_ABORTED);
    else if (r > 0)
        take_all(context);
    return r;
}

void asock_input_run(asock_context *context)
{
    for (int i = 0; i < INPUT_READS && context->is_alive; i++) {
        int r = run_some(context);

        /* A socket that has been emptied is asked again by poll(2), not here. */
        if (r == 0 || (r == 2 && !context->out.is_broken))
            return;
    }
}

bool asock_input_drain(asock_context *context)
{
    bool has_come = false;

    for (int i = 0; i < DRAIN_READS && context->is_alive; i++) {
        if (run_some(context) == 0)
            break;
        has_come = true;
    }
    return has_come;
}
