/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Options and inspection (S47, S48). */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct option_case {
    enum asock_option option;
    int64_t value, least, most;
};

static const struct option_case cases[] = {
    {ASOCK_OPTION_NO_DELAY, 0, 0, 1},
    {ASOCK_OPTION_KEEP_ALIVE, 1, 0, 1},
    {ASOCK_OPTION_KEEP_ALIVE_TIME, 1234, 1, 32767},
    {ASOCK_OPTION_KEEP_ALIVE_INTERVAL, 77, 1, 32767},
    {ASOCK_OPTION_KEEP_ALIVE_COUNT, 5, 1, 127},
    {ASOCK_OPTION_HOP_LIMIT, 17, 1, 255},
    {ASOCK_OPTION_TRAFFIC_CLASS, 0x20, 0, 255},
    {ASOCK_OPTION_REUSE_ADDRESS, 1, 0, 1},
    {ASOCK_OPTION_USER_TIMEOUT, 54321, 0, 2147483647},
    {ASOCK_OPTION_LINGER, 250, -1, 2147483647},
};

static void set_option(asock_socket *sock, enum asock_option option, int64_t value, int error)
{
    asock_op *op = new_op();

    submitted(asock_set_option(sock, op, option, value));
    ck_assert_int_eq(asock_op_wait(op, LIVENESS_MS), 0);
    ck_assert_msg(asock_op_get_error(op) == error, "option %d = %lld: %s instead of %s",
                  (int)option, (long long)value, asock_error_name(asock_op_get_error(op)),
                  asock_error_name(error));
    asock_op_unref(op);
}

static int64_t get_option(asock_socket *sock, enum asock_option option)
{
    asock_op *op = new_op();
    int64_t value = -2;

    submitted(asock_get_option(sock, op, option));
    expect(op, ASOCK_SUCCESS);
    ck_assert_int_eq(asock_op_get_value(op, &value), 0);
    asock_op_unref(op);
    return value;
}

static void set_and_read_all(asock_socket *sock)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t got;

        set_option(sock, cases[i].option, cases[i].value, ASOCK_SUCCESS);
        got = get_option(sock, cases[i].option);
        ck_assert_msg(got == cases[i].value, "option %d reads %lld, not %lld", (int)cases[i].option,
                      (long long)got, (long long)cases[i].value);
    }
}

/* Until something has arrived. */
static void wait_readable(asock_socket *sock)
{
    asock_op *op = new_op_with("", 0);

    submitted(asock_receive(sock, op));
    expect_bytes(op, ASOCK_SUCCESS, 0);
    asock_op_unref(op);
}

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_s47_options_are_readable_back_before_connect)
{
    asock_socket *sock = new_socket(AF_INET);

    set_and_read_all(sock);
    asock_socket_unref(sock);
}
END_TEST

START_TEST(test_s47_options_are_readable_back_after_connect)
{
    struct pair four = new_pair(AF_INET), six = new_pair(AF_INET6);

    set_and_read_all(four.socket);
    set_and_read_all(six.socket);
    pair_close(&four);
    pair_close(&six);
}
END_TEST

START_TEST(test_s47_no_delay_is_on_by_default)
{
    struct pair pair = new_pair(AF_INET);
    asock_socket *fresh = new_socket(AF_UNSPEC);

    ck_assert_int_eq(get_option(pair.socket, ASOCK_OPTION_NO_DELAY), 1);
    ck_assert_int_eq(get_option(fresh, ASOCK_OPTION_NO_DELAY), 1);
    asock_socket_unref(fresh);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s47_defaults_of_a_new_socket)
{
    struct pair pair = new_pair(AF_INET6);
    asock_socket *fresh = new_socket(AF_INET);

    ck_assert_int_eq(get_option(fresh, ASOCK_OPTION_KEEP_ALIVE), 0);
    ck_assert_int_eq(get_option(pair.socket, ASOCK_OPTION_KEEP_ALIVE), 0);
    ck_assert_int_eq(get_option(fresh, ASOCK_OPTION_LINGER), -1);
    ck_assert_int_eq(get_option(pair.socket, ASOCK_OPTION_LINGER), -1);
    asock_socket_unref(fresh);
    pair_close(&pair);
}
END_TEST

/* They can be set and read, whoever has closed or reset what. */
START_TEST(test_s47_options_after_the_peer_has_closed)
{
    struct pair gone = new_pair(AF_INET), reset = new_pair(AF_INET6);

    close(gone.peer);
    gone.peer = -1;
    remote_reset(reset.peer);
    reset.peer = -1;
    set_option(gone.socket, ASOCK_OPTION_LINGER, 1000, ASOCK_SUCCESS);
    ck_assert_int_eq(get_option(gone.socket, ASOCK_OPTION_LINGER), 1000);
    set_option(gone.socket, ASOCK_OPTION_KEEP_ALIVE, 1, ASOCK_SUCCESS);
    set_option(reset.socket, ASOCK_OPTION_LINGER, 1, ASOCK_SUCCESS);
    ck_assert_int_eq(get_option(reset.socket, ASOCK_OPTION_LINGER), 1);
    pair_close(&gone);
    pair_close(&reset);
}
END_TEST

START_TEST(test_s47_buffers_are_doubled_by_the_kernel)
{
    struct pair pair = new_pair(AF_INET);

    set_option(pair.socket, ASOCK_OPTION_SEND_BUFFER, 32768, ASOCK_SUCCESS);
    set_option(pair.socket, ASOCK_OPTION_RECEIVE_BUFFER, 16384, ASOCK_SUCCESS);
    ck_assert_int_eq(get_option(pair.socket, ASOCK_OPTION_SEND_BUFFER), 65536);
    ck_assert_int_eq(get_option(pair.socket, ASOCK_OPTION_RECEIVE_BUFFER), 32768);
    set_option(pair.socket, ASOCK_OPTION_SEND_BUFFER, 0, ASOCK_INVALID_ARGUMENT);
    set_option(pair.socket, ASOCK_OPTION_RECEIVE_BUFFER, -1, ASOCK_INVALID_ARGUMENT);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s48_available_counts_what_has_arrived)
{
    struct pair pair = new_pair(AF_INET6);
    asock_socket *fresh = new_socket(AF_INET);
    asock_op *op = new_op();
    char data[8];

    submitted(asock_get_option(fresh, op, ASOCK_OPTION_AVAILABLE));
    expect(op, ASOCK_NOT_CONNECTED);
    set_option(pair.socket, ASOCK_OPTION_AVAILABLE, 1, ASOCK_PROTOCOL_OPTION);
    ck_assert_int_eq(get_option(pair.socket, ASOCK_OPTION_AVAILABLE), 0);
    remote_write(pair.peer, "12345678", 8);
    wait_readable(pair.socket);
    ck_assert_int_eq(get_option(pair.socket, ASOCK_OPTION_AVAILABLE), 8);
    receive_now(pair.socket, data, 3);
    ck_assert_int_eq(get_option(pair.socket, ASOCK_OPTION_AVAILABLE), 5);
    submitted(asock_shutdown(pair.socket, op, ASOCK_SHUTDOWN_RECEIVE));
    expect(op, ASOCK_SUCCESS);
    ck_assert_int_eq(get_option(pair.socket, ASOCK_OPTION_AVAILABLE), 0);
    asock_op_unref(op);
    asock_socket_unref(fresh);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s48_available_is_0_at_the_end_of_the_stream)
{
    struct pair pair = new_pair(AF_INET);
    char data[4];

    remote_write(pair.peer, "last", 4);
    close(pair.peer);
    pair.peer = -1;
    wait_readable(pair.socket);
    ck_assert_int_eq(get_option(pair.socket, ASOCK_OPTION_AVAILABLE), 4);
    receive_now(pair.socket, data, 4);
    ck_assert_int_eq(get_option(pair.socket, ASOCK_OPTION_AVAILABLE), 0);
    pair_close(&pair);
}
END_TEST

static void end_with(asock_op *op, asock_socket *sock, int error)
{
    static char byte;

    ck_assert_int_eq(asock_op_set_buffer(op, &byte, 1), 0);
    submitted(asock_receive(sock, op));
    expect(op, error);
}

START_TEST(test_s48_connected_until_an_operation_says_otherwise)
{
    struct pair reset = new_pair(AF_INET), shut = new_pair(AF_INET), ended = new_pair(AF_INET6);
    asock_socket *fresh = new_socket(AF_INET);
    asock_op *op = new_op();

    ck_assert_int_eq(asock_socket_is_connected(NULL), -EINVAL);
    ck_assert_int_eq(asock_socket_is_connected(fresh), 0);
    ck_assert_int_eq(asock_socket_is_connected(reset.socket), 1);
    remote_reset(reset.peer);
    reset.peer = -1;
    end_with(op, reset.socket, ASOCK_CONNECTION_RESET);
    ck_assert_int_eq(asock_socket_is_connected(reset.socket), 0);
    /* Half a connection is one. */
    remote_finish(ended.peer);
    end_with(op, ended.socket, ASOCK_SUCCESS);
    ck_assert_int_eq(asock_socket_is_connected(ended.socket), 1);
    submitted(asock_shutdown(shut.socket, op, ASOCK_SHUTDOWN_SEND));
    expect(op, ASOCK_SUCCESS);
    ck_assert_int_eq(asock_socket_is_connected(shut.socket), 1);
    submitted(asock_shutdown(shut.socket, op, ASOCK_SHUTDOWN_BOTH));
    expect(op, ASOCK_SUCCESS);
    ck_assert_int_eq(asock_socket_is_connected(shut.socket), 0);
    close_now(ended.socket, 0);
    ck_assert_int_eq(asock_socket_is_connected(ended.socket), 0);
    asock_op_unref(op);
    asock_socket_unref(fresh);
    pair_close(&reset);
    pair_close(&shut);
    pair_close(&ended);
}
END_TEST

START_TEST(test_s48_connected_until_killed)
{
    struct pair pair = new_pair(AF_INET);
    asock_context *control = new_control();
    char id[24];
    const char *args[] = {id, NULL};

    snprintf(id, sizeof(id), "%lld", (long long)inspect_number(control, "list", "id"));
    ck_assert_int_ge(asock_context_control(control, "kill", args, NULL, NULL, LIVENESS_MS), 0);
    sync_with_daemon();
    ck_assert_int_eq(asock_socket_is_connected(pair.socket), 0);
    asock_context_unref(control);
    pair_close(&pair);
}
END_TEST

static void refuse_all(asock_socket *sock)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t before = get_option(sock, cases[i].option);

        set_option(sock, cases[i].option, cases[i].least - 1, ASOCK_INVALID_ARGUMENT);
        set_option(sock, cases[i].option, cases[i].most + 1, ASOCK_INVALID_ARGUMENT);
        /* A value of more than 32 bits is not cut down to one that would do. */
        set_option(sock, cases[i].option, (1LL << 32) + cases[i].value, ASOCK_INVALID_ARGUMENT);
        ck_assert_int_eq(get_option(sock, cases[i].option), before);
    }
}

START_TEST(test_s47_values_out_of_range_are_invalid_arguments)
{
    struct pair pair = new_pair(AF_INET);
    asock_socket *fresh = new_socket(AF_INET);

    refuse_all(fresh);
    refuse_all(pair.socket);
    asock_socket_unref(fresh);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s47_bounds_of_the_ranges_are_accepted)
{
    struct pair pair = new_pair(AF_INET);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        set_option(pair.socket, cases[i].option, cases[i].least, ASOCK_SUCCESS);
        set_option(pair.socket, cases[i].option, cases[i].most, ASOCK_SUCCESS);
    }
    pair_close(&pair);
}
END_TEST

START_TEST(test_s47_unknown_option_is_protocol_option)
{
    struct pair pair = new_pair(AF_INET);
    asock_op *op = new_op();
    int64_t value;

    set_option(pair.socket, (enum asock_option)29, 1, ASOCK_PROTOCOL_OPTION);
    set_option(pair.socket, (enum asock_option)999, 1, ASOCK_PROTOCOL_OPTION);
    submitted(asock_get_option(pair.socket, op, (enum asock_option)999));
    expect(op, ASOCK_PROTOCOL_OPTION);
    ck_assert_int_lt(asock_op_get_value(op, &value), 0);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

/* The socket's own linger time serves a close that names none. */
START_TEST(test_s47_linger_option_holds_for_close)
{
    struct pair pair = new_pair_small(AF_INET);
    static char data[8 * MIB];
    asock_op *op, *close_op = new_op();
    uint64_t bytes;

    set_option(pair.socket, ASOCK_OPTION_LINGER, 60000, ASOCK_SUCCESS);
    op = send_without_reader(pair.socket, data, sizeof(data));
    pending(asock_close(pair.socket, close_op, 0));
    sync_with_daemon();
    ck_assert_int_eq(remote_drain(pair.peer, &bytes), REMOTE_FIN);
    ck_assert_uint_eq(bytes, sizeof(data));
    expect_bytes(op, ASOCK_SUCCESS, sizeof(data));
    close(pair.peer);
    pair.peer = -1;
    expect(close_op, ASOCK_SUCCESS);
    asock_op_unref(op);
    asock_op_unref(close_op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s47_linger_option_of_0_resets)
{
    struct pair pair = new_pair(AF_INET);

    set_option(pair.socket, ASOCK_OPTION_LINGER, 0, ASOCK_SUCCESS);
    send_now(pair.socket, "all taken", 9);
    close_now(pair.socket, 0);
    ck_assert_int_eq(remote_drain(pair.peer, NULL), REMOTE_RST);
    pair_close(&pair);
}
END_TEST

static void assert_text(asock_context *context, const char *field, const char *wanted)
{
    char text[256] = "";

    ck_assert_msg(inspect_text(context, "list", field, text, sizeof(text)), "no %s in list", field);
    ck_assert_msg(strstr(text, wanted) != NULL, "%s is \"%s\", without \"%s\"", field, text,
                  wanted);
}

START_TEST(test_s48_owner_and_inspector_see_a_socket)
{
    struct sockaddr_storage addr;
    int listener = remote_listen_small(AF_INET, &addr), peer;
    asock_socket *sock = new_connected(fixture.context, &addr);
    asock_context *control = new_control(), *views[2] = {fixture.context, control};
    static char data[16 * MIB];
    asock_op *op = send_without_reader(sock, data, sizeof(data));
    char port[8];

    peer = remote_accept(listener);
    remote_write(peer, "12345", 5);
    receive_now(sock, data, 5);
    snprintf(port, sizeof(port), ":%u", remote_port(&addr));
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(inspect_rows(views[i], "list"), 1);
        assert_text(views[i], "remote", "127.0.0.1");
        assert_text(views[i], "remote", port);
        assert_text(views[i], "local", "127.0.0.1");
        assert_text(views[i], "state", "connected");
        ck_assert_int_eq(inspect_number(views[i], "list", "pid"), getpid());
        ck_assert_int_eq(inspect_number(views[i], "list", "uid"), getuid());
        ck_assert_int_eq(inspect_number(views[i], "list", "bytes_in"), 5);
        ck_assert_int_gt(inspect_number(views[i], "list", "bytes_out"), 0);
        ck_assert_int_gt(inspect_number(views[i], "list", "queued"), 0);
    }
    close_now(sock, ASOCK_CLOSE_ABORT);
    expect(op, ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(inspect_rows(control, "list"), 0);
    asock_op_unref(op);
    asock_socket_unref(sock);
    asock_context_unref(control);
    close(peer);
    close(listener);
}
END_TEST

START_TEST(test_s48_show_tells_about_one_row)
{
    struct pair first = new_pair(AF_INET), second = new_pair(AF_INET6);
    asock_context *control = new_control();
    int64_t id = inspect_number(control, "list", "id");
    char query[64], text[256];

    ck_assert_int_gt(id, 0);
    snprintf(query, sizeof(query), "show %lld", (long long)id);
    ck_assert_int_eq(inspect_rows(control, query), 1);
    ck_assert(inspect_text(control, query, "remote", text, sizeof(text)));
    ck_assert_int_eq(inspect_rows(fixture.context, "show"), 1);
    ck_assert_int_eq(inspect_rows(fixture.context, "show 0"), 1);
    ck_assert_int_eq(inspect_rows(fixture.context, "stats"), 1);
    asock_context_unref(control);
    pair_close(&first);
    pair_close(&second);
}
END_TEST

/* A client's listener tells about the caller alone, whoever the caller is. */
START_TEST(test_s48_client_sees_its_own_session_only)
{
    struct pair mine = new_pair(AF_INET);
    asock_context *other = new_context(), *control = new_control();
    struct pair theirs = new_pair_of(other, AF_INET);

    ck_assert_int_eq(inspect_rows(fixture.context, "list"), 1);
    ck_assert_int_eq(inspect_rows(other, "list"), 1);
    ck_assert_int_eq(inspect_rows(control, "list"), 2);
    pair_close(&theirs);
    asock_context_unref(other);
    asock_context_unref(control);
    pair_close(&mine);
}
END_TEST

START_TEST(test_s48_name_is_shown)
{
    asock_context *context = new_context(), *control = new_control();
    struct pair pair;
    char text[256];

    ck_assert_int_eq(asock_context_set_name(context, "my label"), 0);
    pair = new_pair_of(context, AF_INET);
    ck_assert(inspect_text(control, "list", "name", text, sizeof(text)));
    ck_assert_ptr_nonnull(strstr(text, "my label"));
    pair_close(&pair);
    asock_context_unref(context);
    asock_context_unref(control);
}
END_TEST
