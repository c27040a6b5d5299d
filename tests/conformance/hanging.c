/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A daemon that hangs and goes on later (S57). */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_s57_helpers_come_back_while_the_daemon_hangs)
{
    struct pair pair = new_pair(AF_INET);
    char buf[8];

    ck_assert_int_eq(asock_context_set_grace_ms(fixture.context, 50), 0);
    private_daemon_freeze(fixture.daemon);
    ck_assert_int_eq(asock_receive_some(pair.socket, buf, sizeof(buf), 20), -ETIMEDOUT);
    ck_assert_int_eq(asock_context_get_error(fixture.context), ASOCK_TIMED_OUT);
    ck_assert_int_eq(asock_send_all(pair.socket, "data", 4, 20), -ECONNABORTED);
    private_daemon_thaw(fixture.daemon);
    pair_close(&pair);
}
END_TEST

/*
 * Nobody knows what the program would have sent: a stream whose sending side is open must not look
 * whole.
 */
START_LOOP_TEST(test_s57_a_daemon_that_goes_on_resets_what_is_open, 0, 2)
{
    struct pair pair = new_pair(AF_INET);
    asock_op *op = new_op();
    char buf[8];

    send_now(pair.socket, "half", 4);
    remote_read(pair.peer, buf, 4);
    if (_i == 1) {
        submitted(asock_shutdown(pair.socket, op, ASOCK_SHUTDOWN_SEND));
        expect(op, ASOCK_SUCCESS);
    }
    ck_assert_int_eq(asock_context_set_grace_ms(fixture.context, 50), 0);
    private_daemon_freeze(fixture.daemon);
    ck_assert_int_eq(asock_receive_some(pair.socket, buf, sizeof(buf), 20), -ETIMEDOUT);
    private_daemon_thaw(fixture.daemon);
    ck_assert_int_eq(remote_drain(pair.peer, NULL), _i == 1 ? REMOTE_FIN : REMOTE_RST);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s57_with_a_dispatcher_the_callback_runs)
{
    struct pair pair = new_pair(AF_INET);
    asock_op *op;
    char buf[8];

    ck_assert_int_eq(asock_context_set_grace_ms(fixture.context, 50), 0);
    pump_remove(fixture.context);
    ck_assert_int_eq(asock_context_start_dispatcher(fixture.context), 0);
    op = new_op_with(buf, sizeof(buf));
    ck_assert_int_eq(asock_op_set_timeout(op, 20), 0);
    private_daemon_freeze(fixture.daemon);
    pending(asock_receive(pair.socket, op));
    expect_bytes(op, ASOCK_TIMED_OUT, 0);
    private_daemon_thaw(fixture.daemon);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

/* It is in the middle of a receive into the program's memory when it hangs; then it goes on. */
START_TEST(test_s57_buffers_are_not_shared_any_more)
{
    struct pair pair = new_pair(AF_INET);
    asock_buffer *buffer;
    asock_op *op;
    char *data;

    ck_assert_int_eq(asock_buffer_new(fixture.context, 4096, LIVENESS_MS, &buffer), 0);
    data = asock_buffer_data(buffer);
    memset(data, 'm', asock_buffer_size(buffer));
    op = new_op_with(data, 4096);
    ck_assert_int_eq(asock_context_set_grace_ms(fixture.context, 50), 0);
    /* It stops within that time, also on a busy machine. */
    ck_assert_int_eq(asock_op_set_timeout(op, 3000), 0);
    pending(asock_receive(pair.socket, op));
    sync_with_daemon();
    private_daemon_freeze(fixture.daemon);
    remote_write(pair.peer, "intruder", 8);
    expect_bytes(op, ASOCK_TIMED_OUT, 0);
    for (size_t i = 0; i < asock_buffer_size(buffer); i++)
        ck_assert_int_eq(data[i], 'm');
    memset(data, 'n', 4096);
    private_daemon_thaw(fixture.daemon);
    remote_drain(pair.peer, NULL); /* it has ended the session */
    for (size_t i = 0; i < 4096; i++)
        ck_assert_int_eq(data[i], 'n');
    asock_op_unref(op);
    asock_buffer_unref(buffer);
    pair_close(&pair);
}
END_TEST
