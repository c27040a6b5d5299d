/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Each wrong argument of each public call: a documented refusal, and nothing has happened. */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define refused(call, error) ck_assert_int_eq((call), -(error))

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_misuse_context_new)
{
    asock_context *untouched = (asock_context *)(uintptr_t)1, *context = untouched;
    char path[200];

    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    refused(asock_context_new(path, &context), ENAMETOOLONG);
    refused(asock_context_new("", &context), EINVAL);
    refused(asock_context_new("/nowhere/asock.sock", &context), ENOENT);
    refused(asock_context_new("/dev/null", &context), ECONNREFUSED);
    refused(asock_context_new(fixture.daemon->client, NULL), EINVAL);
    setenv("ASOCK_SOCKET", "/nowhere/asock.sock", 1);
    refused(asock_context_new(NULL, &context), ENOENT);
    ck_assert_ptr_eq(context, untouched);
    setenv("ASOCK_SOCKET", fixture.daemon->client, 1);
    ck_assert_int_eq(asock_context_new(NULL, &context), 0);
    sync_of(context);
    asock_context_unref(context);
    ck_assert_ptr_null(asock_context_unref(NULL));
}
END_TEST

START_TEST(test_misuse_context_new_fd)
{
    asock_context *untouched = (asock_context *)(uintptr_t)1, *context = untouched;
    int pair[2], file = open("/dev/null", O_RDWR | O_CLOEXEC);
    int alone = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct pair tcp = new_pair(AF_INET);

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
    refused(asock_context_new_fd(-1, &context), EINVAL);
    refused(asock_context_new_fd(file, &context), EINVAL);
    refused(asock_context_new_fd(pair[0], &context), EINVAL);
    refused(asock_context_new_fd(pair[0], NULL), EINVAL);
    refused(asock_context_new_fd(alone, &context), EINVAL);
    refused(asock_context_new_fd(tcp.peer, &context), EINVAL);
    ck_assert_ptr_eq(context, untouched);
    /* A refused descriptor is still the caller's. */
    pair_close(&tcp);
    ck_assert_int_eq(close(alone), 0);
    ck_assert_int_eq(close(file), 0);
    ck_assert_int_eq(close(pair[0]), 0);
    ck_assert_int_eq(close(pair[1]), 0);
}
END_TEST

START_TEST(test_context_over_a_descriptor)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    asock_context *context;

    memcpy(addr.sun_path, fixture.daemon->client, sizeof(addr.sun_path));
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(asock_context_new_fd(fd, &context), 0);
    sync_of(context);
    refused(asock_context_reconnect(context), EOPNOTSUPP);
    asock_context_unref(context);
}
END_TEST

START_TEST(test_misuse_context_name)
{
    asock_context *context = new_context();
    char name[66];

    memset(name, 'n', sizeof(name));
    name[65] = '\0';
    refused(asock_context_set_name(context, name), EINVAL);
    refused(asock_context_set_name(context, NULL), EINVAL);
    refused(asock_context_set_name(context, "line\nfeed"), EINVAL);
    refused(asock_context_set_name(context, "delete\x7f"), EINVAL);
    refused(asock_context_set_name(context, "c1\xc2\x85"), EINVAL);
    refused(asock_context_set_name(context, "\xff\xfe"), EINVAL);
    refused(asock_context_set_name(context, "overlong\xc0\xaf"), EINVAL);
    refused(asock_context_set_name(NULL, "name"), EINVAL);
    name[64] = '\0';
    ck_assert_int_eq(asock_context_set_name(context, name), 0);
    ck_assert_int_eq(asock_context_set_name(context, "gr\xc3\xbc\xc3\x9f"), 0);
    sync_of(context);
    refused(asock_context_set_name(context, "late"), EBUSY);
    asock_context_unref(context);
}
END_TEST

START_TEST(test_misuse_context_limits)
{
    asock_context *context = new_context();
    uint64_t value;

    refused(asock_context_set_limit(context, (enum asock_limit)0, 1), EINVAL);
    refused(asock_context_set_limit(context, (enum asock_limit)99, 1), EINVAL);
    refused(asock_context_set_limit(context, ASOCK_LIMIT_SOCKET_OPS, 1), EINVAL);
    refused(asock_context_set_limit(context, ASOCK_LIMIT_PAYLOAD, 1), EINVAL);
    refused(asock_context_set_limit(context, ASOCK_LIMIT_SOCKETS, 1ull << 32), EINVAL);
    refused(asock_context_set_limit(NULL, ASOCK_LIMIT_SOCKETS, 16), EINVAL);
    refused(asock_context_get_limit(context, ASOCK_LIMIT_OPS, &value), EAGAIN);
    sync_of(context);
    refused(asock_context_set_limit(context, ASOCK_LIMIT_SOCKETS, 16), EBUSY);
    refused(asock_context_get_limit(context, (enum asock_limit)99, &value), EINVAL);
    refused(asock_context_get_limit(context, ASOCK_LIMIT_OPS, NULL), EINVAL);
    refused(asock_context_get_limit(NULL, ASOCK_LIMIT_OPS, &value), EINVAL);
    ck_assert_int_eq(asock_context_get_limit(context, ASOCK_LIMIT_OPS, &value), 0);
    asock_context_unref(context);
}
END_TEST

static void ignore_record(const struct asock_field *fields, size_t count, void *userdata)
{
    (void)fields;
    (void)count;
    (void)userdata;
}

START_TEST(test_misuse_context_calls)
{
    static const char *const id[] = {"1", NULL}, *const no_id[] = {NULL};
    static const char *const word[] = {"all", NULL}, *const two[] = {"1", "2", NULL};
    static const char *const no_value[] = {"host", NULL}, *const no_name[] = {"=a", NULL};
    static const char *const no_number[] = {"uid=root", NULL}, *const control[] = {"host=\n", NULL};

    /* What a loop would wait for: nothing. */
    ck_assert_int_eq(asock_context_get_fd(NULL), -1);
    ck_assert_int_eq(asock_context_get_events(NULL), 0);
    ck_assert_int_eq(asock_context_get_timeout(NULL), -1);
    refused(asock_context_process(NULL), EINVAL);
    refused(asock_context_flush(NULL), EINVAL);
    refused(asock_context_start_dispatcher(NULL), EINVAL);
    refused(asock_context_stop_dispatcher(NULL), EINVAL);
    refused(asock_context_stop_dispatcher(fixture.context), ENOENT);
    refused(asock_context_set_always_pending(NULL, true), EINVAL);
    refused(asock_context_reconnect(NULL), EINVAL);
    refused(asock_context_reconnect(fixture.context), EBUSY);
    refused(asock_context_control(NULL, "kill", id, NULL, NULL, 0), EINVAL);
    refused(asock_context_control(fixture.context, NULL, id, NULL, NULL, 0), EINVAL);
    refused(asock_context_control(fixture.context, "kill", NULL, NULL, NULL, 0), EINVAL);
    refused(asock_context_control(fixture.context, "kill", no_id, NULL, NULL, 0), EINVAL);
    refused(asock_context_control(fixture.context, "kill", word, NULL, NULL, 0), EINVAL);
    refused(asock_context_control(fixture.context, "kill", two, NULL, NULL, 0), EINVAL);
    refused(asock_context_control(fixture.context, "dance", id, NULL, NULL, 0), EINVAL);
    refused(asock_context_control(fixture.context, "kill", id, NULL, NULL, -1), EOPNOTSUPP);
    refused(asock_context_control(fixture.context, "reload", word, NULL, NULL, 0), EINVAL);
    refused(asock_context_control(fixture.context, "reload", NULL, NULL, NULL, -1), EOPNOTSUPP);
    refused(asock_context_control(fixture.context, "judge", no_value, NULL, NULL, 0), EINVAL);
    refused(asock_context_control(fixture.context, "judge", no_name, NULL, NULL, 0), EINVAL);
    refused(asock_context_control(fixture.context, "judge", no_number, NULL, NULL, 0), EINVAL);
    refused(asock_context_control(fixture.context, "judge", control, NULL, NULL, 0), EINVAL);
    refused(asock_context_control(fixture.context, "judge", NULL, NULL, NULL, -1), EINVAL);
    refused(asock_context_inspect(fixture.context, "learned", ignore_record, NULL, -1), EOPNOTSUPP);
    refused(asock_context_inspect(NULL, "stats", ignore_record, NULL, 0), EINVAL);
    refused(asock_context_inspect(fixture.context, NULL, ignore_record, NULL, 0), EINVAL);
    refused(asock_context_inspect(fixture.context, "stats", NULL, NULL, 0), EINVAL);
    refused(asock_context_inspect(fixture.context, "nonsense", ignore_record, NULL, 0), EINVAL);
    refused(asock_context_inspect(fixture.context, "show me", ignore_record, NULL, 0), EINVAL);
    refused(asock_context_inspect(fixture.context, "show -1", ignore_record, NULL, 0), EINVAL);
    refused(
        asock_context_inspect(fixture.context, "show 123456789", ignore_record, NULL, LIVENESS_MS),
        ESRCH);
    ck_assert_int_eq(asock_context_get_error(fixture.context), 0);
}
END_TEST

START_TEST(test_misuse_inspect_answers_in_time_or_not_at_all)
{
    private_daemon_freeze(fixture.daemon);
    refused(asock_context_inspect(fixture.context, "stats", ignore_record, NULL, 0), ETIMEDOUT);
    refused(asock_context_inspect(fixture.context, "stats", ignore_record, NULL, 20), ETIMEDOUT);
    private_daemon_thaw(fixture.daemon);
    /* The late answers have no effect. */
    ck_assert_int_eq(inspect_rows(fixture.context, "stats"), 1);
    ck_assert_int_eq(inspect_rows(fixture.context, "list"), 0);
}
END_TEST

START_TEST(test_misuse_socket_calls)
{
    asock_socket *untouched = (asock_socket *)(uintptr_t)1, *sock = untouched;
    int token;

    refused(asock_socket_new(fixture.context, AF_UNIX, &sock), EAFNOSUPPORT);
    refused(asock_socket_new(fixture.context, 12345, &sock), EAFNOSUPPORT);
    refused(asock_socket_new(NULL, AF_INET, &sock), EINVAL);
    refused(asock_socket_new(fixture.context, AF_INET, NULL), EINVAL);
    ck_assert_ptr_eq(sock, untouched);
    ck_assert_ptr_null(asock_socket_unref(NULL));
    sock = new_socket(AF_INET);
    ck_assert_ptr_eq(asock_socket_ref(sock), sock);
    ck_assert_ptr_null(asock_socket_unref(sock));
    ck_assert_ptr_eq(asock_socket_get_context(sock), fixture.context);
    ck_assert_uint_gt(asock_socket_get_id(sock), 0);
    ck_assert_ptr_null(asock_socket_get_userdata(sock));
    ck_assert_int_eq(asock_socket_set_userdata(sock, &token), 0);
    ck_assert_ptr_eq(asock_socket_get_userdata(sock), &token);
    refused(asock_socket_set_userdata(NULL, &token), EINVAL);
    asock_socket_unref(sock);
}
END_TEST

START_TEST(test_misuse_op_buffers)
{
    asock_op *op = new_op();
    char byte;
    struct iovec list[2] = {{.iov_base = &byte, .iov_len = SSIZE_MAX},
                            {.iov_base = &byte, .iov_len = 1}};
    struct iovec hole[1] = {{.iov_base = NULL, .iov_len = 1}};

    refused(asock_op_set_buffer(NULL, &byte, 1), EINVAL);
    refused(asock_op_set_buffer(op, NULL, 1), EINVAL);
    refused(asock_op_set_buffer(op, &byte, (size_t)SSIZE_MAX + 1), EINVAL);
    refused(asock_op_set_buffers(NULL, list, 1), EINVAL);
    refused(asock_op_set_buffers(op, NULL, 1), EINVAL);
    refused(asock_op_set_buffers(op, list, 2), EINVAL);
    refused(asock_op_set_buffers(op, hole, 1), EINVAL);
    ck_assert_int_eq(asock_op_set_buffer(op, NULL, 0), 0);
    ck_assert_int_eq(asock_op_set_buffers(op, NULL, 0), 0);
    asock_op_unref(op);
}
END_TEST

static struct sockaddr_in some_addr(void)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

START_TEST(test_misuse_op_destination)
{
    asock_op *op = new_op();
    struct sockaddr_in addr = some_addr();
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    char host[255], service[34];

    memset(host, 'h', sizeof(host));
    memset(service, '1', sizeof(service));
    host[254] = service[33] = '\0';
    refused(asock_op_set_endpoint(NULL, (struct sockaddr *)&addr, sizeof(addr)), EINVAL);
    refused(asock_op_set_endpoint(op, NULL, sizeof(addr)), EINVAL);
    refused(asock_op_set_endpoint(op, (struct sockaddr *)&addr, sizeof(addr) - 1), EINVAL);
    refused(asock_op_set_endpoint(op, (struct sockaddr *)&addr, 0), EINVAL);
    refused(asock_op_set_endpoint(op, (struct sockaddr *)&local, sizeof(local)), EAFNOSUPPORT);
    refused(asock_op_set_host(NULL, "localhost", "80"), EINVAL);
    refused(asock_await_hangup(NULL, op), EINVAL);
    refused(asock_resolve(fixture.context, op, NULL, AF_UNSPEC), EINVAL);
    refused(asock_resolve(fixture.context, op, "", AF_UNSPEC), EINVAL);
    refused(asock_resolve(fixture.context, op, host, AF_UNSPEC), EINVAL);
    refused(asock_resolve(fixture.context, op, "a\nb", AF_UNSPEC), EINVAL);
    refused(asock_resolve(fixture.context, op, "localhost", AF_UNIX), EAFNOSUPPORT);
    refused(asock_resolve(fixture.context, NULL, "localhost", AF_UNSPEC), EINVAL);
    refused(asock_resolve(NULL, op, "localhost", AF_UNSPEC), EINVAL);
    refused(asock_lookup(NULL, "localhost", AF_UNSPEC, 0, NULL, 0), EINVAL);
    refused(asock_lookup(fixture.context, "localhost", AF_UNSPEC, 0, NULL, 1), EINVAL);
    refused(asock_op_set_host(op, NULL, "80"), EINVAL);
    refused(asock_op_set_host(op, "localhost", NULL), EINVAL);
    refused(asock_op_set_host(op, "", "80"), EINVAL);
    refused(asock_op_set_host(op, "localhost", ""), EINVAL);
    refused(asock_op_set_host(op, host, "80"), EINVAL);
    refused(asock_op_set_host(op, "localhost", service), EINVAL);
    refused(asock_op_set_host(op, "local\nhost", "80"), EINVAL);
    host[253] = service[32] = '\0';
    ck_assert_int_eq(asock_op_set_host(op, host, service), 0);
    asock_op_unref(op);
}
END_TEST

START_TEST(test_misuse_op_setters)
{
    asock_op *op = new_op(), *untouched = (asock_op *)(uintptr_t)1, *other = untouched;

    refused(asock_op_new(NULL, &other), EINVAL);
    refused(asock_op_new(fixture.context, NULL), EINVAL);
    ck_assert_ptr_eq(other, untouched);
    refused(asock_op_set_callback(NULL, count_callback, NULL), EINVAL);
    refused(asock_op_set_timeout(NULL, 1), EINVAL);
    refused(asock_op_set_flags(NULL, 0), EINVAL);
    refused(asock_op_set_flags(op, 64), EINVAL);
    refused(asock_op_set_flags(op, ASOCK_LEND | ASOCK_LEND_GIVEN), EINVAL);
    refused(asock_op_set_flags(op, 1u << 31), EINVAL);
    ck_assert_int_eq(asock_op_set_flags(op, ASOCK_PEEK | ASOCK_WAIT_ALL | ASOCK_ERRORS_ONLY), 0);
    ck_assert_ptr_null(asock_op_unref(NULL));
    asock_op_unref(op);
}
END_TEST

START_TEST(test_misuse_results_of_an_op_never_submitted)
{
    asock_op *op = new_op();
    struct sockaddr_storage addr;
    int64_t value;

    ck_assert_int_eq(asock_op_get_operation(op), ASOCK_OPERATION_NONE);
    ck_assert(!asock_op_is_pending(op));
    refused(asock_op_get_error(op), EINPROGRESS);
    ck_assert_uint_eq(asock_op_get_bytes(op), 0);
    ck_assert_uint_eq(asock_op_get_result_flags(op), 0);
    ck_assert_ptr_null(asock_op_get_socket(op));
    ck_assert_ptr_null(asock_op_get_userdata(op));
    ck_assert_ptr_null(asock_op_get_text(op));
    refused(asock_op_get_local(op, &addr), ENODATA);
    refused(asock_op_get_remote(op, &addr), ENODATA);
    refused(asock_op_get_value(op, &value), ENODATA);
    refused(asock_cancel(op), ENOENT);
    refused(asock_op_wait(op, 0), EINVAL);
    refused(asock_cancel(NULL), EINVAL);
    refused(asock_op_wait(NULL, 0), EINVAL);
    asock_op_unref(op);
}
END_TEST

/* Every submission with one argument missing, foreign or out of range. */
static void refuse_all(asock_socket *sock, asock_op *op, asock_op *foreign)
{
    asock_op *const ops[] = {NULL, foreign};

    for (size_t i = 0; i < 2; i++) {
        refused(asock_connect(sock, ops[i]), EINVAL);
        refused(asock_send(sock, ops[i]), EINVAL);
        refused(asock_receive(sock, ops[i]), EINVAL);
        refused(asock_shutdown(sock, ops[i], ASOCK_SHUTDOWN_SEND), EINVAL);
        refused(asock_set_option(sock, ops[i], ASOCK_OPTION_NO_DELAY, 1), EINVAL);
        refused(asock_get_option(sock, ops[i], ASOCK_OPTION_NO_DELAY), EINVAL);
        refused(asock_sync(fixture.context, ops[i]), EINVAL);
    }
    refused(asock_close(sock, foreign, 0), EINVAL);
    refused(asock_connect(NULL, op), EINVAL);
    refused(asock_send(NULL, op), EINVAL);
    refused(asock_receive(NULL, op), EINVAL);
    refused(asock_shutdown(NULL, op, ASOCK_SHUTDOWN_SEND), EINVAL);
    refused(asock_close(NULL, op, 0), EINVAL);
    refused(asock_set_option(NULL, op, ASOCK_OPTION_NO_DELAY, 1), EINVAL);
    refused(asock_get_option(NULL, op, ASOCK_OPTION_NO_DELAY), EINVAL);
    refused(asock_sync(NULL, op), EINVAL);
}

START_TEST(test_misuse_submissions)
{
    struct pair pair = new_pair(AF_INET);
    asock_context *context = new_context();
    asock_op *op = new_op(), *foreign = new_op_of(context);
    struct sockaddr_in addr = some_addr();
    char byte = 'x', got;

    ck_assert_int_eq(asock_op_set_buffer(foreign, &byte, 1), 0);
    asock_op_set_endpoint(foreign, (struct sockaddr *)&addr, sizeof(addr));
    refuse_all(pair.socket, op, foreign);
    refused(asock_connect(pair.socket, op), EINVAL); /* names no destination */
    refused(asock_shutdown(pair.socket, op, (enum asock_how)0), EINVAL);
    refused(asock_shutdown(pair.socket, op, (enum asock_how)4), EINVAL);
    refused(asock_close(pair.socket, op, -2), EINVAL);
    /* Nothing has happened: not to the socket, not to the ops. */
    ck_assert_int_eq(asock_op_set_buffer(op, &byte, 1), 0);
    pending(asock_send(pair.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 1);
    remote_read(pair.peer, &got, 1);
    asock_op_unref(op);
    asock_op_unref(foreign);
    asock_context_unref(context);
    pair_close(&pair);
}
END_TEST

START_TEST(test_misuse_begin_and_helpers)
{
    asock_socket *sock = new_socket(AF_INET), *dialed;
    struct sockaddr_in addr = some_addr();
    char byte = 'x';
    asock_op *op = (asock_op *)(void *)&byte;

    refused(asock_begin_connect(NULL, (struct sockaddr *)&addr, sizeof(addr), NULL, NULL, &op),
            EINVAL);
    ck_assert_ptr_null(op);
    refused(asock_begin_connect(sock, NULL, 0, NULL, NULL, &op), EINVAL);
    refused(asock_begin_connect(sock, (struct sockaddr *)&addr, 3, NULL, NULL, &op), EINVAL);
    refused(asock_begin_connect(sock, (struct sockaddr *)&addr, sizeof(addr), NULL, NULL, NULL),
            EINVAL);
    refused(asock_begin_connect_host(sock, NULL, "1", NULL, NULL, &op), EINVAL);
    refused(asock_begin_connect_host(sock, "localhost", NULL, NULL, NULL, &op), EINVAL);
    refused(asock_begin_send(sock, NULL, 1, NULL, NULL, &op), EINVAL);
    refused(asock_begin_send(NULL, &byte, 1, NULL, NULL, &op), EINVAL);
    refused(asock_begin_send(sock, &byte, 1, NULL, NULL, NULL), EINVAL);
    refused(asock_begin_receive(sock, NULL, 1, NULL, NULL, &op), EINVAL);
    refused(asock_begin_receive(NULL, &byte, 1, NULL, NULL, &op), EINVAL);
    refused(asock_end(NULL, NULL), EINVAL);
    refused(asock_dial(NULL, "localhost", "1", 0, &dialed), EINVAL);
    refused(asock_dial(fixture.context, NULL, "1", 0, &dialed), EINVAL);
    refused(asock_dial(fixture.context, "localhost", NULL, 0, &dialed), EINVAL);
    refused(asock_dial(fixture.context, "localhost", "1", 0, NULL), EINVAL);
    refused(asock_send_all(NULL, &byte, 1, 0), EINVAL);
    refused(asock_send_all(sock, NULL, 1, 0), EINVAL);
    refused(asock_receive_some(NULL, &byte, 1, 0), EINVAL);
    refused(asock_receive_some(sock, NULL, 1, 0), EINVAL);
    refused(asock_send_all(sock, &byte, 1, -1), ENOTCONN);
    refused(asock_receive_some(sock, &byte, 1, -1), ENOTCONN);
    asock_socket_unref(sock);
}
END_TEST

START_TEST(test_errors_have_names_texts_and_numbers)
{
    ck_assert_str_eq(asock_error_name(ASOCK_CONNECTION_REFUSED), "ConnectionRefused");
    ck_assert_int_eq(asock_error_errno(ASOCK_CONNECTION_REFUSED), ECONNREFUSED);
    ck_assert_int_eq(asock_error_errno(ASOCK_SUCCESS), 0);
    for (int error = ASOCK_SUCCESS; error <= ASOCK_NOT_FOUND; error++) {
        ck_assert_ptr_nonnull(asock_strerror(error));
        ck_assert_str_ne(asock_error_name(error), "Unknown");
        ck_assert_int_eq(asock_error_errno(error) == 0, error == 0);
    }
    for (int i = 0; i < 3; i++) {
        int wrong = (int[]){-1, 1000, INT_MIN}[i];

        ck_assert_str_eq(asock_error_name(wrong), "Unknown");
        ck_assert_str_eq(asock_strerror(wrong), "unknown error");
        ck_assert_int_eq(asock_error_errno(wrong), EIO);
    }
    ck_assert_ptr_nonnull(strchr(asock_version(), '.'));
}
END_TEST
