/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The same client in begin and end style: each begin gives an operation, each end waits for it.
 * Between the two the program could do something else; here the first receive is begun before the
 * send has ended.
 *
 * Usage: begin_end_client HOST PORT [PATH|TEXT]. What comes is written to standard output.
 * Exit status: 0, 1 when anything failed, 2 for misuse.
 */
#include <asock/asock.h>

#include <stdio.h>
#include <string.h>

#include "examples/request.h"

/* r: what the begin said. The result of the op, as 0 or -1 with a message. */
static int end(const char *step, int r, asock_op *op, uint64_t *bytes)
{
    if (r < 0) {
        fprintf(stderr, "%s: %s\n", step, strerror(-r));
        return -1;
    }
    r = asock_end(op, bytes);
    if (r < 0)
        fprintf(stderr, "%s: %s\n", step, strerror(-r));
    else if (r > 0)
        fprintf(stderr, "%s: %s\n", step, asock_strerror(r));
    return r ? -1 : 0;
}

static int finish(asock_context *context, asock_socket *socket)
{
    asock_op *op;
    int r;

    /* Rarer operations have no begin: the op is made by hand, and waited for. */
    r = asock_op_new(context, &op);
    if (r < 0)
        return -1;
    r = asock_shutdown(socket, op, ASOCK_SHUTDOWN_BOTH);
    if (r >= 0)
        r = asock_op_wait(op, -1);
    if (r == 0)
        r = asock_op_get_error(op);
    if (r == 0)
        r = asock_close(socket, op, 0);
    if (r >= 0)
        r = asock_op_wait(op, -1);
    if (r == 0)
        r = asock_op_get_error(op);
    asock_op_unref(op);
    return r ? -1 : 0;
}

static int talk(asock_context *context, asock_socket *socket, char **argv, const char *text)
{
    char request[4096], buffer[16384];
    asock_op *connect, *send, *receive;
    uint64_t n;
    size_t len;
    int r, receiving;

    r = asock_begin_connect_host(socket, argv[1], argv[2], NULL, NULL, &connect);
    if (end("connect", r, connect, NULL) < 0)
        return -1;
    len = make_request(request, sizeof(request), argv[1], text);
    r = asock_begin_send(socket, request, len, NULL, NULL, &send);
    receiving = asock_begin_receive(socket, buffer, sizeof(buffer), NULL, NULL, &receive);
    if (end("send", r, send, NULL) < 0) {
        if (receiving > 0)
            asock_cancel(receive); /* the buffer is in use until it has ended */
        end("receive", receiving, receive, NULL);
        return -1;
    }
    while (end("receive", receiving, receive, &n) == 0) {
        if (n == 0)
            return finish(context, socket);
        fwrite(buffer, 1, n, stdout);
        receiving = asock_begin_receive(socket, buffer, sizeof(buffer), NULL, NULL, &receive);
    }
    return -1;
}

int main(int argc, char **argv)
{
    asock_context *context;
    asock_socket *socket;
    int r;

    if (argc < 3 || argc > 4) {
        fprintf(stderr, "Usage: %s HOST PORT [PATH|TEXT]\n", argv[0]);
        return 2;
    }
    r = asock_context_new(NULL, &context);
    if (r < 0) {
        fprintf(stderr, "asockd: %s\n", strerror(-r));
        return 1;
    }
    r = asock_socket_new(context, AF_UNSPEC, &socket);
    if (r == 0) {
        r = talk(context, socket, argv, argc > 3 ? argv[3] : "/");
        asock_socket_unref(socket);
    }
    asock_context_unref(context);
    return r == 0 && fflush(stdout) == 0 ? 0 : 1;
}
