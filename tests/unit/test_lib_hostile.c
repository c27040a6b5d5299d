/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The end of a session: the daemon goes, or says what no daemon should say. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/suite.h"
#include "tests/unit/fake_daemon.h"

#define MIB (1024u * 1024u)

static void count_callback(asock_op *op, void *userdata)
{
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_CONNECTION_ABORTED);
    ++*(int *)userdata;
}

/* After what was said: every op ended once, nothing works, the descriptor is quiet. */
static void expect_end(asock_socket *socket, asock_op *op, int error)
{
    struct pollfd fd = {.events = POLLIN | POLLOUT};
    asock_op *late = fake_op(NULL, 0);
    asock_socket *another;
    int count = 0;

    ck_assert_int_eq(asock_op_is_pending(op), true);
    for (int i = 0; i < 100 && asock_op_is_pending(op); i++)
        fake_process();
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_CONNECTION_ABORTED);
    ck_assert_int_eq(asock_context_get_error(fake.context), error);
    ck_assert_int_eq(asock_socket_new(fake.context, AF_INET, &another), -ENOTCONN);
    fd.fd = asock_context_get_fd(fake.context);
    fd.events = (short)asock_context_get_events(fake.context);
    ck_assert_int_eq(poll(&fd, 1, 0), 0);
    ck_assert_int_eq(asock_receive(socket, late), 0);
    ck_assert_int_eq(asock_op_get_error(late), ASOCK_CONNECTION_ABORTED);
    asock_op_set_callback(late, count_callback, &count);
    asock_context_set_always_pending(fake.context, true);
    ck_assert_int_eq(asock_receive(socket, late), 1);
    fake_process();
    ck_assert_int_eq(count, 1);
    ck_assert_int_eq(asock_context_reconnect(fake.context), -EOPNOTSUPP);
    asock_op_unref(late);
}

static void end_by_reply(const struct reply *reply, const void *payload, size_t len, int error)
{
    static char data[8 * MIB];
    asock_socket *socket;
    asock_op *op = fake_op(data, 10), *chain = fake_op(data, sizeof(data));
    struct reply said = *reply;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    ck_assert_int_eq(asock_send(socket, chain), 1);
    fake_drop(100);
    /* 1: the token of the chain, of which only a part has left; 2: of the receive. */
    if (reply->op == 1)
        said.op = fake.request.op;
    ck_assert_int_eq(asock_receive(socket, op), 1);
    fake_expect(VERB_RECEIVE);
    if (reply->op == 2)
        said.op = fake.request.op;
    if (!said.socket)
        said.socket = fake.request.socket;
    fake_reply(&said, payload, len);
    expect_end(socket, op, error);
    asock_op_unref(op);
    asock_op_unref(chain);
    asock_socket_unref(socket);
}

TEST_FIXTURE_TIMEOUT(fake_setup, fake_teardown, 120);

START_TEST(test_s46_end_of_file)
{
    asock_socket *socket;
    asock_op *op = fake_op(NULL, 0);

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    ck_assert_int_eq(asock_receive(socket, op), 1);
    asock_context_flush(fake.context);
    close(fake.fd);
    fake.fd = -1;
    expect_end(socket, op, ASOCK_CONNECTION_ABORTED);
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_s46_what_was_said_before_the_end_is_heard)
{
    asock_socket *socket;
    asock_op *op = fake_op(NULL, 0), *other = fake_op(NULL, 0);
    struct reply reply = {.kind = KIND_EVENT, .body = BODY_EVENT, .event = EVENT_SESSION_ENDED};

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    ck_assert_int_eq(asock_receive(socket, op), 1);
    fake_expect(VERB_RECEIVE);
    reply.error = ERR_ACCESS_DENIED;
    fake_reply(&reply, "killed", 6);
    close(fake.fd);
    fake.fd = -1;
    ck_assert_int_eq(asock_receive(socket, other), 1); /* writing fails now */
    ck_assert_int_eq(asock_context_flush(fake.context), 0);
    expect_end(socket, op, ASOCK_ACCESS_DENIED);
    ck_assert_int_eq(asock_op_get_error(other), ASOCK_CONNECTION_ABORTED);
    asock_op_unref(op);
    asock_op_unref(other);
    asock_socket_unref(socket);
}
END_TEST

/*
 * The connection ends in the middle of a text: it was not checked yet, so the program does not get
 * it.
 */
START_TEST(test_s46_half_a_text_is_none)
{
    struct reply reply = {.kind = KIND_EVENT, .body = BODY_EVENT, .event = EVENT_SESSION_ENDED};
    uint8_t head[CODEC_REPLY_MAX];
    asock_op *op = fake_op(NULL, 0);
    char text[64] = "?";
    long n;

    fake_welcome(0, 0, 0, 0);
    ck_assert_int_eq(asock_sync(fake.context, op), 1);
    reply.error = ERR_ACCESS_DENIED;
    n = asock_codec_encode_reply(&reply, 20, head, sizeof(head));
    ck_assert_int_eq(write(fake.fd, head, (size_t)n), n);
    ck_assert_int_eq(write(fake.fd, "half \033[2J\xe2\x82", 11), 11);
    shutdown(fake.fd, SHUT_RDWR);
    ck_assert_int_eq(fake_end(op), ASOCK_CONNECTION_ABORTED);
    asock_context_get_error_text(fake.context, text, sizeof(text));
    ck_assert_str_eq(text, "");
    asock_op_unref(op);
}
END_TEST

START_TEST(test_s46_half_a_text_of_an_op_is_none)
{
    struct reply reply = {.kind = KIND_COMPLETION, .error = ERR_ACCESS_DENIED, .ops_freed = 1};
    uint8_t head[CODEC_REPLY_MAX];
    asock_op *op = fake_op(NULL, 0);
    long n;

    fake_welcome(0, 0, 0, 0);
    ck_assert_int_eq(asock_sync(fake.context, op), 1);
    reply.op = fake_expect(VERB_SYNC)->op;
    n = asock_codec_encode_reply(&reply, 20, head, sizeof(head));
    ck_assert_int_eq(write(fake.fd, head, (size_t)n), n);
    ck_assert_int_eq(write(fake.fd, "half", 4), 4);
    shutdown(fake.fd, SHUT_RDWR);
    ck_assert_int_eq(fake_end(op), ASOCK_CONNECTION_ABORTED);
    ck_assert_ptr_null(asock_op_get_text(op));
    asock_op_unref(op);
}
END_TEST

/*
 * It ends in the middle of the head that follows a text: the text was whole, and stays what the
 * program has.
 */
START_TEST(test_s46_a_whole_text_stays)
{
    struct reply reply = {.kind = KIND_COMPLETION, .error = ERR_ACCESS_DENIED, .ops_freed = 1};
    uint8_t head[CODEC_REPLY_MAX];
    asock_op *op = fake_op(NULL, 0);
    long n;

    fake_welcome(0, 0, 0, 0);
    ck_assert_int_eq(asock_sync(fake.context, op), 1);
    reply.op = fake_expect(VERB_SYNC)->op;
    fake_reply(&reply, "a reason", 8);
    n = asock_codec_encode_reply(&reply, 20, head, sizeof(head));
    ck_assert_int_eq(write(fake.fd, head, (size_t)n - 1), n - 1);
    shutdown(fake.fd, SHUT_RDWR);
    ck_assert_int_eq(fake_end(op), ASOCK_ACCESS_DENIED);
    while (!asock_context_get_error(fake.context))
        fake_process();
    ck_assert_str_eq(asock_op_get_text(op), "a reason");
    asock_op_unref(op);
}
END_TEST

#define HOSTILE(name, payload, len, ...)                                                           \
    START_TEST(name)                                                                               \
    {                                                                                              \
        struct reply reply = __VA_ARGS__;                                                          \
                                                                                                   \
        end_by_reply(&reply, payload, len, ASOCK_PROTOCOL_ERROR);                                  \
    }                                                                                              \
    END_TEST

HOSTILE(test_hostile_unknown_token, NULL, 0, {.kind = KIND_COMPLETION, .op = 12345})
HOSTILE(test_hostile_token_zero, NULL, 0, {.kind = KIND_COMPLETION})
HOSTILE(test_hostile_unknown_kind, NULL, 0, {.kind = 9})
HOSTILE(test_hostile_descriptors, NULL, 0, {.kind = KIND_COMPLETION, .op = 2, .descriptors = 1})
HOSTILE(test_hostile_more_bytes_than_asked, "01234567890", 11,
        {.kind = KIND_COMPLETION, .op = 2, .bytes = 11})
HOSTILE(test_hostile_success_of_half_a_chain, NULL, 0, {.kind = KIND_COMPLETION, .op = 1})
HOSTILE(test_hostile_more_of_a_send, NULL, 0,
        {.kind = KIND_COMPLETION, .op = 1, .flags = REPLY_MORE})
HOSTILE(test_hostile_more_bytes_than_sent, NULL, 0,
        {.kind = KIND_COMPLETION, .op = 1, .error = 4, .bytes = UINT64_MAX})
HOSTILE(test_hostile_text_too_long, (char[513]){0}, 513,
        {.kind = KIND_COMPLETION, .op = 2, .error = 4})
HOSTILE(test_hostile_welcome_of_nothing, NULL, 0, {.kind = KIND_WELCOME, .body = BODY_WELCOME})
HOSTILE(test_hostile_welcome_without_body, NULL, 0, {.kind = KIND_WELCOME})

START_TEST(test_hostile_lengths)
{
    uint8_t prefix[FRAME_PREFIX];
    asock_op *op = fake_op(NULL, 0);

    fake_welcome(0, 0, 0, 0);
    ck_assert_int_eq(asock_sync(fake.context, op), 1);
    asock_frame_prefix(prefix, FRAME_HEAD_MAX + 1, 0);
    ck_assert_int_eq(write(fake.fd, prefix, sizeof(prefix)), sizeof(prefix));
    ck_assert_int_eq(fake_end(op), ASOCK_CONNECTION_ABORTED);
    ck_assert_int_eq(asock_context_get_error(fake.context), ASOCK_PROTOCOL_ERROR);
    asock_op_unref(op);
}
END_TEST

/* Giving back more room than was taken gives no socket more than there is. */
START_TEST(test_hostile_room)
{
    char *data = calloc(1, 8 * MIB);
    asock_socket *socket;
    asock_op *op = fake_op(data, 8 * MIB);
    size_t bytes = 0;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    fake_room(asock_socket_get_id(socket), UINT64_MAX);
    fake_room(999, UINT64_MAX);
    ck_assert_int_eq(asock_send(socket, op), 1);
    while (fake_drop(1))
        bytes += fake.payload_len;
    ck_assert_uint_le(bytes, MIB);
    ck_assert_uint_gt(bytes, 0);
    asock_op_unref(op);
    asock_socket_unref(socket);
    fake.context = asock_context_unref(fake.context);
    free(data);
}
END_TEST

/* Random frames, mostly near to what is right: whatever happens, every op ends, and only once. */
static int ended;

static void count_end(asock_op *op, void *userdata)
{
    (void)op;
    (void)userdata;
    ended++;
}

static void random_reply(unsigned int *seed, const struct request *seen, size_t count)
{
    static char payload[600];
    struct reply reply = {.kind = KIND_COMPLETION};
    const struct request *of = &seen[(size_t)rand_r(seed) % count];
    uint8_t head[CODEC_REPLY_MAX];
    size_t len = (size_t)rand_r(seed) % 4 ? 0 : (size_t)rand_r(seed) % 20;
    long n;

    reply.op = rand_r(seed) % 50 ? of->op : (uint64_t)rand_r(seed) << 32 | 1;
    reply.socket = of->socket;
    reply.error = rand_r(seed) % 2 ? 0 : (uint32_t)rand_r(seed) % 40;
    reply.flags = rand_r(seed) % 3 ? 0 : (uint32_t)rand_r(seed) % 8;
    reply.bytes = rand_r(seed) % 2 ? len : (uint64_t)rand_r(seed) % 5000;
    reply.send_freed = (uint64_t)rand_r(seed) % 100000;
    reply.ops_freed = (uint32_t)rand_r(seed) % 3;
    if (rand_r(seed) % 20 == 0) {
        reply.kind = (uint32_t)rand_r(seed) % 5;
        reply.body = BODY_EVENT;
        reply.event = EVENT_SEND_ROOM;
    }
    n = asock_codec_encode_reply(&reply, (uint32_t)len, head, sizeof(head));
    if (n < 0)
        return;
    if (rand_r(seed) % 100 == 0)
        head[(size_t)rand_r(seed) % (size_t)n] ^= 0x41;
    if (write(fake.fd, head, (size_t)n) == n && len > 0)
        ck_assert_int_ge(write(fake.fd, payload, len), -1);
}

static void random_submit(unsigned int *seed, asock_socket **sockets, asock_op *op, int *submitted)
{
    asock_socket *socket = sockets[rand_r(seed) % 4];
    int r;

    switch (rand_r(seed) % 8) {
    case 0:
        r = asock_receive(socket, op);
        break;
    case 1:
        r = asock_get_option(socket, op, ASOCK_OPTION_NO_DELAY);
        break;
    case 2:
        r = asock_shutdown(socket, op, ASOCK_SHUTDOWN_SEND);
        break;
    case 3:
        r = rand_r(seed) % 10 ? asock_sync(fake.context, op) : asock_close(socket, op, 0);
        break;
    case 4:
        asock_cancel(op);
        return;
    default:
        asock_op_set_flags(op, rand_r(seed) % 2 ? ASOCK_ERRORS_ONLY : 0);
        r = asock_send(socket, op);
        break;
    }
    *submitted += r == 1;
}

static void random_session(unsigned int seed)
{
    enum { OPS = 40, SEEN = 64 };
    static char data[3 * FRAME_PAYLOAD_MAX];
    asock_socket *sockets[4];
    asock_op *ops[OPS];
    struct request seen[SEEN];
    size_t count = 0;
    int submitted = 0;

    ended = 0;
    asock_context_set_always_pending(fake.context, true);
    fake_welcome(0, 0, 0, 0);
    for (int i = 0; i < 4; i++)
        sockets[i] = fake_connected();
    for (int i = 0; i < OPS; i++) {
        ops[i] = fake_op(data, i % 10 ? 10 : sizeof(data));
        asock_op_set_callback(ops[i], count_end, NULL);
    }
    for (int i = 0; i < 400 && !asock_context_get_error(fake.context); i++) {
        random_submit(&seed, sockets, ops[rand_r(&seed) % OPS], &submitted);
        if (rand_r(&seed) % 2 && fake_drop(1))
            seen[count++ % SEEN] = fake.request;
        if (count > 0 && rand_r(&seed) % 2)
            random_reply(&seed, seen, count < SEEN ? count : SEEN);
        fake_process();
    }
    close(fake.fd);
    fake.fd = -1;
    for (int i = 0; i < 100; i++)
        fake_process();
    ck_assert_int_eq(ended, submitted);
    for (int i = 0; i < OPS; i++)
        asock_op_unref(ops[i]);
    for (int i = 0; i < 4; i++)
        asock_socket_unref(sockets[i]);
}

START_LOOP_TEST(test_hostile_random, 0, 10)
{
    for (unsigned int i = 0; i < 40; i++) {
        random_session((unsigned int)_i * 1000 + i);
        fake_teardown();
        fake_setup();
    }
}
END_TEST
