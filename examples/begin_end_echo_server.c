/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The same echo server in begin and end style: one connection after the other. A multishot accept
 * has the next one before the present one is served.
 *
 * Usage: begin_end_echo_server ADDRESS PORT [CONNECTIONS]. Exit status: 0, 1 when anything failed,
 * 2 for misuse.
 */
#include <asock/asock.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "examples/echo.h"

static void serve(asock_socket *socket)
{
    char buffer[16384];
    asock_op *op;
    uint64_t n;

    for (;;) {
        if (asock_begin_receive(socket, buffer, sizeof(buffer), NULL, NULL, &op) < 0 ||
            asock_end(op, &n) != ASOCK_SUCCESS || n == 0)
            return;
        if (asock_begin_send(socket, buffer, n, NULL, NULL, &op) < 0 ||
            asock_end(op, NULL) != ASOCK_SUCCESS)
            return;
    }
}

static int run(asock_context *context, asock_socket *listener, unsigned int count)
{
    asock_socket *socket;
    asock_op *op;
    int r;

    if (asock_op_new(context, &op) < 0)
        return 1;
    r = asock_accept_multishot(listener, op);
    while (r >= 0 && count-- > 0) {
        r = asock_accept_next(op, -1, &socket);
        if (r == 0) {
            fprintf(stderr, "accept: %s\n", asock_strerror(asock_op_get_error(op)));
            r = -ECANCELED;
        }
        if (r < 0)
            break;
        serve(socket);
        asock_close(socket, NULL, 0);
        asock_socket_unref(socket);
    }
    asock_op_unref(op);
    return r < 0;
}

int main(int argc, char **argv)
{
    asock_socket *listener = NULL;
    asock_context *context;
    int status = 1;

    if (argc < 3 || argc > 4) {
        fprintf(stderr, "Usage: %s ADDRESS PORT [CONNECTIONS]\n", argv[0]);
        return 2;
    }
    if (asock_context_new(NULL, &context) < 0) {
        perror("asockd");
        return 1;
    }
    if (echo_listen(context, argv[1], argv[2], &listener) == 0)
        status = run(context, listener, argc > 3 ? (unsigned int)atoi(argv[3]) : ~0u);
    asock_socket_unref(listener);
    asock_context_unref(context);
    return status;
}
