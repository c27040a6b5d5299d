/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The same client inside an event loop of the program's own, here libev: no thread. Before the loop
 * sleeps (ev_prepare) it asks the library what to wait for; when it has slept (ev_check) it lets
 * the library work.
 *
 * Usage: libev_client HOST PORT [PATH|TEXT]. What comes is written to standard output.
 * Exit status: 0, 1 when anything failed, 2 for misuse.
 */
#include <asock/asock.h>

#include <ev.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "examples/request.h"

struct client {
    struct ev_loop *loop;
    asock_context *context;
    asock_socket *socket;
    ev_prepare prepare;
    ev_check check;
    ev_io io;
    ev_timer timer;
    char request[4096], buffer[16384];
    int status;
};

/* ------------------------------------------------------------------- the library in the loop */

static void io_ready(struct ev_loop *loop, ev_io *io, int events)
{
    /* The check watcher does the work, once per turn. */
    (void)loop, (void)io, (void)events;
}

static void timer_due(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)timer, (void)events;
}

static void before_sleep(struct ev_loop *loop, ev_prepare *prepare, int unused)
{
    struct client *client = prepare->data;
    int wanted = asock_context_get_events(client->context);
    int timeout = asock_context_get_timeout(client->context);
    int events = (wanted & POLLIN ? EV_READ : 0) | (wanted & POLLOUT ? EV_WRITE : 0);

    (void)unused;
    if (events != (client->io.events & (EV_READ | EV_WRITE)) || !ev_is_active(&client->io)) {
        ev_io_stop(loop, &client->io);
        ev_io_set(&client->io, asock_context_get_fd(client->context), events);
        ev_io_start(loop, &client->io);
    }
    ev_timer_stop(loop, &client->timer);
    if (timeout >= 0) {
        ev_timer_set(&client->timer, timeout / 1000., 0.);
        ev_timer_start(loop, &client->timer);
    }
}

static void after_sleep(struct ev_loop *loop, ev_check *check, int events)
{
    struct client *client = check->data;

    (void)loop, (void)events;
    asock_context_process(client->context);
}

static void watch(struct client *client)
{
    ev_prepare_init(&client->prepare, before_sleep);
    ev_check_init(&client->check, after_sleep);
    ev_init(&client->io, io_ready);
    ev_init(&client->timer, timer_due);
    client->prepare.data = client->check.data = client;
    ev_prepare_start(client->loop, &client->prepare);
    ev_check_start(client->loop, &client->check);
}

/* ------------------------------------------------------------------------------- the client */

static void finish(struct client *client, const char *step, int error)
{
    if (error)
        fprintf(stderr, "%s: %s\n", step, asock_strerror(error));
    client->status = error ? 1 : 0;
    ev_break(client->loop, EVBREAK_ALL);
}

static void closed(asock_op *op, void *userdata)
{
    finish(userdata, "close", asock_op_get_error(op));
}

static void received(asock_op *op, void *userdata)
{
    struct client *client = userdata;
    int error = asock_op_get_error(op);
    size_t n = asock_op_get_bytes(op);

    if (error) {
        finish(client, "receive", error);
        return;
    }
    if (n > 0) {
        fwrite(client->buffer, 1, n, stdout);
        asock_receive(client->socket, op);
        return;
    }
    asock_op_set_callback(op, closed, client);
    asock_close(client->socket, op, 0);
}

static void sent(asock_op *op, void *userdata)
{
    struct client *client = userdata;
    int error = asock_op_get_error(op);

    if (error) {
        finish(client, "send", error);
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

    if (error) {
        finish(client, "connect", error);
        return;
    }
    asock_op_set_buffer(op, client->request, strlen(client->request));
    asock_op_set_callback(op, sent, client);
    asock_send(client->socket, op);
}

static int run(struct client *client, const char *host, const char *port)
{
    asock_op *op;
    int r;

    r = asock_op_new(client->context, &op);
    if (r < 0)
        return r;
    r = asock_op_set_host(op, host, port);
    if (r == 0)
        r = asock_op_set_callback(op, connected, client);
    if (r == 0)
        r = asock_connect(client->socket, op);
    if (r == 1)
        ev_run(client->loop, 0);
    asock_op_unref(op);
    return r;
}

int main(int argc, char **argv)
{
    struct client client = {.status = 1};
    int r;

    if (argc < 3 || argc > 4) {
        fprintf(stderr, "Usage: %s HOST PORT [PATH|TEXT]\n", argv[0]);
        return 2;
    }
    make_request(client.request, sizeof(client.request), argv[1], argc > 3 ? argv[3] : "/");
    client.loop = ev_default_loop(0);
    r = asock_context_new(NULL, &client.context);
    if (r < 0) {
        fprintf(stderr, "asockd: %s\n", strerror(-r));
        return 1;
    }
    /* A receive whose result is known at once would run no callback. */
    asock_context_set_always_pending(client.context, true);
    watch(&client);
    if (asock_socket_new(client.context, AF_UNSPEC, &client.socket) == 0) {
        r = run(&client, argv[1], argv[2]);
        asock_socket_unref(client.socket);
    }
    asock_context_unref(client.context);
    ev_loop_destroy(client.loop);
    return r == 1 && fflush(stdout) == 0 ? client.status : 1;
}
