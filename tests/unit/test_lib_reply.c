/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the library makes of what the daemon says. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/suite.h"
#include "tests/unit/fake_daemon.h"

#define MIB (1024u * 1024u)

static bool has_no_memory; /* for the copy of a text */

char *strdup(const char *text)
{
    size_t len = strlen(text) + 1;
    char *copy = has_no_memory ? NULL : malloc(len);

    return copy ? memcpy(copy, text, len) : NULL;
}

static struct reply completion_of(const struct request *request)
{
    return (struct reply){
        .kind = KIND_COMPLETION, .op = request->op, .socket = request->socket, .ops_freed = 1};
}

/* ------------------------------------------------------------------------------------- receive */

TEST_FIXTURE_TIMEOUT(fake_setup, fake_teardown, 120);

START_TEST(test_a_large_receive_fills_its_list_front_to_back)
{
    size_t len = FRAME_PAYLOAD_MAX;
    uint8_t *data = malloc(len), *into = calloc(1, len + 10);
    struct iovec list[4] = {{into, 1}, {NULL, 0}, {into + 1, 4999}, {into + 5000, len + 5 - 5000}};
    asock_socket *socket;
    asock_op *op = fake_op(NULL, 0), *next = fake_op(into + len + 5, 5);
    struct reply reply;

    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 31 + i / 257);
    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    ck_assert_int_eq(asock_op_set_buffers(op, list, 4), 0);
    ck_assert_int_eq(asock_receive(socket, op), 1);
    reply = completion_of(fake_expect(VERB_RECEIVE));
    ck_assert_uint_eq(fake.request.receive.length, len + 5);
    reply.bytes = len;
    fake_reply(&reply, data, len);
    ck_assert_int_eq(asock_receive(socket, next), 1);
    reply = completion_of(fake_expect(VERB_RECEIVE));
    reply.bytes = 3;
    reply.flags = REPLY_END_OF_STREAM;
    fake_reply(&reply, "end", 3);
    ck_assert_int_eq(fake_end(op), ASOCK_SUCCESS);
    ck_assert_uint_eq(asock_op_get_bytes(op), len);
    ck_assert_uint_eq(asock_op_get_result_flags(op), 0);
    ck_assert(memcmp(into, data, len) == 0);
    ck_assert_int_eq(fake_end(next), ASOCK_SUCCESS);
    ck_assert_uint_eq(asock_op_get_bytes(next), 3);
    ck_assert_uint_eq(asock_op_get_result_flags(next), ASOCK_END_OF_STREAM);
    ck_assert(memcmp(into + len + 5, "end", 3) == 0);
    asock_op_unref(op);
    asock_op_unref(next);
    asock_socket_unref(socket);
    free(data);
    free(into);
}
END_TEST

START_TEST(test_s35_wait_all_comes_in_pieces_and_keeps_them_on_failure)
{
    char into[10] = {0};
    asock_socket *socket;
    asock_op *op = fake_op(into, sizeof(into));
    struct reply reply;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    ck_assert_int_eq(asock_op_set_flags(op, ASOCK_WAIT_ALL), 0);
    ck_assert_int_eq(asock_receive(socket, op), 1);
    reply = completion_of(fake_expect(VERB_RECEIVE));
    ck_assert_uint_eq(fake.request.receive.flags, RECEIVE_WAIT_ALL);
    reply.flags = REPLY_MORE;
    reply.ops_freed = 0;
    fake_reply(&reply, "abc", 3);
    fake_reply(&reply, "def", 3);
    fake_process();
    ck_assert(asock_op_is_pending(op));
    reply.flags = 0;
    reply.ops_freed = 1;
    reply.bytes = 6;
    reply.error = ERR_TIMED_OUT;
    fake_reply(&reply, "too slow", 8);
    ck_assert_int_eq(fake_end(op), ASOCK_TIMED_OUT);
    ck_assert_uint_eq(asock_op_get_bytes(op), 6);
    ck_assert_str_eq(asock_op_get_text(op), "too slow");
    ck_assert(memcmp(into, "abcdef\0\0\0\0", 10) == 0);
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

/* ---------------------------------------------------------------------------------- errors only */

static asock_op *quiet(asock_socket *socket, void *data, size_t len)
{
    asock_op *op = fake_op(data, len);

    ck_assert_int_eq(asock_op_set_flags(op, ASOCK_ERRORS_ONLY), 0);
    ck_assert_int_eq(asock_send(socket, op), 1);
    ck_assert_uint_eq(fake_expect(VERB_SEND)->flags, REQUEST_ERRORS_ONLY);
    return op;
}

START_TEST(test_s8_success_is_implied_by_the_next_completion)
{
    char c = 'c';
    asock_socket *socket;
    asock_op *a, *b, *last = fake_op(&c, 1), *later;
    struct request told;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    a = quiet(socket, &c, 1);
    b = quiet(socket, &c, 1);
    ck_assert_int_eq(asock_send(socket, last), 1);
    told = *fake_expect(VERB_SEND);
    ck_assert_uint_eq(told.flags, 0);
    later = quiet(socket, &c, 1);
    fake_complete_free(&told, 0, 1, 3, 3);
    ck_assert_int_eq(fake_end(last), ASOCK_SUCCESS);
    ck_assert_int_eq(asock_op_get_error(a), ASOCK_SUCCESS);
    ck_assert_int_eq(asock_op_get_error(b), ASOCK_SUCCESS);
    ck_assert_uint_eq(asock_op_get_bytes(b), 1);
    ck_assert_int_eq(asock_op_get_error(later), -EINPROGRESS);
    asock_op_unref(a);
    asock_op_unref(b);
    asock_op_unref(last);
    asock_op_unref(later);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_s8_failure_is_told_and_the_rest_implied_by_close)
{
    char c = 'c';
    asock_socket *socket;
    asock_op *a, *b, *close = fake_op(NULL, 0);
    struct request second;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    a = quiet(socket, &c, 1);
    b = quiet(socket, &c, 1);
    second = fake.request;
    ck_assert_int_eq(asock_close(socket, close, 0), 1);
    fake_complete_free(&second, ERR_OPERATION_ABORTED, 0, 1, 1);
    fake_complete_free(fake_expect(VERB_CLOSE), 0, 0, 0, 0);
    ck_assert_int_eq(fake_end(close), ASOCK_SUCCESS);
    ck_assert_int_eq(asock_op_get_error(a), ASOCK_SUCCESS);
    ck_assert_int_eq(asock_op_get_error(b), ASOCK_OPERATION_ABORTED);
    asock_op_unref(a);
    asock_op_unref(b);
    asock_op_unref(close);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_s8_waiting_asks_the_daemon)
{
    char c = 'c';
    asock_socket *socket;
    asock_op *send, *option = fake_op(NULL, 0), *waiting = fake_op(&c, 1);

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    send = quiet(socket, &c, 1);
    ck_assert_int_eq(asock_op_wait(send, 0), -ETIMEDOUT);
    ck_assert_int_eq(asock_op_wait(send, 0), -ETIMEDOUT);
    fake_expect(VERB_SEND);
    ck_assert_uint_eq(fake.payload_len, 0);
    ck_assert_uint_eq(fake.request.flags, 0);
    fake_complete_free(&fake.request, 0, 0, 1, 2);
    ck_assert(fake_is_silent());
    ck_assert_int_eq(asock_op_wait(send, -1), 0);
    ck_assert_int_eq(asock_op_get_error(send), ASOCK_SUCCESS);

    ck_assert_int_eq(asock_op_set_flags(option, ASOCK_ERRORS_ONLY), 0);
    ck_assert_int_eq(asock_set_option(socket, option, ASOCK_OPTION_NO_DELAY, 1), 1);
    fake_expect(VERB_SET_OPTION);
    ck_assert_int_eq(asock_op_wait(option, 0), -ETIMEDOUT);
    fake_complete_free(fake_expect(VERB_SYNC), 0, 0, 0, 0);
    ck_assert_int_eq(asock_op_wait(option, -1), 0);

    /* What has not left yet simply loses the flag. */
    ck_assert_int_eq(asock_op_set_flags(waiting, ASOCK_ERRORS_ONLY), 0);
    ck_assert_int_eq(asock_send(socket, waiting), 1);
    ck_assert_int_eq(asock_op_wait(waiting, 0), -ETIMEDOUT);
    ck_assert_uint_eq(fake_expect(VERB_SEND)->flags, 0);
    fake_complete(&fake.request, 0, 1);
    ck_assert_int_eq(asock_op_wait(waiting, -1), 0);
    asock_op_unref(send);
    asock_op_unref(option);
    asock_op_unref(waiting);
    asock_socket_unref(socket);
}
END_TEST

/*
 * While a shutdown is pending the daemon takes no send, so success is reported when the shutdown
 * has ended, with any result.
 */
START_TEST(test_s8_asks_again_when_a_shutdown_has_failed)
{
    char c = 'c';
    asock_socket *socket;
    asock_op *send, *shutdown = fake_op(NULL, 0);
    struct request told;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    send = quiet(socket, &c, 1);
    ck_assert_int_eq(asock_shutdown(socket, shutdown, ASOCK_SHUTDOWN_SEND), 1);
    told = *fake_expect(VERB_SHUTDOWN);
    asock_socket_unref(socket);
    fake_complete_free(fake_expect(VERB_SEND), ERR_SHUTDOWN, 0, 0, 1);
    fake_process();
    ck_assert(asock_op_is_pending(send));
    fake_complete(&told, ERR_TIMED_OUT, 0);
    ck_assert_int_eq(fake_end(shutdown), ASOCK_TIMED_OUT);
    fake_complete_free(fake_expect(VERB_SEND), 0, 0, 1, 2);
    ck_assert_int_eq(fake_end(send), ASOCK_SUCCESS);
    asock_op_unref(send);
    asock_op_unref(shutdown);
}
END_TEST

/* A later send that fails without a byte may have overtaken: it implies nothing. */
START_TEST(test_s8_a_later_failure_implies_nothing)
{
    char c = 'c';
    asock_socket *socket;
    asock_op *a, *b, *late = fake_op(&c, 1), *receive = fake_op(&c, 1);
    struct request told, second;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    ck_assert_int_eq(asock_receive(socket, receive), 1);
    fake_expect(VERB_RECEIVE);
    a = quiet(socket, &c, 1);
    b = quiet(socket, &c, 1);
    second = fake.request;
    ck_assert_int_eq(asock_send(socket, late), 1);
    told = *fake_expect(VERB_SEND);
    fake_complete_free(&told, ERR_TIMED_OUT, 0, 1, 1);
    ck_assert_int_eq(fake_end(late), ASOCK_TIMED_OUT);
    ck_assert(asock_op_is_pending(a));
    /* Asked, the daemon refuses; what it says that is free tells that one of them has ended. */
    ck_assert_int_eq(asock_op_wait(a, 0), -ETIMEDOUT);
    fake_complete_free(fake_expect(VERB_SEND), ERR_OPERATION_ABORTED, 0, 1, 2);
    ck_assert_int_eq(asock_op_wait(a, -1), 0);
    ck_assert_int_eq(asock_op_get_error(a), ASOCK_SUCCESS);
    ck_assert(asock_op_is_pending(b));
    fake_complete(&second, ERR_CONNECTION_RESET, 0);
    ck_assert_int_eq(fake_end(b), ASOCK_CONNECTION_RESET);
    asock_op_unref(a);
    asock_op_unref(b);
    asock_op_unref(late);
    asock_op_unref(receive);
    asock_socket_unref(socket);
}
END_TEST

/* ------------------------------------------------------------------------------------- results */

START_TEST(test_results_of_a_connect)
{
    struct sockaddr_storage addr;
    asock_socket *socket;
    asock_op *op = fake_op(NULL, 0);
    struct reply reply;

    fake_welcome(0, 0, 0, 0);
    socket = fake_socket();
    ck_assert_int_eq(asock_op_set_host(op, "a", "1"), 0);
    ck_assert_int_eq(asock_connect(socket, op), 1);
    fake_expect(VERB_OPEN);
    reply = completion_of(fake_expect(VERB_CONNECT));
    ck_assert_int_eq(asock_op_get_remote(op, &addr), -ENODATA);
    reply.error = ERR_CONNECTION_REFUSED;
    reply.body = BODY_CONNECTED;
    reply.connected.connect_error = ERR_HOST_UNREACHABLE;
    reply.connected.remote = (struct endpoint){.address = {127, 0, 0, 1}, .address_len = 4};
    reply.connected.remote.port = 80;
    fake_reply(&reply, "no \x01text", 8); /* not a text for people */
    ck_assert_int_eq(fake_end(op), ASOCK_CONNECTION_REFUSED);
    ck_assert_int_eq(asock_op_get_connect_error(op), ASOCK_HOST_UNREACHABLE);
    ck_assert_ptr_null(asock_op_get_text(op));
    ck_assert_int_gt(asock_op_get_remote(op, &addr), 0);
    ck_assert_int_eq(addr.ss_family, AF_INET);
    ck_assert_int_eq(asock_op_get_local(op, &addr), -ENODATA);
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

static void count_rows(const struct asock_field *fields, size_t count, void *userdata)
{
    int *rows = userdata;

    ck_assert_uint_eq(count, 2);
    ck_assert_str_eq(fields[0].name, "id");
    ck_assert_ptr_null(fields[0].text);
    ck_assert_int_eq(fields[0].number, *rows);
    ck_assert_str_eq(fields[1].text, "text");
    ++*rows;
}

START_TEST(test_inspection_gives_a_row_at_a_time)
{
    uint8_t record[200];
    int rows = 0;
    struct reply reply;

    fake_welcome(0, 0, 0, 0);
    ck_assert_int_eq(asock_context_inspect(fake.context, "nothing", count_rows, &rows, -1),
                     -EINVAL);
    ck_assert_int_eq(asock_context_inspect(fake.context, "show x", count_rows, &rows, -1), -EINVAL);
    /* The question leaves, and no answer comes in time. */
    ck_assert_int_eq(asock_context_inspect(fake.context, "show 7", count_rows, &rows, 0),
                     -ETIMEDOUT);
    ck_assert_uint_eq(fake_expect(VERB_SHOW)->show.id, 7);
    reply = completion_of(&fake.request);
    reply.flags = REPLY_MORE;
    fake_reply(&reply, "late", 4);
    reply.flags = 0;
    fake_reply(&reply, NULL, 0);
    fake_process();
    /* The answer waits already when the question is asked: tokens are reported in order. */
    ck_assert_int_eq(asock_context_inspect(fake.context, "list", count_rows, &rows, 0), -ETIMEDOUT);
    fake_expect(VERB_LIST);
    reply = completion_of(&fake.request);
    for (int i = 0; i < 3; i++) {
        struct field fields[2] = {{"id", NULL, i}, {"text", "text", 0}};
        long n = asock_codec_encode_record(fields, 2, record, sizeof(record));

        reply.flags = i < 2 ? REPLY_MORE : 0;
        fake_reply(&reply, record, (size_t)n);
    }
    fake_process();
    ck_assert_int_eq(asock_context_get_error(fake.context), 0);
}
END_TEST

/* ------------------------------------------------------------------------------------- resolve */

static struct reply resolve(asock_op *op)
{
    ck_assert_int_eq(asock_resolve(fake.context, op, "host.test", AF_INET), 1);
    fake_expect(VERB_RESOLVE);
    ck_assert_str_eq(fake.request.resolve.host, "host.test");
    ck_assert_uint_eq(fake.request.resolve.family, FAMILY_INET);
    ck_assert_uint_eq(fake.request.socket, 0);
    return (struct reply){.kind = KIND_COMPLETION, .op = fake.request.op};
}

START_TEST(test_s58_an_older_daemon_is_not_asked)
{
    asock_op *op = fake_op(NULL, 0);

    fake_welcome(0, 0, 0, 0);
    ck_assert_int_eq(asock_resolve(fake.context, op, "host.test", AF_INET), 0);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_OPERATION_NOT_SUPPORTED);
    ck_assert(fake_is_silent());
    ck_assert_int_eq(asock_lookup(fake.context, "host.test", AF_INET, -1, NULL, 0), -EOPNOTSUPP);
    asock_op_unref(op);
}
END_TEST

START_TEST(test_s60_an_older_daemon_is_not_asked)
{
    asock_op *op = fake_op(NULL, 0);
    asock_socket *socket;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    ck_assert_int_eq(asock_await_hangup(socket, op), 0);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_OPERATION_NOT_SUPPORTED);
    ck_assert(fake_is_silent());
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_s58_a_daemon_whose_welcome_is_not_there_is_asked)
{
    asock_op *op = fake_op(NULL, 0);

    ck_assert_int_eq(asock_resolve(fake.context, op, "host.test", AF_INET), 1);
    fake_welcome(0, 0, 0, 0);
    fake_complete(fake_expect(VERB_RESOLVE), ERR_OPERATION_NOT_SUPPORTED, 0);
    ck_assert_int_eq(fake_end(op), ASOCK_OPERATION_NOT_SUPPORTED);
    asock_op_unref(op);
}
END_TEST

START_TEST(test_s58_addresses_of_an_answer)
{
    static const uint8_t answer[] = {0x0a, 0x06, 0x0a, 0x04, 192, 0, 2, 1};
    asock_op *op = fake_op(NULL, 0);
    struct sockaddr_storage addr;
    struct reply reply;

    fake.verbs = UINT64_C(1) << VERB_RESOLVE;
    fake_welcome(0, 0, 0, 0);
    reply = resolve(op);
    fake_reply(&reply, answer, sizeof(answer));
    ck_assert_int_eq(fake_end(op), ASOCK_SUCCESS);
    ck_assert_uint_eq(asock_op_get_address_count(op), 1);
    ck_assert_int_eq(asock_op_get_address(op, 0, &addr), sizeof(struct sockaddr_in));
    reply = resolve(op);
    ck_assert_uint_eq(asock_op_get_address_count(op), 0);
    reply.error = ERR_ACCESS_DENIED;
    fake_reply(&reply, "no", 2);
    ck_assert_int_eq(fake_end(op), ASOCK_ACCESS_DENIED);
    ck_assert_str_eq(asock_op_get_text(op), "no");
    ck_assert_uint_eq(asock_op_get_address_count(op), 0);
    asock_op_unref(op);
}
END_TEST

static const struct {
    const char *what;
    size_t len;
    uint32_t flags;
} no_answers[] = {
    {"", 0, 0},
    {"\x0a\x05\x0a\x03...", 7, 0},
    {"\x0a\x06\x0a\x04....", 8, REPLY_MORE},
    {"nonsense", 8, 0},
};

START_LOOP_TEST(test_s58_an_answer_that_is_none_ends_the_session, 0, 4)
{
    asock_op *op = fake_op(NULL, 0);
    struct reply reply;

    fake.verbs = UINT64_C(1) << VERB_RESOLVE;
    fake_welcome(0, 0, 0, 0);
    reply = resolve(op);
    reply.flags = no_answers[_i].flags;
    fake_reply(&reply, no_answers[_i].what, no_answers[_i].len);
    ck_assert_int_eq(fake_end(op), ASOCK_CONNECTION_ABORTED);
    ck_assert_int_eq(asock_context_get_error(fake.context), ASOCK_PROTOCOL_ERROR);
    asock_op_unref(op);
}
END_TEST

static struct reply share(asock_op *op)
{
    ck_assert_int_eq(asock_share(fake.context, op), 1);
    return completion_of(fake_expect(VERB_SHARE));
}

static void shared(const struct reply *reply, const char *directory)
{
    const struct field field = {.name = "directory", .text = directory};
    uint8_t record[100];
    long n = asock_codec_encode_record(&field, 1, record, sizeof(record));

    fake_reply(reply, record, (size_t)n);
}

/* The CANCEL of that SHARE, and its answer. */
static struct reply unshare(const struct reply *of, uint32_t flags)
{
    struct reply reply = completion_of(fake_expect(VERB_CANCEL));

    ck_assert_uint_eq(fake.request.cancel.target, of->op);
    ck_assert(fake.request.cancel.unshare);
    reply.flags = flags;
    return reply;
}

START_TEST(test_s59_a_path_without_memory_ends_the_share_alone)
{
    asock_op *op = fake_op(NULL, 0);
    struct reply reply, answer;

    fake.verbs = UINT64_MAX;
    fake_welcome(0, 0, 0, 0);
    has_no_memory = true;
    reply = share(op);
    shared(&reply, "/run/asockd/share/1");
    asock_context_process(fake.context);
    answer = unshare(&reply, REPLY_FOUND); /* nobody could name the listener */
    ck_assert_int_eq(asock_op_get_error(op), -EINPROGRESS);
    has_no_memory = false;
    fake_reply(&answer, NULL, 0);
    ck_assert_int_eq(fake_end(op), ASOCK_NO_BUFFER_SPACE);
    ck_assert_int_eq(asock_context_get_error(fake.context), 0);
    reply = share(op);
    shared(&reply, "/run/asockd/share/1");
    ck_assert_int_eq(fake_end(op), ASOCK_SUCCESS);
    ck_assert_str_eq(asock_op_get_directory(op), "/run/asockd/share/1");
    asock_op_unref(op);
}
END_TEST

/* Success and CANCEL cross. An older daemon leaves the listener, and the program gets it. */
START_LOOP_TEST(test_s59_a_share_that_is_cancelled_too_late_ends_with_the_answer_to_that, 0, 2)
{
    asock_op *op = fake_op(NULL, 0);
    struct reply reply, answer;

    fake.verbs = UINT64_MAX;
    fake_welcome(0, 0, 0, 0);
    reply = share(op);
    ck_assert_int_eq(asock_cancel(op), 0);
    answer = unshare(&reply, _i == 0 ? REPLY_FOUND : 0);
    shared(&reply, "/run/asockd/share/1");
    asock_context_process(fake.context);
    ck_assert_int_eq(asock_op_get_error(op), -EINPROGRESS);
    ck_assert_int_eq(asock_cancel(op), 0);
    asock_context_process(fake.context);
    ck_assert(fake_is_silent());
    fake_reply(&answer, NULL, 0);
    ck_assert_int_eq(fake_end(op), _i == 0 ? ASOCK_OPERATION_ABORTED : ASOCK_SUCCESS);
    ck_assert_ptr_null(asock_op_get_text(op));
    ck_assert((asock_op_get_directory(op) != NULL) == (_i == 1));
    asock_op_unref(op);
}
END_TEST

/* The program has let go of it: only its flight keeps it until then. */
START_TEST(test_s59_a_share_that_nobody_keeps_ends_with_that_answer)
{
    asock_op *op = fake_op(NULL, 0);
    struct reply reply, answer;

    fake.verbs = UINT64_MAX;
    fake_welcome(0, 0, 0, 0);
    reply = share(op);
    ck_assert_int_eq(asock_cancel(op), 0);
    answer = unshare(&reply, REPLY_FOUND);
    shared(&reply, "/run/asockd/share/1");
    asock_context_process(fake.context);
    asock_op_unref(op);
    fake_reply(&answer, NULL, 0);
    fake_process();
    ck_assert_int_eq(asock_context_get_error(fake.context), 0);
}
END_TEST

START_LOOP_TEST(test_s59_a_share_that_waits_for_that_ends_with_the_session, 0, 2)
{
    asock_op *op = fake_op(NULL, 0);
    struct reply reply;

    fake.verbs = UINT64_MAX;
    fake_welcome(0, 0, 0, 0);
    reply = share(op);
    ck_assert_int_eq(asock_cancel(op), 0);
    unshare(&reply, 0);
    shared(&reply, "/run/asockd/share/1");
    if (_i == 0)
        shared(&reply, "/run/asockd/share/1"); /* twice */
    else
        ck_assert_int_eq(shutdown(fake.fd, SHUT_RDWR), 0);
    ck_assert_int_eq(fake_end(op), ASOCK_CONNECTION_ABORTED);
    ck_assert_int_eq(asock_context_get_error(fake.context),
                     _i == 0 ? ASOCK_PROTOCOL_ERROR : ASOCK_CONNECTION_ABORTED);
    ck_assert_ptr_null(asock_op_get_text(op));
    ck_assert_ptr_null(asock_op_get_directory(op));
    asock_op_unref(op);
}
END_TEST
