/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What policy denies, as far as there is policy (S24). */

#include "tests/lib/fixture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* With a reason, for people. */
static void expect_denied(asock_op *op)
{
    expect(op, ASOCK_ACCESS_DENIED);
    ck_assert_ptr_nonnull(asock_op_get_text(op));
    /* The folder of the installed policy may be empty, or not be there. */
    ck_assert_msg(strstr(asock_op_get_text(op), "no rule") ||
                      strstr(asock_op_get_text(op), "no policy file applies to this client") ||
                      strstr(asock_op_get_text(op), "policy files are invalid"),
                  "text is %s", asock_op_get_text(op));
}

TEST_FIXTURE(fixture_setup_nothing, fixture_teardown);

/* ACCESS_DENIED, and no packet has left. */
START_TEST(test_s24_without_allow_any_everything_is_denied)
{
    static const char *const args[] = {NULL};
    struct private_daemon_options options = {.args = args};
    static const int families[] = {AF_INET, AF_INET6};

    fixture_start(&options);
    fixture.context = new_context();
    pump_add(fixture.context);
    for (size_t i = 0; i < 2; i++) {
        struct sockaddr_storage addr;
        int listener = remote_listen(families[i], &addr);
        asock_socket *sock = new_socket(families[i]);
        asock_op *op = new_connect_op(&addr);
        char service[8];

        submitted(asock_connect(sock, op));
        expect_denied(op);
        snprintf(service, sizeof(service), "%u", remote_port(&addr));
        ck_assert_int_eq(asock_op_set_host(op, i == 0 ? "127.0.0.1" : "::1", service), 0);
        submitted(asock_connect(sock, op));
        expect_denied(op);
        ck_assert_int_eq(asock_op_set_host(op, "localhost", service), 0);
        submitted(asock_connect(sock, op));
        expect_denied(op);
        ck_assert(remote_nobody_waits(listener));
        /* Behind a failed connect, as always. */
        ck_assert_int_eq(asock_op_set_buffer(op, service, 1), 0);
        submitted(asock_send(sock, op));
        expect_bytes(op, ASOCK_OPERATION_ABORTED, 0);
        asock_op_unref(op);
        asock_socket_unref(sock);
        close(listener);
    }
}
END_TEST
