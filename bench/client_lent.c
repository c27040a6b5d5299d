/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tests over sockets that asockd connects and lends: from the connect on they are the kernel's
 * own, and the tests those of client_plain.c. Here is what has to do with asockd: connecting, and
 * closing.
 */
#include <asock/asock.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/client.h"

struct line {
    asock_socket *socket;
    asock_op *connect;
    struct pollfd *place; /* of its descriptor */
};

static struct lent {
    struct client *client;
    asock_context *context;
    uint64_t room; /* sockets that the context may still have */
    struct line *lines;
    struct pollfd *fds; /* behind those of the lines the context's */
    long started, done, units;
} state;

static asock_op *new_connect(const struct options *o)
{
    asock_op *op;

    check(asock_op_new(state.context, &op), "asock_op_new");
    check(asock_op_set_endpoint(op, (const struct sockaddr *)&o->server, sizeof o->server),
          "asock_op_set_endpoint");
    check(asock_op_set_flags(op, o->given ? ASOCK_LEND_GIVEN : ASOCK_LEND), "asock_op_set_flags");
    return op;
}

static int take(asock_op *op)
{
    int error = asock_op_get_error(op), fd = asock_op_take_fd(op);

    if (error != 0)
        fail("connect: %s", asock_strerror(error));
    check(fd, "asock_op_take_fd");
    return fd;
}

/* For so many sockets, or as many as a session may have. */
static void new_context(const struct options *o, unsigned int sockets)
{
    asock_op *op;

    check(asock_context_new(o->path, &state.context), "asock_context_new");
    check(asock_context_set_limit(state.context, ASOCK_LIMIT_SOCKETS, sockets), "sockets");
    check(asock_op_new(state.context, &op), "asock_op_new");
    check(asock_sync(state.context, op), "asock_sync");
    check(asock_op_wait(op, 30000), "sync");
    asock_op_unref(op);
    check(asock_context_get_limit(state.context, ASOCK_LIMIT_SOCKETS, &state.room), "sockets");
}

/* Waits; it is blocking, as those of client_plain.c are. */
static int dial(asock_op *op, asock_socket **ret)
{
    int r, fd;

    check(asock_socket_new(state.context, AF_INET, ret), "asock_socket_new");
    r = asock_connect(*ret, op);
    check(r, "asock_connect");
    if (r > 0)
        check(asock_op_wait(op, 30000), "connect");
    fd = take(op);
    if (fcntl(fd, F_SETFL, O_RDWR) < 0)
        fail("fcntl");
    return fd;
}

/* One that was given is closed by close(), and its id by the last reference. */
static void hang_up(asock_socket *socket, int fd)
{
    if (!state.client->o.given)
        check(asock_close(socket, NULL, 0), "asock_close");
    asock_socket_unref(socket);
    close(fd);
}

int lent_connection(const struct options *o)
{
    asock_socket *socket;
    asock_op *op;
    int fd;

    if (state.room == 0)
        new_context(o, o->connections);
    state.room--;
    op = new_connect(o);
    fd = dial(op, &socket); /* it stays as long as the process */
    asock_op_unref(op);
    return fd;
}

/* ---- connect, echo, close ---- */

static void start_connection(struct line *line)
{
    check(asock_socket_new(state.context, AF_INET, &line->socket), "asock_socket_new");
    check(asock_connect(line->socket, line->connect), "asock_connect");
    state.started++;
}

static void on_connected(asock_op *op, void *userdata)
{
    struct line *line = userdata;

    line->place->fd = take(op);
    if (send(line->place->fd, "e", 1, MSG_NOSIGNAL) != 1)
        fail("send");
}

static void end_connection(struct line *line)
{
    char x;

    if (recv(line->place->fd, &x, 1, 0) != 1 || x != 'e')
        fail("a wrong byte came back");
    hang_up(line->socket, line->place->fd);
    line->place->fd = -1;
    state.done++;
    if (state.started < state.units)
        start_connection(line);
}

static void prepare_connections(struct client *c)
{
    unsigned int n = c->o.connections;

    state.client = c;
    new_context(&c->o, n > 16 ? 2 * n : 32); /* those that are closing count, too */
    state.lines = calloc(n, sizeof *state.lines);
    state.fds = calloc(n + 1, sizeof *state.fds);
    if (state.lines == NULL || state.fds == NULL)
        fail("no memory");
    for (unsigned int i = 0; i < n; i++) {
        struct line *line = &state.lines[i];

        line->connect = new_connect(&c->o);
        line->place = &state.fds[i];
        *line->place = (struct pollfd){.fd = -1, .events = POLLIN};
        if (n > 1)
            check(asock_op_set_callback(line->connect, on_connected, line),
                  "asock_op_set_callback");
    }
    state.fds[n].fd = asock_context_get_fd(state.context);
}

static void turn(unsigned int n)
{
    struct pollfd *own = &state.fds[n];

    check(asock_context_flush(state.context), "asock_context_flush");
    own->events = (short)asock_context_get_events(state.context);
    poll(state.fds, n + 1, asock_context_get_timeout(state.context));
    for (unsigned int i = 0; i < n; i++)
        if (state.fds[i].fd >= 0 && state.fds[i].revents != 0)
            end_connection(&state.lines[i]);
    if (own->revents != 0)
        check(asock_context_process(state.context), "asock_context_process");
}

static void run_one_at_a_time(long units)
{
    asock_op *op = state.lines[0].connect;

    for (long i = 0; i < units; i++) {
        asock_socket *socket;
        int fd = dial(op, &socket);

        echo_one(fd);
        hang_up(socket, fd);
    }
}

static void run_connections(struct client *c, long units)
{
    unsigned int n = c->o.connections;

    if (n == 1) {
        run_one_at_a_time(units);
        return;
    }
    state.units = units;
    state.started = state.done = 0;
    for (unsigned int i = 0; i < n && state.started < units; i++)
        start_connection(&state.lines[i]);
    while (state.done < units)
        turn(n);
}

static void run_dials(struct client *c, long units)
{
    for (long i = 0; i < units; i++) {
        uint64_t began = now_ns();
        asock_socket *socket;
        int fd = dial(state.lines[0].connect, &socket);

        times_add(&c->times, began, now_ns());
        hang_up(socket, fd);
        if (c->o.rest)
            check(asock_context_flush(state.context), "asock_context_flush");
        rest(&c->o);
    }
}

static const struct test tests[] = {
    {"connect", 64, prepare_connections, run_connections},
    {"dial", 64, prepare_connections, run_dials},
    {0},
};

const struct test *lent_test(const char *name)
{
    const struct test *test = test_named(tests, name);

    return test != NULL ? test : plain_test(name);
}
