/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The begin/end style (S10). */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_s10_end_waits_and_gives_the_result_once)
{
    struct sockaddr_storage addr;
    int listener = remote_listen(AF_INET, &addr), peer;
    asock_socket *sock = new_socket(AF_INET);
    asock_op *op;
    uint64_t bytes = 99;
    char buf[4];

    pending(asock_begin_connect(sock, (struct sockaddr *)&addr, remote_addr_len(&addr), NULL, NULL,
                                &op));
    ck_assert_int_eq(asock_end(op, NULL), ASOCK_SUCCESS);
    peer = remote_accept(listener);
    pending(asock_begin_send(sock, "ping", 4, NULL, NULL, &op));
    asock_op_ref(op);
    ck_assert_int_eq(asock_end(op, &bytes), ASOCK_SUCCESS);
    ck_assert_uint_eq(bytes, 4);
    ck_assert_int_eq(asock_end(op, &bytes), -EINVAL);
    asock_op_unref(op);
    remote_read(peer, buf, 4);
    remote_write(peer, "pong", 4);
    pending(asock_begin_receive(sock, buf, 4, NULL, NULL, &op));
    ck_assert_int_eq(asock_end(op, &bytes), ASOCK_SUCCESS);
    ck_assert_uint_eq(bytes, 4);
    ck_assert_mem_eq(buf, "pong", 4);
    asock_socket_unref(sock);
    close(peer);
    close(listener);
}
END_TEST

struct ending {
    int called, result;
    uint64_t bytes;
};

static void end_in_callback(asock_op *op, void *userdata)
{
    struct ending *ending = userdata;

    ending->result = asock_end(op, &ending->bytes);
    ending->called++;
}

START_TEST(test_s10_end_inside_the_callback)
{
    struct pair pair = new_pair(AF_INET);
    struct ending ending = {0};
    asock_op *op;
    char buf[8];

    pending(asock_begin_receive(pair.socket, buf, sizeof(buf), end_in_callback, &ending, &op));
    remote_write(pair.peer, "four", 4);
    wait_count(&ending.called, 1);
    ck_assert_int_eq(ending.result, ASOCK_SUCCESS);
    ck_assert_uint_eq(ending.bytes, 4);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s10_end_tells_failure)
{
    struct sockaddr_storage addr;
    int reserved = remote_closed_port(AF_INET, &addr);
    asock_socket *sock = new_socket(AF_INET);
    char service[8];
    asock_op *op;

    snprintf(service, sizeof(service), "%u", remote_port(&addr));
    pending(asock_begin_connect_host(sock, "127.0.0.1", service, NULL, NULL, &op));
    ck_assert_int_eq(asock_end(op, NULL), ASOCK_CONNECTION_REFUSED);
    /* End also reports what the library already knows: a begin never returns 0. */
    pending(asock_begin_send(sock, "x", 1, NULL, NULL, &op));
    ck_assert_int_eq(asock_end(op, NULL), ASOCK_OPERATION_ABORTED);
    asock_socket_unref(sock);
    close(reserved);
}
END_TEST

START_TEST(test_s10_end_of_another_op_is_refused)
{
    asock_op *op = new_op();

    ck_assert_int_eq(asock_end(op, NULL), -EINVAL);
    ck_assert_int_eq(asock_end(NULL, NULL), -EINVAL);
    asock_op_unref(op);
}
END_TEST
