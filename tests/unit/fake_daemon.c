/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/fake_daemon.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TURNS 10000 /* of the loops below; only a hang reaches it */

struct fake fake;

/*
 * Where a thread of the test is the daemon there is no context, and libcheck's asserts are not for
 * it.
 */
#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (fake.context)                                                                          \
            ck_assert(condition);                                                                  \
        else if (!(condition))                                                                     \
            abort();                                                                               \
    } while (0)

void fake_setup(void)
{
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    memset(&fake, 0, sizeof(fake));
    fake.fd = fds[1];
    ck_assert_int_eq(asock_context_new_fd(fds[0], &fake.context), 0);
}

void fake_teardown(void)
{
    fake.context = asock_context_unref(fake.context);
    free(fake.payload);
    fake.payload = NULL;
    if (fake.fd >= 0)
        close(fake.fd);
}

static bool read_more(void)
{
    ssize_t n = recv(fake.fd, fake.buffer + fake.len, sizeof(fake.buffer) - fake.len, MSG_DONTWAIT);

    if (n <= 0)
        return false;
    fake.len += (size_t)n;
    return true;
}

static bool take_frame(void)
{
    struct frame frame;
    const char *why;
    int r;
    long n = asock_frame_parse(fake.buffer, fake.len, &frame);

    MUST(n >= 0);
    if (n == 0)
        return false;
    r = asock_codec_decode_request(frame.head, frame.head_len, fake.scratch, &fake.request, &why);
    MUST(r == 0);
    free(fake.payload);
    fake.payload = malloc(frame.payload_len + 1u);
    memcpy(fake.payload, frame.payload, frame.payload_len);
    fake.payload_len = frame.payload_len;
    fake.len -= (size_t)n;
    memmove(fake.buffer, fake.buffer + n, fake.len);
    return true;
}

bool fake_take(void)
{
    return take_frame() || (read_more() && take_frame());
}

static bool next(void)
{
    for (int i = 0; i < TURNS; i++) {
        if (take_frame())
            return true;
        if (fake.context)
            asock_context_flush(fake.context);
        if (!read_more())
            return false;
    }
    return false;
}

struct request *fake_next(void)
{
    ck_assert_msg(next(), "no request");
    return &fake.request;
}

struct request *fake_expect(uint32_t verb)
{
    fake_next();
    ck_assert_uint_eq(fake.request.verb, verb);
    return &fake.request;
}

bool fake_is_silent(void)
{
    return !next();
}

int fake_drop(int most)
{
    int count = 0;

    while (count < most && next())
        count++;
    return count;
}

void fake_process(void)
{
    ck_assert_int_ge(asock_context_process(fake.context), 0);
}

static void write_all(const void *data, size_t len)
{
    const uint8_t *at = data;

    for (int i = 0; len > 0 && i < TURNS; i++) {
        ssize_t n = send(fake.fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EPIPE && !fake.context)
            return; /* the library has gone meanwhile */
        if (n < 0) {
            MUST(errno == EAGAIN);
            if (fake.context)
                fake_process();
            else
                poll(&(struct pollfd){.fd = fake.fd, .events = POLLOUT}, 1, 1000);
            continue;
        }
        at += n;
        len -= (size_t)n;
    }
    MUST(len == 0);
}

void fake_reply(const struct reply *reply, const void *payload, size_t len)
{
    uint8_t head[CODEC_REPLY_MAX];
    long n = asock_codec_encode_reply(reply, (uint32_t)len, head, sizeof(head));

    MUST(n > 0);
    write_all(head, (size_t)n);
    write_all(payload, len);
}

void fake_complete_free(const struct request *request, uint32_t error, uint64_t bytes,
                        uint64_t freed, uint32_t ops)
{
    struct reply reply = {.kind = KIND_COMPLETION, .op = request->op, .socket = request->socket};

    reply.error = error;
    reply.bytes = bytes;
    reply.send_freed = freed;
    reply.ops_freed = ops;
    fake_reply(&reply, NULL, 0);
}

void fake_room(uint32_t socket, uint64_t bytes)
{
    struct reply reply = {.kind = KIND_EVENT, .socket = socket, .body = BODY_EVENT};

    reply.event = EVENT_SEND_ROOM;
    reply.send_freed = bytes;
    fake_reply(&reply, NULL, 0);
    fake_process();
}

void fake_complete(const struct request *request, uint32_t error, uint64_t bytes)
{
    fake_complete_free(request, error, bytes, bytes, 1);
}

void fake_welcome(uint32_t sockets, uint32_t ops, uint64_t window, uint64_t queued)
{
    struct reply reply = {.kind = KIND_WELCOME, .body = BODY_WELCOME};

    fake_expect(VERB_HELLO);
    reply.welcome = (struct welcome){
        .version = 1,
        .sockets = sockets ? sockets : 16,
        .ops = ops ? ops : 64,
        .socket_ops = ops ? ops : 64,
        .send_window = window ? window : 1024 * 1024,
        .queued_max = queued ? queued : 1024 * 1024,
        .payload_max = FRAME_PAYLOAD_MAX,
        .head_max = FRAME_HEAD_MAX,
        .verbs = fake.verbs,
        .lends = fake.lends,
    };
    fake_reply(&reply, NULL, 0);
    fake_process();
}

asock_op *fake_op(void *data, size_t len)
{
    asock_op *op;

    ck_assert_int_eq(asock_op_new(fake.context, &op), 0);
    ck_assert_int_eq(asock_op_set_buffer(op, data, len), 0);
    return op;
}

asock_socket *fake_socket(void)
{
    asock_socket *socket;

    ck_assert_int_eq(asock_socket_new(fake.context, AF_UNSPEC, &socket), 0);
    return socket;
}

asock_socket *fake_connected(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(80)};
    asock_socket *socket = fake_socket();
    asock_op *op = fake_op(NULL, 0);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(asock_op_set_endpoint(op, (struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(asock_connect(socket, op), 1);
    fake_expect(VERB_OPEN);
    fake_complete_free(fake_expect(VERB_CONNECT), 0, 0, 0, 2);
    ck_assert_int_eq(fake_end(op), ASOCK_SUCCESS);
    asock_op_unref(op);
    return socket;
}

int fake_end(asock_op *op)
{
    for (int i = 0; i < TURNS && asock_op_is_pending(op); i++) {
        struct pollfd fd = {.fd = asock_context_get_fd(fake.context), .events = POLLIN};

        fake_process();
        if (asock_op_is_pending(op))
            poll(&fd, 1, 10);
    }
    return asock_op_get_error(op);
}
