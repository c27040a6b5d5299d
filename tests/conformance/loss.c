/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The daemon is gone (S46). */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

static void start(void)
{
    fixture_start(NULL);
    fixture.context = new_context();
    pump_add(fixture.context);
}

static void lose_daemon(void)
{
    kill(fixture.daemon->pid, SIGKILL);
    private_daemon_wait(fixture.daemon);
}

/* A daemon at the same place; the caller releases the lost one when that has ended. */
static struct private_daemon *replace_daemon(void)
{
    struct private_daemon *lost = fixture.daemon;
    struct private_daemon_options options = {.dir = lost->dir};

    fixture_start(&options);
    return lost;
}

TEST_FIXTURE(fixture_setup_nothing, fixture_teardown);

START_TEST(test_s46_loss_ends_ops_and_everything_later)
{
    struct pair pair;
    asock_socket *sock;
    asock_op *op;
    char buf[4];

    start();
    pair = new_pair(AF_INET);
    op = new_op_with(buf, 4);
    pending(asock_receive(pair.socket, op));
    sync_with_daemon();
    lose_daemon();
    expect_bytes(op, ASOCK_CONNECTION_ABORTED, 0);
    ck_assert_int_eq(asock_context_get_error(fixture.context), ASOCK_CONNECTION_ABORTED);
    submitted(asock_send(pair.socket, op));
    expect_bytes(op, ASOCK_CONNECTION_ABORTED, 0);
    submitted(asock_sync(fixture.context, op));
    expect(op, ASOCK_CONNECTION_ABORTED);
    submitted(asock_close(pair.socket, op, 0));
    ck_assert_int_eq(asock_op_wait(op, LIVENESS_MS), 0);
    ck_assert_int_eq(asock_socket_new(fixture.context, AF_INET, &sock), -ENOTCONN);
    asock_op_unref(op);
    pair_close(&pair);
    fixture.daemon = private_daemon_release(fixture.daemon);
}
END_TEST

START_TEST(test_s46_reconnects_on_request_alone)
{
    struct private_daemon *lost;
    struct pair pair, fresh;
    asock_op *op;
    char buf[4];

    start();
    pair = new_pair(AF_INET);
    op = new_op_with("data", 4);
    lose_daemon();
    submitted(asock_send(pair.socket, op));
    expect(op, ASOCK_CONNECTION_ABORTED);
    ck_assert_int_eq(asock_context_reconnect(fixture.context), -ECONNREFUSED);
    lost = replace_daemon();
    /* Not behind the program's back: nothing connects before it is asked to. */
    submitted(asock_sync(fixture.context, op));
    expect(op, ASOCK_CONNECTION_ABORTED);
    pump_turn(-1, 0, 0);
    ck_assert_int_eq(asock_context_reconnect(fixture.context), 0);
    ck_assert_int_eq(asock_context_get_error(fixture.context), 0);
    ck_assert_int_eq(asock_context_reconnect(fixture.context), -EBUSY);
    fresh = new_pair(AF_INET);
    send_now(fresh.socket, "new!", 4);
    remote_read(fresh.peer, buf, 4);
    ck_assert_mem_eq(buf, "new!", 4);
    /* Old sockets stay dead, also where the new session uses their ids. */
    submitted(asock_send(pair.socket, op));
    expect_bytes(op, ASOCK_CONNECTION_ABORTED, 0);
    pair_close(&pair);
    send_now(fresh.socket, "more", 4);
    remote_read(fresh.peer, buf, 4);
    ck_assert_mem_eq(buf, "more", 4);
    pair_close(&fresh);
    asock_op_unref(op);
    fixture_release_context();
    fixture.daemon = private_daemon_stop(fixture.daemon);
    private_daemon_release(lost);
}
END_TEST

START_TEST(test_s46_reconnect_waits_for_callbacks)
{
    struct private_daemon *lost;
    struct pair pair;
    int called = 0;
    asock_op *op;
    char buf[4];

    start();
    pair = new_pair(AF_INET);
    op = new_op_with(buf, 4);
    ck_assert_int_eq(asock_op_set_callback(op, count_callback, &called), 0);
    pending(asock_receive(pair.socket, op));
    sync_with_daemon();
    pump_remove(fixture.context); /* the callback waits until we want it */
    lose_daemon();
    lost = replace_daemon();
    expect(op, ASOCK_CONNECTION_ABORTED);
    ck_assert_int_eq(asock_context_reconnect(fixture.context), -EBUSY);
    pump_add(fixture.context);
    wait_count(&called, 1);
    ck_assert_int_eq(asock_context_reconnect(fixture.context), 0);
    sync_with_daemon();
    asock_op_unref(op);
    pair_close(&pair);
    fixture_release_context();
    fixture.daemon = private_daemon_stop(fixture.daemon);
    private_daemon_release(lost);
}
END_TEST

/* Memory of a session that has ended is memory like any other. */
START_TEST(test_s46_buffers_outlive_the_session)
{
    struct private_daemon *lost;
    asock_buffer *buffer, *fresh;
    struct pair pair;
    char buf[8];
    char *data;

    start();
    ck_assert_int_eq(asock_buffer_new(fixture.context, 8192, -1, &buffer), 0);
    data = asock_buffer_data(buffer);
    memcpy(data, "survives", 8);
    lose_daemon();
    lost = replace_daemon();
    ck_assert_int_eq(asock_buffer_new(fixture.context, 4096, -1, &fresh), -ECONNABORTED);
    ck_assert_int_eq(asock_context_reconnect(fixture.context), 0);
    ck_assert_int_eq(asock_buffer_new(fixture.context, 4096, -1, &fresh), 0);
    memcpy(asock_buffer_data(fresh), "fresh", 5);
    pair = new_pair(AF_INET);
    send_now(pair.socket, data, 8);
    remote_read(pair.peer, buf, 8);
    ck_assert_mem_eq(buf, "survives", 8);
    remote_write(pair.peer, "received", 8);
    receive_now(pair.socket, data + 100, 8);
    ck_assert_mem_eq(data + 100, "received", 8);
    send_now(pair.socket, asock_buffer_data(fresh), 5);
    remote_read(pair.peer, buf, 5);
    ck_assert_mem_eq(buf, "fresh", 5);
    asock_buffer_unref(buffer);
    asock_buffer_unref(fresh);
    pair_close(&pair);
    fixture_release_context();
    fixture.daemon = private_daemon_stop(fixture.daemon);
    private_daemon_release(lost);
}
END_TEST
