/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <asock/asock.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "fuzz/client_play.h"
#include "proto/codec.h"
#include "proto/frame.h"

/*
 * The library against a daemon that sends anything: correct answers, wrong ones, meaningless bytes.
 * What the library sends must always be well-formed; each op that was pending completes once, when
 * the daemon has gone if not before; what comes never goes past a buffer's end, and nothing is
 * left.
 */

struct play play;

static struct carrier *next_slot(struct script *s)
{
    return &play.slots[next(s) % OPS];
}

/*
 * ------------------------------------------------------------------------------- the library's
 * side
 */

static void on_done(asock_op *op, void *userdata);

static void note(struct carrier *slot, int r)
{
    MUST(r == 1 || r == 0 || r == -EBUSY || r == -EINVAL);
    MUST(slot->is_pending ? r == -EBUSY : r != -EBUSY);
    if (r == 1)
        slot->is_pending = true;
    if (r == 0)
        MUST(asock_op_get_error(slot->op) >= 0);
}

static void on_done(asock_op *op, void *userdata)
{
    struct carrier *slot = userdata;

    MUST(slot->is_pending && op == slot->op);
    MUST(asock_op_get_error(op) >= 0 && asock_op_get_bytes(op) <= slot->len);
    memory_see_slice(slot);
    if (asock_op_get_result_flags(op) & ASOCK_MORE)
        return;
    MUST(!asock_op_is_pending(op));
    slot->is_pending = false;
    if (slot->again) {
        slot->again = false;
        note(slot, asock_receive(asock_op_get_socket(op), op));
    }
}

static void set_buffer(struct carrier *slot, size_t len)
{
    if (slot->is_pending) {
        MUST(asock_op_set_buffer(slot->op, NULL, 0) == -EBUSY);
        return;
    }
    free(slot->buffer);
    slot->buffer = calloc(1, len ? len : 1);
    slot->len = len;
    MUST(slot->buffer && asock_op_set_buffer(slot->op, slot->buffer, len) == 0);
}

static void set_memory(struct carrier *slot, size_t len, bool is_shared)
{
    if (!is_shared || !memory_set_shared(slot, len))
        set_buffer(slot, len);
}

static void step_socket(struct script *s)
{
    static const int families[] = {AF_UNSPEC, AF_INET, AF_INET6};
    asock_socket **socket = &play.sockets[next(s) % SOCKETS];
    int r;

    *socket = asock_socket_unref(*socket);
    r = asock_socket_new(play.context, families[next(s) % 3], socket);
    MUST(r == 0 || r == -EMFILE || r == -ENOTCONN);
}

static void submit(struct script *s, struct carrier *slot, asock_socket *socket)
{
    uint8_t choice = next(s);
    unsigned int kind = choice % 9;

    if (choice >= 252) {
        memory_submit_multishot(s, slot, socket);
        return;
    }
    if (choice >= 250) {
        note(slot, asock_disconnect(socket, slot->op));
        return;
    }
    if (kind < 3)
        set_memory(slot, next_len(s), choice >= 126);
    if (kind == 0)
        note(slot, asock_connect(socket, slot->op));
    else if (kind == 1)
        note(slot, asock_send(socket, slot->op));
    else if (kind == 2)
        note(slot, asock_receive(socket, slot->op));
    else if (kind == 3)
        note(slot, asock_shutdown(socket, slot->op, (enum asock_how)(1 + next(s) % 3)));
    else if (kind == 4)
        note(slot, asock_close(socket, slot->op, next(s) % 3 - 1));
    else if (kind == 5)
        note(slot, asock_set_option(socket, slot->op, (enum asock_option)(next(s) % 14), 1));
    else if (kind == 6)
        note(slot, asock_get_option(socket, slot->op, (enum asock_option)(next(s) % 14)));
    else
        note(slot, asock_sync(play.context, slot->op));
}

static void step_submit(struct script *s)
{
    struct carrier *slot = next_slot(s);
    asock_socket *socket = play.sockets[next(s) % SOCKETS];
    uint8_t how = next(s);

    if (!slot->is_pending)
        asock_op_set_flags(slot->op, how % 8);
    slot->again = how >= 128;
    if (socket)
        submit(s, slot, socket);
}

static void step_cancel(struct script *s)
{
    struct carrier *slot = next_slot(s);
    int r = asock_cancel(slot->op);

    MUST(r == 0 || r == -ENOENT);
    MUST(r == 0 ? slot->is_pending : true);
}

static void step_release(struct script *s)
{
    asock_socket **socket = &play.sockets[next(s) % SOCKETS];

    *socket = asock_socket_unref(*socket);
}

static void step_wait(struct script *s)
{
    struct carrier *slot = next_slot(s);
    int r = asock_op_wait(slot->op, 0);

    MUST(r == 0 || r == -ETIMEDOUT || r == -EINVAL);
}

/*
 * -------------------------------------------------------------------------------- the daemon's
 * side
 */

static void see(const struct frame *frame)
{
    static char scratch[CODEC_SCRATCH];
    struct request request;
    const char *why;
    struct seen *seen = &play.seen[play.seen_count % SEEN];

    MUST(asock_codec_decode_request(frame->head, frame->head_len, scratch, &request, &why) == 0);
    if (request.verb == VERB_HELLO)
        return;
    *seen = (struct seen){.token = request.op, .verb = request.verb, .socket = request.socket};
    seen->length = request.verb == VERB_RECEIVE ? request.receive.length : frame->payload_len;
    memory_see_request(seen, &request);
    if (request.verb == VERB_SEND && request.send.total_len)
        seen->length = request.send.total_len;
    play.seen_count++;
}

void play_read_requests(void)
{
    static uint8_t block[65536];
    struct frame frame;
    size_t used = 0;
    ssize_t n;
    long len;

    while (play.daemon >= 0 && !play.is_stalled &&
           (n = read(play.daemon, block, sizeof(block))) > 0) {
        play.in = realloc(play.in, play.in_len + (size_t)n);
        MUST(play.in);
        memcpy(play.in + play.in_len, block, (size_t)n);
        play.in_len += (size_t)n;
    }
    if (!play.in)
        return;
    while ((len = asock_frame_parse(play.in + used, play.in_len - used, &frame)) > 0) {
        see(&frame);
        used += (size_t)len;
    }
    MUST(len == 0);
    play.in_len -= used;
    if (play.in_len)
        memmove(play.in, play.in + used, play.in_len);
}

/* Where the library does not read on, the rest is lost: a frame that never gets whole. */
static void say(const void *data, size_t len)
{
    if (play.daemon >= 0)
        (void)!send(play.daemon, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void play_say_reply(const struct reply *reply, uint32_t payload_len)
{
    static uint8_t bytes[PAYLOAD + CODEC_REPLY_MAX];
    long n = asock_codec_encode_reply(reply, payload_len, bytes, CODEC_REPLY_MAX);

    if (n < 0)
        return;
    memset(bytes + n, 'x', payload_len);
    say(bytes, (size_t)n + payload_len);
}

static struct seen *next_seen(struct script *s)
{
    static struct seen nothing = {.token = 77, .socket = 1};
    unsigned int back = next(s) % 64;

    return back < play.seen_count ? &play.seen[(play.seen_count - 1 - back) % SEEN] : &nothing;
}

static void step_welcome(struct script *s)
{
    struct reply reply = {.kind = KIND_WELCOME, .body = BODY_WELCOME};
    uint32_t size = next(s);

    reply.welcome = (struct welcome){
        .version = next(s) < 250,
        .sockets = size,
        .ops = size,
        .socket_ops = size,
        .send_window = size * 16u,
        .queued_max = size * 32u,
        .payload_max = size * 8u,
        .head_max = FRAME_HEAD_MAX,
    };
    play_say_reply(&reply, 0);
}

/* As a daemon would. */
static void step_answer(struct script *s)
{
    struct seen *seen = next_seen(s);
    struct reply reply = {.kind = KIND_COMPLETION, .op = seen->token, .socket = seen->socket};
    uint32_t payload = 0;

    if (memory_is_multishot(seen)) {
        memory_answer_multishot(s, seen);
        return;
    }
    reply.error = next(s) % 64 > 40 ? next(s) % 37 : 0;
    reply.ops_freed = 1;
    if (seen->verb == VERB_SEND || seen->verb == VERB_CONNECT)
        reply.bytes = reply.send_freed = reply.error ? 0 : seen->length;
    if (seen->verb == VERB_CONNECT) {
        reply.body = BODY_CONNECTED;
        reply.connected.remote.address_len = 4;
    }
    if (seen->verb == VERB_GET_OPTION) {
        reply.body = BODY_VALUE;
        reply.value.is_set = true;
    }
    if (seen->verb == VERB_RECEIVE && !reply.error) {
        payload = next_len(s);
        if (payload > PAYLOAD)
            payload = PAYLOAD;
        if (payload > seen->length)
            payload = (uint32_t)seen->length;
        reply.bytes = payload;
        reply.flags = payload ? 0 : REPLY_END_OF_STREAM;
        if (seen->segment_count > 0)
            payload = 0; /* they are where the request said */
    }
    play_say_reply(&reply, payload);
}

/* As no daemon should. */
static void step_lie(struct script *s)
{
    const struct seen *seen = next_seen(s);
    struct reply reply = {.op = seen->token ^ (next(s) == 1), .socket = next(s) % 4};
    uint32_t payload;

    reply.kind = 1 + next(s) % 3;
    reply.error = next(s) % 3 ? 0 : next(s);
    reply.flags = next(s) % 8;
    reply.bytes = next_len(s);
    reply.send_freed = next_len(s);
    reply.ops_freed = next(s);
    reply.descriptors = next(s) == 255;
    reply.body = (enum reply_body)(next(s) % 6);
    if (reply.body == BODY_EVENT)
        reply.event = next(s) % 4;
    if (reply.body == BODY_SEGMENT)
        reply.segment = (struct segment){next(s) % 3, next(s) * 64u, next_len(s)};
    payload = next_len(s);
    play_say_reply(&reply, payload < PAYLOAD ? payload : PAYLOAD);
}

static void see_record(const struct asock_field *fields, size_t count, void *userdata)
{
    size_t *rows = userdata;

    MUST(count <= CODEC_FIELDS_MAX);
    for (size_t i = 0; i < count; i++)
        MUST(fields[i].name && strlen(fields[i].name) > 0);
    ++*rows;
}

/* What the daemon is going to say is there before the question, which knows no other token. */
static void say_row(struct script *s)
{
    static const struct field fields[] = {{.name = "id", .number = 7}, {.name = "k", .text = "v"}};
    uint64_t slot = next(s), uses = next(s);
    struct reply reply = {.kind = KIND_COMPLETION, .op = uses << 32 | slot};
    uint8_t how = next(s), record[64], bytes[sizeof(record) + CODEC_REPLY_MAX];
    long len = asock_codec_encode_record(fields, how & 1 ? 2 : 0, record, sizeof(record)), n;

    MUST(len >= 0);
    reply.flags = how & 2 ? REPLY_MORE : 0;
    reply.error = how & 4 ? next(s) : 0;
    if (how & 8)
        record[len / 2] ^= next(s);
    n = asock_codec_encode_reply(&reply, (uint32_t)len, bytes, CODEC_REPLY_MAX);
    MUST(n > 0);
    memcpy(bytes + n, record, (size_t)len);
    say(bytes, (size_t)(n + len));
}

static void step_inspect(struct script *s)
{
    static const char *const queries[] = {"list", "show 7",   "stats",   "learned", NULL,
                                          NULL,   "sessions", "denials", "monitor"};
    const char *id[] = {"7", NULL};
    unsigned int which = next(s) % 9;
    size_t rows = 0;
    int r;

    for (unsigned int i = next(s) % 4; i > 0; i--)
        say_row(s);
    if (queries[which])
        r = asock_context_inspect(play.context, queries[which], see_record, &rows, 0);
    else
        r = asock_context_control(play.context, which == 4 ? "kill" : "reload",
                                  which == 4 ? id : NULL, see_record, &rows, 0);
    MUST(r < 0 || !queries[which] || (size_t)r == rows);
    play_read_requests();
}

static void step_restrict(struct script *s)
{
    static const char rules[] = "[Rules]\nAllow=tcp * 443\n";
    char text[16];

    for (unsigned int i = next(s) % 3; i > 0; i--)
        say_row(s);
    MUST(asock_context_restrict(play.context, rules, sizeof(rules) - 1, 0, text, sizeof(text)) <=
         0);
    play_read_requests();
}

static void step_raw(struct script *s)
{
    size_t len = next(s), left = (size_t)(s->end - s->at);

    if (len > left)
        len = left;
    say(s->at, len);
    s->at += len;
}

static void step_stall(struct script *s)
{
    (void)s;
    play.is_stalled = !play.is_stalled;
}

static void step_process(struct script *s)
{
    (void)s;
    MUST(asock_context_process(play.context) >= 0);
    play_read_requests();
}

static void (*const steps[])(struct script *s) = {
    step_socket,  step_submit,  step_submit,  step_submit,   step_cancel,        step_release,
    step_wait,    step_welcome, step_answer,  step_answer,   step_lie,           step_raw,
    step_process, step_stall,   step_inspect, step_restrict, memory_step_buffer, memory_step_give,
};

/*
 * ---------------------------------------------------------------------------------------- all of
 * it
 */

static void begin(bool is_always_pending)
{
    int pair[2];

    memset(&play, 0, sizeof(play));
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    MUST(asock_context_new_fd(pair[0], &play.context) == 0);
    play.daemon = pair[1];
    asock_context_set_always_pending(play.context, is_always_pending);
    for (int i = 0; i < OPS; i++) {
        struct carrier *slot = &play.slots[i];

        MUST(asock_op_new(play.context, &slot->op) == 0);
        MUST(asock_op_set_host(slot->op, "www.example.org", "80") == 0);
        asock_op_set_callback(slot->op, on_done, slot);
        set_buffer(slot, 10);
    }
}

/* The daemon goes: everything ends, once. */
static void end(void)
{
    close(play.daemon);
    play.daemon = -1;
    for (int round = 0; round < 4; round++)
        MUST(asock_context_process(play.context) >= 0);
    MUST(asock_context_get_error(play.context) != 0);
    for (int i = 0; i < OPS; i++) {
        MUST(!play.slots[i].is_pending);
        asock_op_unref(play.slots[i].op);
        free(play.slots[i].buffer);
    }
    for (int i = 0; i < SOCKETS; i++)
        asock_socket_unref(play.sockets[i]);
    asock_pool_unref(play.pool);
    asock_buffer_unref(play.buffer);
    asock_context_unref(play.context);
    free(play.in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = {data, data + size};

    begin(next(&s) & 1);
    while (s.at < s.end)
        steps[next(&s) % (sizeof(steps) / sizeof(steps[0]))](&s);
    end();
    return 0;
}
