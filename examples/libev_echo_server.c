/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The same echo server inside an event loop of the program's own, here libev: no thread.
 * libev_client.c says how the library lives in the loop.
 *
 * Usage: libev_echo_server ADDRESS PORT [CONNECTIONS]. Exit status: 0, 1 when anything failed, 2
 * for misuse.
 */
#include <asock/asock.h>

#include <ev.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "examples/echo.h"

struct server {
    struct echo echo;
    struct ev_loop *loop;
    ev_prepare prepare;
    ev_check check;
    ev_io io;
    ev_timer timer;
};

static void io_ready(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop, (void)io, (void)events;
}

static void timer_due(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)timer, (void)events;
}

static void before_sleep(struct ev_loop *loop, ev_prepare *prepare, int unused)
{
    struct server *server = prepare->data;
    int wanted = asock_context_get_events(server->echo.context);
    int timeout = asock_context_get_timeout(server->echo.context);
    int events = (wanted & POLLIN ? EV_READ : 0) | (wanted & POLLOUT ? EV_WRITE : 0);

    (void)unused;
    ev_io_stop(loop, &server->io);
    ev_io_set(&server->io, asock_context_get_fd(server->echo.context), events);
    ev_io_start(loop, &server->io);
    ev_timer_stop(loop, &server->timer);
    if (timeout >= 0) {
        ev_timer_set(&server->timer, timeout / 1000., 0.);
        ev_timer_start(loop, &server->timer);
    }
}

static void after_sleep(struct ev_loop *loop, ev_check *check, int events)
{
    struct server *server = check->data;

    (void)loop, (void)events;
    asock_context_process(server->echo.context);
}

static void finished(struct echo *echo)
{
    struct server *server = echo->userdata;

    ev_break(server->loop, EVBREAK_ALL);
}

static void run(struct server *server)
{
    ev_prepare_init(&server->prepare, before_sleep);
    ev_check_init(&server->check, after_sleep);
    ev_init(&server->io, io_ready);
    ev_init(&server->timer, timer_due);
    server->prepare.data = server->check.data = server;
    ev_prepare_start(server->loop, &server->prepare);
    ev_check_start(server->loop, &server->check);
    server->echo.status = 0;
    if (echo_start(&server->echo) == 0)
        ev_run(server->loop, 0);
}

int main(int argc, char **argv)
{
    struct server server = {.echo = {.status = 1, .finished = finished}};
    struct echo *echo = &server.echo;

    if (argc < 3 || argc > 4) {
        fprintf(stderr, "Usage: %s ADDRESS PORT [CONNECTIONS]\n", argv[0]);
        return 2;
    }
    echo->left = argc > 3 ? (unsigned int)atoi(argv[3]) : ~0u;
    echo->userdata = &server;
    server.loop = ev_default_loop(0);
    if (asock_context_new(NULL, &echo->context) < 0) {
        perror("asockd");
        return 1;
    }
    asock_context_set_always_pending(echo->context, true);
    if (echo_listen(echo->context, argv[1], argv[2], &echo->listener) == 0)
        run(&server);
    asock_op_unref(echo->accept);
    asock_socket_unref(echo->listener);
    asock_context_unref(echo->context);
    ev_loop_destroy(server.loop);
    return echo->status;
}
