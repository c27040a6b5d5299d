/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared memory and multishots, of the program and of the daemon. */
#include <errno.h>
#include <string.h>

#include "client-lib/core/objects.h"
#include "fuzz/client_play.h"
#include "fuzz/descriptors.h"

void memory_see_slice(struct carrier *slot)
{
    size_t len;
    uint8_t *data = asock_op_get_slice(slot->op, &len);

    MUST(len == (data ? asock_op_get_bytes(slot->op) : 0));
    if (!data)
        return;
    MUST(data >= (uint8_t *)asock_buffer_data(play.buffer) && len >= 1 && len <= SLICE);
    MUST(data + len <= (uint8_t *)asock_buffer_data(play.buffer) + asock_buffer_size(play.buffer));
    memset(data, 0, len);
    if (slot->takes && play.taken_count < SLICES)
        play.taken[play.taken_count++] = asock_op_take_slice(slot->op);
}

bool memory_set_shared(struct carrier *slot, size_t len)
{
    size_t place = SLICES * SLICE / OPS;
    uint8_t *data = asock_buffer_data(play.buffer);

    if (slot->is_pending || !data)
        return false;
    slot->len = len % place;
    MUST(asock_op_set_buffer(slot->op, data + (size_t)(slot - play.slots) * place, slot->len) == 0);
    return true;
}

void memory_submit_multishot(struct script *s, struct carrier *slot, asock_socket *socket)
{
    int r;

    if (!play.pool || slot->is_pending)
        return;
    slot->takes = next(s) & 1;
    slot->again = false;
    slot->len = SLICE;
    MUST(asock_op_set_pool(slot->op, play.pool) == 0);
    r = asock_receive_multishot(socket, slot->op);
    MUST(r == 1 || r == 0 || r == -EBUSY);
    slot->is_pending = r == 1;
}

void memory_step_give(struct script *s)
{
    unsigned int n = 1 + next(s) % 4;

    while (n-- > 0 && play.taken_count > 0)
        MUST(asock_pool_give(play.pool, play.taken[--play.taken_count]) == 0);
    MUST(!play.pool || asock_pool_give(play.pool, &play) == -EINVAL);
}

static void see_segments(struct seen *seen, const struct segments *segments)
{
    for (uint32_t i = 0; i < segments->count && seen->segment_count < 4 * CODEC_SEGMENTS_MAX; i++)
        seen->segments[seen->segment_count++] = segments->at[i];
}

static void see_credit(const struct request *request)
{
    MUST(request->credit.segments.count > 0);
    for (unsigned int i = 0; i < SEEN && i < play.seen_count; i++)
        if (play.seen[i].token == request->credit.target)
            see_segments(&play.seen[i], &request->credit.segments);
}

void memory_see_request(struct seen *seen, struct request *request)
{
    if (request->verb == VERB_CREDIT)
        see_credit(request);
    if (request->verb == VERB_RECEIVE)
        seen->flags = request->receive.flags;
    if (request_segments(request) && request->verb != VERB_CREDIT)
        see_segments(seen, request_segments(request));
    for (uint32_t i = 0; i < seen->segment_count; i++)
        seen->length += seen->segments[i].length;
}

static void say_with_descriptors(const struct reply *reply, const int *fds, size_t count)
{
    uint8_t bytes[CODEC_REPLY_MAX];
    long n = asock_codec_encode_reply(reply, 0, bytes, sizeof(bytes));

    MUST(n > 0);
    if (play.daemon >= 0)
        send_with_descriptors(play.daemon, bytes, (size_t)n, fds, count);
}

/* What the library will call its next op: the answer is there before the question. */
static uint64_t guess_token(void)
{
    const struct slots *slots = &play.context->slots;
    uint32_t slot = slots->free ? slots->free - 1 : slots->count;
    uint32_t uses = slots->free ? slots->at[slot].uses : 0;

    return (uint64_t)((uses + 1) & TOKEN_USES_MASK) << TOKEN_SLOT_BITS | (slot + 1);
}

void memory_step_buffer(struct script *s)
{
    uint8_t how = next(s);
    struct reply reply = {.kind = KIND_COMPLETION, .op = guess_token(), .descriptors = 1};
    int fds[8], r;
    asock_buffer *buffer = NULL;
    size_t count = how == 1 ? 0 : how == 2 ? 8 : 1;

    if (play.buffer)
        return;
    reply.body = how == 3 ? BODY_NONE : BODY_SEGMENT;
    reply.segment = (struct segment){how == 4 ? 0 : ++play.buffer_id, 0, SLICES * SLICE};
    reply.error = how == 5 ? ERR_NO_BUFFER_SPACE : 0;
    if (how == 6)
        reply.segment.length = UINT64_MAX;
    for (size_t i = 0; i < count; i++)
        fds[i] = make_memory(how == 7 ? 1 : SLICES * SLICE, how != 8);
    if (how != 9)
        say_with_descriptors(&reply, fds, count);
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
    r = asock_buffer_new(play.context, 1 + next(s), 0, &buffer);
    MUST(r <= 0); /* a daemon that lies may name any error */
    MUST((r == 0) == (buffer != NULL));
    play.buffer = buffer;
    if (buffer)
        MUST(asock_pool_new(buffer, SLICE, &play.pool) == 0);
    play_read_requests();
}

bool memory_is_multishot(const struct seen *seen)
{
    return seen->verb == VERB_RECEIVE && seen->flags & RECEIVE_MULTISHOT;
}

/* The next slice of its credit; the last one ends it. */
void memory_answer_multishot(struct script *s, struct seen *seen)
{
    struct reply reply = {.kind = KIND_COMPLETION, .op = seen->token, .socket = seen->socket};

    if (seen->told < seen->segment_count) {
        reply.body = BODY_SEGMENT;
        reply.segment = seen->segments[seen->told++];
        reply.bytes = reply.segment.length = 1 + next(s) % reply.segment.length;
        reply.flags = seen->told < seen->segment_count ? REPLY_MORE : 0;
    } else {
        reply.flags = REPLY_END_OF_STREAM;
    }
    play_say_reply(&reply, 0);
}
