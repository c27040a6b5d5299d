/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The asynchronous client: connect, send, receive until 0 bytes, shutdown, close. Every step starts
 * in the callback of the one before it, in the library's dispatcher thread; main only waits.
 *
 * Usage: async_client HOST PORT [PATH|TEXT]. What comes is written to standard output.
 * Exit status: 0, 1 when anything failed, 2 for misuse.
 */
#include <asock/asock.h>

#include <semaphore.h>
#include <stdio.h>

#include "examples/request.h"

struct client {
    asock_socket *socket;
    asock_op *op; /* one op is enough: one step at a time */
    const char *host, *text;
    char buffer[16384];
    int status;
    sem_t done;
};

static void finish(struct client *client, int status)
{
    client->status = status;
    sem_post(&client->done);
}

static void fail(struct client *client, const char *step, int error)
{
    fprintf(stderr, "%s: %s\n", step, asock_strerror(error));
    finish(client, 1);
}

static void closed(asock_op *op, void *userdata)
{
    struct client *client = userdata;
    int error = asock_op_get_error(op);

    if (error)
        fail(client, "close", error);
    else
        finish(client, 0);
}

static void shut(asock_op *op, void *userdata)
{
    struct client *client = userdata;
    int error = asock_op_get_error(op);

    if (error) {
        fail(client, "shutdown", error);
        return;
    }
    asock_op_set_callback(op, closed, client);
    asock_close(client->socket, op, 0);
}

/* Submitting from inside the op's own callback is fine: a call that has completed already runs
 * none, so main() makes the context always complete through callbacks. */
static void received(asock_op *op, void *userdata)
{
    struct client *client = userdata;
    int error = asock_op_get_error(op);
    size_t n = asock_op_get_bytes(op);

    if (error) {
        fail(client, "receive", error);
        return;
    }
    if (n > 0) {
        fwrite(client->buffer, 1, n, stdout);
        asock_receive(client->socket, op);
        return;
    }
    asock_op_set_callback(op, shut, client);
    asock_shutdown(client->socket, op, ASOCK_SHUTDOWN_BOTH);
}

static void sent(asock_op *op, void *userdata)
{
    struct client *client = userdata;
    int error = asock_op_get_error(op);

    if (error) {
        fail(client, "send", error);
        return;
    }
    asock_op_set_buffer(op, client->buffer, sizeof(client->buffer));
    asock_op_set_callback(op, received, client);
    asock_receive(client->socket, op);
}

static void connected(asock_op *op, void *userdata)
{
    struct client *client = userdata;
    int error = asock_op_get_error(op);
    size_t len;

    if (error) {
        fail(client, "connect", error);
        return;
    }
    len = make_request(client->buffer, sizeof(client->buffer), client->host, client->text);
    asock_op_set_buffer(op, client->buffer, len);
    asock_op_set_callback(op, sent, client);
    asock_send(client->socket, op);
}

static int start(struct client *client, asock_context *context, const char *port)
{
    if (asock_socket_new(context, AF_UNSPEC, &client->socket) < 0 ||
        asock_op_new(context, &client->op) < 0)
        return -1;
    if (asock_op_set_host(client->op, client->host, port) < 0 ||
        asock_op_set_callback(client->op, connected, client) < 0)
        return -1;
    return asock_connect(client->socket, client->op);
}

int main(int argc, char **argv)
{
    struct client client = {.status = 1};
    asock_context *context;

    if (argc < 3 || argc > 4) {
        fprintf(stderr, "Usage: %s HOST PORT [PATH|TEXT]\n", argv[0]);
        return 2;
    }
    client.host = argv[1];
    client.text = argc > 3 ? argv[3] : "/";
    sem_init(&client.done, 0, 0);
    if (asock_context_new(NULL, &context) < 0) {
        perror("asockd");
        return 1;
    }
    asock_context_set_always_pending(context, true);
    if (asock_context_start_dispatcher(context) == 0 && start(&client, context, argv[2]) >= 0)
        while (sem_wait(&client.done) < 0)
            ; /* a signal */
    asock_context_stop_dispatcher(context);
    asock_op_unref(client.op);
    asock_socket_unref(client.socket);
    asock_context_unref(context);
    sem_destroy(&client.done);
    return fflush(stdout) == 0 ? client.status : 1;
}
