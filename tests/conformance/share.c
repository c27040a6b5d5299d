/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A session that shares itself, through the library (S59). What it means is on the wire:
 * tests/protocol/test_share.py.
 */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Over a listener of the session of `context`. */
static asock_context *join(asock_context *context)
{
    asock_op *op = new_op_of(context);
    asock_context *sharee;
    char path[256];

    pending(asock_share(context, op));
    ck_assert_ptr_null(asock_op_get_directory(op));
    expect(op, ASOCK_SUCCESS);
    ck_assert_int_eq(asock_op_get_operation(op), ASOCK_OPERATION_SHARE);
    ck_assert_ptr_null(asock_op_get_text(op));
    snprintf(path, sizeof(path), "%s/asock.sock", asock_op_get_directory(op));
    ck_assert_int_eq(asock_context_new(path, &sharee), 0);
    asock_op_unref(op);
    return sharee;
}

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_s59_who_joins_has_the_rights_and_no_more)
{
    static const char nothing[] = "[Rules]\n";
    asock_context *sharee = join(fixture.context), *below = join(sharee);
    struct sockaddr_storage addr;
    int listener = remote_listen(AF_INET, &addr);
    asock_op *op = new_op_of(below);
    asock_socket *socket = new_connected(below, &addr);

    close(remote_accept(listener));
    asock_socket_unref(socket);
    ck_assert_int_eq(
        asock_context_restrict(fixture.context, nothing, strlen(nothing), LIVENESS_MS, NULL, 0), 0);
    socket = new_socket_of(below, AF_INET);
    ck_assert_int_eq(asock_op_set_endpoint(op, (const struct sockaddr *)&addr, sizeof(addr)), 0);
    submitted(asock_connect(socket, op));
    expect(op, ASOCK_ACCESS_DENIED);
    asock_op_unref(op);
    asock_socket_unref(socket);
    asock_context_unref(below);
    asock_context_unref(sharee);
    close(listener);
}
END_TEST

START_TEST(test_s59_sessions_end_with_the_sharers)
{
    asock_context *sharee = join(fixture.context);
    asock_op *op = new_op_of(sharee);

    sync_of(sharee);
    fixture_release_context();
    do {
        submitted(asock_sync(sharee, op));
        ck_assert_int_eq(asock_op_wait(op, LIVENESS_MS), 0);
    } while (asock_op_get_error(op) == ASOCK_SUCCESS);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_CONNECTION_ABORTED);
    ck_assert_int_eq(asock_context_get_error(sharee), ASOCK_CONNECTION_ABORTED);
    /* And of a session that has ended nothing can be asked. */
    submitted(asock_share(sharee, op));
    expect(op, ASOCK_CONNECTION_ABORTED);
    ck_assert_ptr_null(asock_op_get_directory(op));
    asock_op_unref(op);
    asock_context_unref(sharee);
    fixture.context = new_context();
}
END_TEST

static void on_shared(asock_op *op, void *userdata)
{
    char *directory = userdata;

    snprintf(directory, 256, "%s", asock_op_get_directory(op));
}

/* An op like others: it has a callback, is used again, and may have a buffer that is not for it. */
START_TEST(test_s59_share_is_an_op_like_others)
{
    asock_op *op = new_op();
    char first[256] = "", second[256] = "", data[16];

    ck_assert_int_eq(asock_op_set_buffer(op, data, sizeof(data)), 0);
    ck_assert_int_eq(asock_op_set_timeout(op, LIVENESS_MS), 0);
    ck_assert_int_eq(asock_op_set_callback(op, on_shared, first), 0);
    pending(asock_share(fixture.context, op));
    ck_assert_int_eq(asock_share(fixture.context, op), -EBUSY);
    ck_assert_int_eq(asock_op_wait(op, LIVENESS_MS), 0);
    asock_context_process(fixture.context);
    ck_assert_int_eq(asock_op_set_callback(op, on_shared, second), 0);
    pending(asock_share(fixture.context, op));
    ck_assert_int_eq(asock_op_wait(op, LIVENESS_MS), 0);
    asock_context_process(fixture.context);
    ck_assert_int_eq(first[0], '/');
    ck_assert_str_ne(first, second);
    asock_op_unref(op);
}
END_TEST

START_TEST(test_s59_refusals_have_a_text)
{
    asock_context *control = new_control();
    asock_op *op = new_op_of(control), *ops[9];

    submitted(asock_share(control, op));
    expect(op, ASOCK_OPERATION_NOT_SUPPORTED);
    asock_op_unref(op);
    asock_context_unref(control);
    for (int i = 0; i < 9; i++) {
        ops[i] = new_op();
        pending(asock_share(fixture.context, ops[i]));
    }
    for (int i = 0; i < 8; i++)
        expect(ops[i], ASOCK_SUCCESS);
    expect(ops[8], ASOCK_NO_BUFFER_SPACE);
    ck_assert_ptr_nonnull(strstr(asock_op_get_text(ops[8]), "limit of 8 shared listeners"));
    ck_assert_ptr_null(asock_op_get_directory(ops[8]));
    for (int i = 0; i < 9; i++)
        asock_op_unref(ops[i]);
}
END_TEST

/*
 * The daemon has made the listener and said so, and the library has not read that. A ninth would be
 * one too many.
 */
START_TEST(test_s59_a_share_that_is_cancelled_too_late_leaves_no_listener)
{
    asock_op *op = new_op();

    for (int i = 0; i < 9; i++) {
        struct pollfd pollfd = {.fd = asock_context_get_fd(fixture.context), .events = POLLIN};

        pending(asock_share(fixture.context, op));
        flush();
        ck_assert_int_eq(poll(&pollfd, 1, LIVENESS_MS), 1);
        ck_assert_int_eq(asock_cancel(op), 0);
        expect(op, ASOCK_OPERATION_ABORTED);
        ck_assert_ptr_null(asock_op_get_directory(op));
        ck_assert_ptr_null(asock_op_get_text(op));
    }
    asock_context_unref(join(fixture.context));
    asock_op_unref(op);
}
END_TEST

START_TEST(test_misuse_share)
{
    asock_context *other = new_context();
    asock_op *op = new_op();

    ck_assert_int_eq(asock_share(NULL, op), -EINVAL);
    ck_assert_int_eq(asock_share(fixture.context, NULL), -EINVAL);
    ck_assert_int_eq(asock_share(other, op), -EINVAL);
    ck_assert_ptr_null(asock_op_get_directory(NULL));
    ck_assert_ptr_null(asock_op_get_directory(op));
    asock_op_unref(op);
    asock_context_unref(other);
}
END_TEST
