/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Replies of a session. A reply goes into the transport's output at once where it has room; else
 * its op waits in session->done, and reading stops until the client has read.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/session/session.h"
#include "daemon/session/session_frame.h"
#include "daemon/session/sock_lend.h"
#include "daemon/wire/shm_buffer.h"
#include "proto/errors.h"
#include "proto/frame.h"

/*
 * Below this much room a receive waits: small pieces would cost more messages than they save time.
 */
#define RECEIVE_ROOM (16u * 1024u)

/* op NULL: no descriptor goes with it. */
static bool send_reply(struct session *s, const struct reply *reply, const void *payload,
                       uint32_t payload_len, struct op *op)
{
    uint8_t *place;
    long n;

    if (s->has_ended)
        return true;
    place = transport_reserve(&s->transport, CODEC_REPLY_MAX + payload_len);
    if (!place)
        return false;
    n = asock_codec_encode_reply(reply, payload_len, place, CODEC_REPLY_MAX);
    assert(n > 0);
    if (payload_len > 0)
        memcpy(place + n, payload, payload_len);
    if (op)
        transport_commit_fd_pass(&s->transport, (size_t)n + payload_len,
                                 op->class->take_fd_pass(op));
    else
        transport_commit(&s->transport, (size_t)n + payload_len);
    return true;
}

bool session_send_reply(struct session *s, const struct reply *reply, const void *payload,
                        uint32_t payload_len)
{
    return send_reply(s, reply, payload, payload_len, NULL);
}

void session_send_last(struct session *s, const struct reply *reply, const char *text)
{
    uint32_t len = (uint32_t)strnlen(text, CODEC_TEXT_MAX);
    uint8_t *place = transport_reserve_last(&s->transport, CODEC_REPLY_MAX + len);
    long n;

    if (!place)
        return;
    n = asock_codec_encode_reply(reply, len, place, CODEC_REPLY_MAX);
    assert(n > 0);
    memcpy(place + n, text, len);
    transport_commit_last(&s->transport, place, (size_t)n + len);
}

void session_fill_reply(const struct op *op, struct reply *ret)
{
    memset(ret, 0, offsetof(struct reply, body));
    ret->body = BODY_NONE;
    ret->kind = KIND_COMPLETION;
    ret->op = op->token;
    ret->socket = op->socket_id;
    ret->error = op->error;
    ret->flags = op->reply_flags;
    ret->bytes = op->bytes;
    ret->send_freed = op->state == OP_DONE ? op->send_freed : 0;
    ret->ops_freed = op->state == OP_DONE ? op->ops_freed : 0;
}

static struct lending *frame_lending(const struct op *op)
{
    return op->frame.lending;
}

static struct fd_pass *frame_take_fd_pass(struct op *op)
{
    struct lending *lending = op->frame.lending;

    op->frame.lending = NULL;
    return lending_send(lending);
}

static void frame_cleanup(struct op *op)
{
    op->frame.bytes = mem_free(op->frame.bytes);
    op->frame.lending = lending_free(op->frame.lending);
}

static const struct op_class frame_class = {
    .name = "frame",
    .is_frame = true,
    .cleanup = frame_cleanup,
    .take_fd_pass = frame_take_fd_pass,
    .lending = frame_lending,
};

/* If the socket that was to go with it has gone, the client finds it missing. */
static bool send_frame(struct session *s, struct op *op)
{
    const struct bytes *frame = op->frame.bytes;
    uint8_t *place = transport_reserve(&s->transport, frame->len);

    if (!place)
        return false;
    memcpy(place, frame->data, frame->len);
    if (lending_fd_pass(op->frame.lending))
        transport_commit_fd_pass(&s->transport, frame->len, frame_take_fd_pass(op));
    else
        transport_commit(&s->transport, frame->len);
    return true;
}

int session_add_frame(struct session *s, const void *frame, size_t len)
{
    struct bytes *bytes = mem_alloc(sizeof(*bytes) + len);
    struct op *op = bytes ? op_new(s->worker) : NULL;

    if (!op) {
        mem_free(bytes);
        return -ENOMEM;
    }
    bytes->len = len;
    memcpy(bytes->data, frame, len);
    op->session = s;
    op->class = &frame_class;
    op->frame.bytes = bytes;
    op_move(op, OP_DONE);
    list_append(&s->done, &op->node);
    return 0;
}

/* The whole reply of an op, with what its class adds, and its payload. */
static void complete_reply(const struct op *op, struct reply *reply, const void **payload,
                           uint32_t *payload_len)
{
    const char *text;

    session_fill_reply(op, reply);
    *payload = NULL;
    *payload_len = 0;
    if (op->class && op->class->fill)
        op->class->fill((struct op *)op, reply, payload, payload_len);
    text = op->error ? op_text(op) : NULL;
    if (text) {
        *payload = text;
        *payload_len = (uint32_t)strnlen(text, CODEC_TEXT_MAX);
    }
}

size_t session_encode_reply(const struct op *op, uint8_t *out, size_t cap)
{
    struct reply reply;
    const void *payload;
    uint32_t payload_len;
    long n;

    if (op->class && op->class->is_frame) {
        if (op->frame.bytes->len > cap)
            return 0;
        memcpy(out, op->frame.bytes->data, op->frame.bytes->len);
        return op->frame.bytes->len;
    }
    complete_reply(op, &reply, &payload, &payload_len);
    if ((reply.descriptors > 0 && !op->class->lending) ||
        CODEC_REPLY_MAX + (size_t)payload_len > cap)
        return 0;
    n = asock_codec_encode_reply(&reply, payload_len, out, CODEC_REPLY_MAX);
    if (n <= 0)
        return 0;
    if (payload_len > 0)
        memcpy(out + n, payload, payload_len);
    return (size_t)n + payload_len;
}

uint32_t session_reply_of(const struct session *s, const struct lending *lending)
{
    uint32_t number = 1;

    list_for_each (&s->done, it) {
        const struct op *op = container_of(it, struct op, node);

        if (op->class && op->class->lending && op->class->lending(op) == lending)
            return number;
        number++;
    }
    return 0;
}

struct op *session_frame_without(struct session *s, uint32_t number)
{
    list_for_each (&s->done, it) {
        struct op *op = container_of(it, struct op, node);

        if (--number == 0)
            return op->class && op->class->is_frame && !op->frame.lending ? op : NULL;
    }
    return NULL;
}

static bool try_reply(struct session *s, struct op *op)
{
    struct reply reply;
    const void *payload;
    uint32_t payload_len;

    if (op->class && op->class->is_frame)
        return send_frame(s, op);
    complete_reply(op, &reply, &payload, &payload_len);
    return send_reply(s, &reply, payload, payload_len, reply.descriptors > 0 ? op : NULL);
}

void session_reply_op(struct session *s, struct op *op)
{
    if (s->has_ended || (list_is_empty(&s->done) && try_reply(s, op)))
        op_free(s->worker, op);
    else
        list_append(&s->done, &op->node);
}

uint8_t *session_reserve(struct session *s, size_t want, size_t gap, size_t *ret_len)
{
    size_t room;

    if (!list_is_empty(&s->done)) {
        transport_wait_room(&s->transport);
        return NULL;
    }
    room = transport_room(&s->transport, want + gap);
    /* Without memory for a block the small buffer has to do. */
    if (room < gap + want && room < gap + RECEIVE_ROOM && !transport_is_idle(&s->transport)) {
        transport_wait_room(&s->transport);
        return NULL;
    }
    *ret_len = room - gap < want ? room - gap : want;
    return transport_reserve(&s->transport, gap + *ret_len);
}

unsigned int session_reply_room(struct session *s, unsigned int want)
{
    size_t room = 0;

    if (list_is_empty(&s->done))
        room = transport_room(&s->transport, (size_t)want * CODEC_REPLY_MAX) / CODEC_REPLY_MAX;
    if (room == 0)
        transport_wait_room(&s->transport);
    return room < want ? (unsigned int)room : want;
}

static bool has_same_head(const struct reply *a, const struct reply *b)
{
    return a->body == BODY_NONE && b->body == BODY_NONE &&
           memcmp(a, b, offsetof(struct reply, body)) == 0;
}

void session_commit(struct session *s, const struct reply *reply, const struct reply *guess,
                    uint8_t *place, size_t gap, size_t payload_len)
{
    uint8_t head[CODEC_REPLY_MAX];
    long n = (long)gap;

    if (!guess || !has_same_head(reply, guess)) {
        n = asock_codec_encode_reply(reply, (uint32_t)payload_len, head, sizeof(head));
        assert(n > 0);
        if ((size_t)n != gap)
            memmove(place + n, place + gap, payload_len);
        memcpy(place, head, (size_t)n);
    }
    transport_commit(&s->transport, (size_t)n + payload_len);
}

bool session_flush_done(struct session *s)
{
    struct op *op;

    while ((op = list_first(&s->done, struct op, node))) {
        if (!try_reply(s, op))
            return false;
        list_remove(&op->node);
        op_free(s->worker, op);
        if (share_step_is_over(&s->worker->shares)) {
            s->must_pump = true;
            return false;
        }
    }
    return true;
}
