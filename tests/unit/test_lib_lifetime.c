/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Objects that legal calls end under the feet of others. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "client-lib/core/objects.h"
#include "proto/endpoint.h"
#include "tests/lib/suite.h"
#include "tests/unit/fake_daemon.h"

static void count(asock_op *op, void *userdata)
{
    (void)op;
    (*(int *)userdata)++;
}

/* More sockets than there are ids. The last one has a connect, a send and a lingering close. */
struct refused {
    asock_socket *sockets[17], *socket;
    asock_op *connect, *send, *close;
    int connected, sent, closed;
    char data[4];
};

static void make_refused(struct refused *r, int linger_ms)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(80)};

    *r = (struct refused){0};
    for (int i = 0; i < 17; i++)
        r->sockets[i] = fake_socket();
    r->socket = fake_socket();
    r->connect = fake_op(NULL, 0);
    r->send = fake_op(r->data, 4);
    r->close = fake_op(NULL, 0);
    asock_op_set_callback(r->connect, count, &r->connected);
    asock_op_set_callback(r->send, count, &r->sent);
    asock_op_set_callback(r->close, count, &r->closed);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    asock_op_set_endpoint(r->connect, (struct sockaddr *)&addr, sizeof(addr));
    ck_assert_int_eq(asock_connect(r->socket, r->connect), 1);
    ck_assert_int_eq(asock_send(r->socket, r->send), 1);
    ck_assert_int_eq(asock_close(r->socket, r->close, linger_ms), 1);
}

static void expect_refused(struct refused *r)
{
    fake_welcome(16, 0, 0, 0);
    /* The welcome leaves no id for it. */
    fake_process();
    ck_assert_int_eq(r->connected, 1);
    ck_assert_int_eq(r->sent, 1);
    ck_assert_int_eq(r->closed, 1);
    /* Nothing of it is left that could end once more. */
    ck_assert(asock_wheel_is_clear(&fake.context->wheel));
    for (int i = 0; i < 17; i++)
        asock_socket_unref(r->sockets[i]);
}

TEST_FIXTURE(fake_setup, fake_teardown);

START_TEST(test_a_descriptor_stays_with_its_request)
{
    size_t len = 16 * 1024 * 1024;
    char *data = calloc(1, len), number[16];
    const char *const args[] = {"add", "web", number, NULL};
    asock_socket *socket;
    asock_op *large;
    int ends[2];

    fake_welcome(0, 0, 32 * 1024 * 1024, 256 * 1024 * 1024);
    socket = fake_connected();
    large = fake_op(data, len);
    ck_assert_int_eq(asock_send(socket, large), 1);
    fake_process();
    /*
     * The output is full of the send's frames, so the request for the listener is never written:
     * nor is its descriptor.
     */
    ck_assert_int_eq(pipe(ends), 0);
    snprintf(number, sizeof(number), "%d", ends[1]);
    ck_assert_int_eq(asock_context_control(fake.context, "listener", args, NULL, NULL, 0),
                     -ETIMEDOUT);
    close(ends[1]);
    ck_assert_int_eq(read(ends[0], data, 1), 0);
    close(ends[0]);
    while (fake_drop(64) > 0)
        fake_process();
    asock_op_unref(large);
    asock_socket_unref(socket);
    free(data);
}
END_TEST

START_TEST(test_s43_lingering_close_of_a_refused_socket_ends_once)
{
    struct refused r;

    make_refused(&r, 60000);
    asock_socket_unref(r.socket);
    expect_refused(&r);
    ck_assert_int_eq(asock_op_get_error(r.close), ASOCK_OPERATION_ABORTED); /* nothing was sent */
    ck_assert_int_eq(asock_op_get_error(r.send), ASOCK_TOO_MANY_OPEN_SOCKETS);
    asock_op_unref(r.connect);
    asock_op_unref(r.send);
    asock_op_unref(r.close);
}
END_TEST

START_TEST(test_s43_everything_of_a_refused_socket_was_let_go)
{
    struct refused r;

    make_refused(&r, 60000);
    asock_op_unref(r.connect);
    asock_op_unref(r.send);
    asock_op_unref(r.close);
    asock_socket_unref(r.socket);
    expect_refused(&r);
}
END_TEST

struct reviver {
    asock_context *context;
    int reconnect;
};

static void revive(asock_op *op, void *userdata)
{
    struct reviver *reviver = userdata;

    asock_op_unref(op);
    asock_context_unref(reviver->context);
    asock_context_ref(reviver->context);
    reviver->reconnect = asock_context_reconnect(reviver->context);
}

/* What has ended stays so: otherwise there would be a session that cannot be ended. */
START_TEST(test_s6_a_context_that_has_ended_is_not_brought_back)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct reviver reviver = {0};
    asock_op *op;

    snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/asock-test-%d", (int)getpid());
    unlink(addr.sun_path);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(listen(listener, 5), 0);
    ck_assert_int_eq(asock_context_new(addr.sun_path, &reviver.context), 0);
    close(accept(listener, NULL, NULL));
    ck_assert_int_eq(asock_op_new(reviver.context, &op), 0);
    asock_op_set_callback(op, revive, &reviver);
    ck_assert_int_eq(asock_sync(reviver.context, op), 1);
    ck_assert_int_eq(asock_op_wait(op, 10000), 0);
    ck_assert_int_eq(asock_context_process(reviver.context), 1);
    ck_assert_int_eq(reviver.reconnect, -ESHUTDOWN);
    ck_assert_int_eq(asock_context_start_dispatcher(reviver.context), -ESHUTDOWN);
    asock_context_unref(reviver.context);
    close(listener);
    unlink(addr.sun_path);
}
END_TEST

static struct {
    int fd;         /* that a program has inherited */
    int in_between; /* the result of a second call, made when the first one had looked at it */
} inherited = {.fd = -1};

int fcntl(int fd, int command, ...)
{
    asock_context *second;
    va_list args;
    long argument;
    int r;

    va_start(args, command);
    argument = va_arg(args, long);
    va_end(args);
    r = (int)syscall(SYS_fcntl, fd, command, argument);
    if (fd != inherited.fd || command != F_GETFD)
        return r;
    inherited.fd = -1;
    inherited.in_between = asock_context_new(NULL, &second);
    if (inherited.in_between == 0)
        asock_context_unref(second);
    return r;
}

START_TEST(test_an_inherited_descriptor_is_taken_once)
{
    asock_context *context;
    char number[16];
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    snprintf(number, sizeof(number), "%d", pair[0]);
    ck_assert_int_eq(setenv("ASOCK_FD", number, 1), 0);
    inherited.fd = pair[0];
    ck_assert_int_eq(asock_context_new(NULL, &context), 0);
    ck_assert_int_eq(inherited.in_between, -EBUSY);
    asock_context_unref(context);
    close(pair[1]);
    /* The next one may be taken. */
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    snprintf(number, sizeof(number), "%d", pair[0]);
    ck_assert_int_eq(setenv("ASOCK_FD", number, 1), 0);
    ck_assert_int_eq(asock_context_new(NULL, &context), 0);
    ck_assert_int_eq(unsetenv("ASOCK_FD"), 0);
    asock_context_unref(context);
    close(pair[1]);
}
END_TEST

/* ---- sockets that are lent ---- */

static struct endpoint endpoint_of(int fd, int (*name)(int, struct sockaddr *, socklen_t *))
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);
    struct endpoint endpoint;

    ck_assert_int_eq(name(fd, (struct sockaddr *)&addr, &len), 0);
    ck_assert_int_eq(asock_endpoint_from((struct sockaddr *)&addr, len, &endpoint), 0);
    return endpoint;
}

/* A connect that asks for its socket, and what the daemon has for it: a socket, its completion. */
struct lent {
    asock_socket *socket;
    asock_op *op;
    int fd, peer;
    struct reply reply;
    uint8_t frame[2 * CODEC_REPLY_MAX];
    size_t len;
};

/* Bound: as [Egress] Source= has it. */
static void make_connection(bool is_bound, int *ret_fd, int *ret_peer)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t len = sizeof(addr);
    const int one = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(listen(listener, 1), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
    *ret_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (is_bound) {
        const struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr = addr.sin_addr};

        ck_assert_int_eq(
            setsockopt(*ret_fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)), 0);
        ck_assert_int_eq(bind(*ret_fd, (const struct sockaddr *)&source, sizeof(source)), 0);
    }
    ck_assert_int_eq(connect(*ret_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    *ret_peer = accept(listener, NULL, NULL);
    ck_assert_int_ge(*ret_peer, 0);
    close(listener);
}

static void encode(struct lent *lent)
{
    long n = asock_codec_encode_reply(&lent->reply, 0, lent->frame, CODEC_REPLY_MAX);

    ck_assert_int_gt(n, 0);
    lent->len = (size_t)n;
}

static void ask_for_socket(struct lent *lent, bool is_bound)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(80)};
    const struct request *request;

    make_connection(is_bound, &lent->fd, &lent->peer);
    lent->socket = fake_socket();
    lent->op = fake_op(NULL, 0);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(asock_op_set_endpoint(lent->op, (struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(asock_op_set_flags(lent->op, ASOCK_LEND), 0);
    ck_assert_int_eq(asock_connect(lent->socket, lent->op), 1);
    fake_expect(VERB_OPEN);
    request = fake_expect(VERB_CONNECT);
    lent->reply = (struct reply){.kind = KIND_COMPLETION,
                                 .op = request->op,
                                 .socket = request->socket,
                                 .ops_freed = 2,
                                 .body = BODY_CONNECTED,
                                 .descriptors = 1};
    lent->reply.connected.local = endpoint_of(lent->fd, getsockname);
    lent->reply.connected.remote = endpoint_of(lent->fd, getpeername);
    encode(lent);
}

/* `len` bytes of its completion, its descriptor with the first. */
static void deliver(const struct lent *lent, size_t len)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
                          .cmsg_level = SOL_SOCKET,
                          .cmsg_type = SCM_RIGHTS}};
    struct iovec iov = {(void *)(uintptr_t)lent->frame, len};
    const struct msghdr msg = {.msg_iov = &iov,
                               .msg_iovlen = 1,
                               .msg_control = &control,
                               .msg_controllen = sizeof(control)};

    memcpy(CMSG_DATA(&control.head), &lent->fd, sizeof(int));
    ck_assert_int_eq(sendmsg(fake.fd, &msg, MSG_NOSIGNAL), (ssize_t)len);
}

static void expect_socket(const struct lent *lent)
{
    struct endpoint found;
    int fd;

    ck_assert_int_eq(fake_end(lent->op), ASOCK_SUCCESS);
    fd = asock_op_take_fd(lent->op);
    ck_assert_int_ge(fd, 0);
    found = endpoint_of(fd, getsockname);
    ck_assert_uint_eq(found.port, lent->reply.connected.local.port);
    close(fd);
}

static void let_go(struct lent *lent)
{
    close(lent->fd);
    if (lent->peer >= 0)
        close(lent->peer);
    asock_op_unref(lent->op);
    asock_socket_unref(lent->socket);
}

/*
 * It is dissolved before its completion is read. An event is cut behind that, and its end comes in
 * one read with the next descriptor.
 */
START_LOOP_TEST(test_s68_a_socket_that_was_killed_on_its_way_is_an_aborted_connection, 0, 2)
{
    const struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    const struct reply event = {.kind = KIND_EVENT, .body = BODY_EVENT, .event = EVENT_SEND_ROOM};
    struct lent killed, next;
    uint8_t frame[CODEC_REPLY_MAX];
    long len = asock_codec_encode_reply(&event, 0, frame, sizeof(frame));

    ck_assert_int_gt(len, 1);
    fake.lends = 1u << LEND_HELD;
    fake_welcome(0, 0, 0, 0);
    ask_for_socket(&killed, _i);
    ask_for_socket(&next, _i);
    killed.frame[killed.len] = frame[0];
    deliver(&killed, killed.len + 1);
    ck_assert_int_eq(connect(killed.fd, &nobody, sizeof(nobody)), 0);
    ck_assert_int_eq(fake_end(killed.op), ASOCK_CONNECTION_ABORTED);
    ck_assert_int_eq(asock_op_take_fd(killed.op), -ENODATA);
    ck_assert_int_eq(send(fake.fd, frame + 1, (size_t)len - 1, MSG_NOSIGNAL), len - 1);
    deliver(&next, next.len);
    expect_socket(&next);
    let_go(&killed);
    let_go(&next);
}
END_TEST

/* The program reads of it what it would read of any connection. */
START_LOOP_TEST(test_s68_a_socket_that_the_peer_has_reset_on_its_way_is_lent, 0, 2)
{
    const struct linger at_once = {.l_onoff = 1};
    struct lent reset;
    char byte;

    fake.lends = 1u << LEND_HELD;
    fake_welcome(0, 0, 0, 0);
    ask_for_socket(&reset, _i);
    ck_assert_int_eq(setsockopt(reset.peer, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
    ck_assert_int_eq(close(reset.peer), 0);
    reset.peer = -1;
    deliver(&reset, reset.len);
    expect_socket(&reset);
    ck_assert_int_eq(recv(reset.fd, &byte, 1, 0), -1);
    ck_assert_int_eq(errno, ECONNRESET);
    let_go(&reset);
}
END_TEST

/* Its local address is the same as that of the next, whose peer is another one. */
START_TEST(test_s68_a_socket_whose_descriptor_never_left_takes_no_other)
{
    struct lent killed, next;

    fake.lends = 1u << LEND_HELD;
    fake_welcome(0, 0, 0, 0);
    ask_for_socket(&killed, false);
    ask_for_socket(&next, false);
    killed.reply.connected.local = next.reply.connected.local;
    encode(&killed);
    ck_assert_int_eq(send(fake.fd, killed.frame, killed.len, MSG_NOSIGNAL), (ssize_t)killed.len);
    deliver(&next, next.len);
    ck_assert_int_eq(fake_end(killed.op), ASOCK_CONNECTION_ABORTED);
    expect_socket(&next);
    let_go(&killed);
    let_go(&next);
}
END_TEST
