/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The tests over asockd, as a program with an event loop of its own does it: operations with
 * callbacks, poll(), asock_context_process(). Every completion is waited for.
 */
#include <asock/asock.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "bench/client.h"

/* A connection and what goes on on it. */
struct line {
    asock_socket *socket;
    asock_op *send, *receive, *connect, *close;
    unsigned int index;
    unsigned int pending; /* ops of the present message or connection */
    uint64_t messages;
    unsigned char data[MESSAGE];
};

static struct asock {
    struct client *client;
    asock_context *context;
    struct line *lines;
    long started, done, units;
    /* bulk */
    asock_op *ops[OPERATIONS_MAX];
    unsigned int op_count, in_flight;
    uint64_t position, finished, total;
    unsigned char *buffers;
    const unsigned char *sent; /* the pattern: the client's, or in shared memory */
} state;

static void check_op(asock_op *op, const char *what)
{
    const char *text = asock_op_get_text(op);
    int error = asock_op_get_error(op);

    errno = 0;
    if (error != 0)
        fail("%s: %s %s", what, asock_strerror(error), text != NULL ? text : "");
}

static asock_op *new_op(asock_callback callback, void *userdata)
{
    asock_op *op;

    check(asock_op_new(state.context, &op), "asock_op_new");
    if (callback != NULL)
        check(asock_op_set_callback(op, callback, userdata), "asock_op_set_callback");
    return op;
}

static void turn(void)
{
    struct pollfd fd = {.fd = asock_context_get_fd(state.context)};

    /*
     * What was queued leaves before the sleep, not after it: poll() need not wait for room first.
     */
    check(asock_context_flush(state.context), "asock_context_flush");
    fd.events = (short)asock_context_get_events(state.context);
    poll(&fd, 1, asock_context_get_timeout(state.context));
    check(asock_context_process(state.context), "asock_context_process");
}

static void wait_for(asock_op *op, const char *what)
{
    check(asock_op_wait(op, 30000), what);
    check_op(op, what);
}

/* 0 means completed at once, without a callback: then it is called here. */
static void receive(asock_socket *socket, asock_op *op, asock_callback callback, void *userdata)
{
    int r = asock_receive(socket, op);

    check(r, "asock_receive");
    if (r == 0)
        callback(op, userdata);
}

static asock_socket *dial(const struct options *o, asock_context *context)
{
    asock_socket *socket;
    asock_op *op;

    check(asock_socket_new(context, AF_INET, &socket), "asock_socket_new");
    check(asock_op_new(context, &op), "asock_op_new");
    asock_op_set_endpoint(op, (const struct sockaddr *)&o->server, sizeof o->server);
    check(asock_connect(socket, op), "asock_connect");
    wait_for(op, "connect");
    asock_op_unref(op);
    return socket;
}

/* The context is the first one's; more of them only where one may not have all the sockets. */
static asock_socket *open_socket(const struct options *o, asock_context *context)
{
    asock_socket *socket = dial(o, context);
    char x[2] = "e";

    if (strcmp(o->test, "up") == 0 || strcmp(o->test, "down") == 0)
        return socket;
    check(asock_send_all(socket, x, 1, 30000), "asock_send_all");
    if (asock_receive_some(socket, x + 1, 1, 30000) != 1 || x[1] != 'e')
        fail("a wrong byte came back");
    return socket;
}

static void prepare_context(struct client *c)
{
    state.client = c;
    check(asock_context_new(c->o.path, &state.context), "asock_context_new");
    state.lines = calloc(c->o.connections, sizeof *state.lines);
    if (state.lines == NULL)
        fail("no memory");
}

/* ---- round trip, and many connections ---- */

static void send_message(struct line *line)
{
    uint64_t position = message_position(line->index, line->messages);

    line->pending = 2;
    asock_op_set_buffer(line->send, (void *)pattern_at(state.client->sent, position), MESSAGE);
    check(asock_send(line->socket, line->send), "asock_send");
    check(asock_receive(line->socket, line->receive), "asock_receive");
}

/* Both the send and the receive are through. */
static void end_message(struct line *line)
{
    uint64_t position = message_position(line->index, line->messages++);

    if (!pattern_is(state.client->expected, position, line->data, MESSAGE))
        fail("a wrong byte came back");
    state.done++;
    if (state.started < state.units) {
        state.started++;
        send_message(line);
    }
}

static void on_message(asock_op *op, void *userdata)
{
    struct line *line = userdata;

    check_op(op, "message");
    if (asock_op_get_bytes(op) != MESSAGE)
        fail("a message was cut");
    if (--line->pending == 0)
        end_message(line);
}

static void prepare_echo(struct client *c)
{
    prepare_context(c);
    asock_context_set_always_pending(state.context, true);
    for (unsigned int i = 0; i < c->o.connections; i++) {
        struct line *line = &state.lines[i];

        line->index = i;
        line->socket = open_socket(&c->o, state.context);
        line->send = new_op(on_message, line);
        line->receive = new_op(on_message, line);
        asock_op_set_buffer(line->receive, line->data, MESSAGE);
    }
}

static void run_round_trips(struct client *c, long units)
{
    state.units = 0;
    for (long i = 0; i < units; i++) {
        uint64_t began = now_ns();

        send_message(&state.lines[0]);
        while (state.lines[0].pending > 0)
            turn();
        times_add(&c->times, began, now_ns());
    }
}

/* ---- round trip, with calls that wait ---- */

static void prepare_waiting(struct client *c)
{
    struct line *line;

    prepare_context(c);
    line = state.lines;
    line->socket = open_socket(&c->o, state.context);
    check(asock_op_new(state.context, &line->send), "asock_op_new");
    check(asock_op_new(state.context, &line->receive), "asock_op_new");
    asock_op_set_buffer(line->receive, line->data, MESSAGE);
}

static void run_waiting(struct client *c, long units)
{
    struct line *line = state.lines;

    for (long i = 0; i < units; i++) {
        uint64_t began = now_ns(), position = message_position(0, line->messages);

        send_message(line);
        wait_for(line->receive, "receive");
        wait_for(line->send, "send");
        if (asock_op_get_bytes(line->receive) != MESSAGE)
            fail("a message was cut");
        if (!pattern_is(c->expected, position, line->data, MESSAGE))
            fail("a wrong byte came back");
        line->messages++;
        times_add(&c->times, began, now_ns());
    }
}

static void run_messages(struct client *c, long units)
{
    state.units = units;
    state.started = state.done = 0;
    for (unsigned int i = 0; i < c->o.connections && state.started < units; i++) {
        state.started++;
        send_message(&state.lines[i]);
    }
    while (state.done < units)
        turn();
}

/* ---- bulk ---- */

static void send_header(char what)
{
    unsigned char header[HEADER_BYTES];

    header_fill(header, what, state.total);
    check(asock_send_all(state.lines[0].socket, header, sizeof header, 30000), "asock_send_all");
}

/* The eighth one's success implies that of the seven before it; the last ones always report. */
static bool is_quiet(const struct options *o, unsigned int index)
{
    return o->errors_only && index % 8 != 7 &&
           state.total - state.position > (uint64_t)state.op_count * o->size;
}

static void send_piece(asock_op *op, unsigned int index)
{
    const struct options *o = &state.client->o;
    const unsigned char *data = pattern_at(state.sent, state.position);

    asock_op_set_buffer(op, (void *)data, o->size);
    asock_op_set_flags(op, is_quiet(o, index) ? ASOCK_ERRORS_ONLY : 0);
    check(asock_send(state.lines[0].socket, op), "asock_send");
    state.position += o->size;
    state.in_flight++;
}

static void on_sent(asock_op *op, void *userdata)
{
    check_op(op, "send");
    if (asock_op_get_bytes(op) != state.client->o.size)
        fail("a send was cut");
    state.in_flight--;
    if (state.position < state.total)
        send_piece(op, (unsigned int)(uintptr_t)userdata);
}

static void take(const void *data, uint64_t n)
{
    if (n == 0)
        fail("the connection ended");
    if (!pattern_is(state.client->expected, state.finished, data, n))
        fail("wrong bytes came behind position %llu", (unsigned long long)state.finished);
    state.finished += n;
}

static void on_received(asock_op *op, void *userdata)
{
    check_op(op, "receive");
    take(userdata, asock_op_get_bytes(op));
    receive(state.lines[0].socket, op, on_received, userdata);
}

/* One request, many completions: the data lies in a slice of the shared memory. */
static void on_slice(asock_op *op, void *userdata)
{
    size_t len;
    const void *data = asock_op_get_slice(op, &len);

    (void)userdata;
    check_op(op, "multishot receive");
    if (data != NULL)
        take(data, len);
    if ((asock_op_get_result_flags(op) & ASOCK_MORE) == 0)
        check(asock_receive_multishot(state.lines[0].socket, op), "asock_receive_multishot");
}

static asock_buffer *shared_memory(size_t size)
{
    asock_buffer *buffer;

    check(asock_buffer_new(state.context, size, 30000, &buffer), "asock_buffer_new");
    return buffer;
}

static void prepare_bulk(struct client *c)
{
    prepare_context(c);
    state.lines[0].socket = open_socket(&c->o, state.context);
    state.op_count = (unsigned int)(IN_FLIGHT / c->o.size);
    if (state.op_count > OPERATIONS_MAX)
        state.op_count = OPERATIONS_MAX;
}

static void prepare_up(struct client *c)
{
    prepare_bulk(c);
    state.sent = c->sent;
    if (c->o.shared) {
        unsigned char *data = asock_buffer_data(shared_memory(PATTERN_PERIOD + PATTERN_PIECE));

        pattern_fill(data, c->o.spoil);
        state.sent = data;
    }
    for (unsigned int i = 0; i < state.op_count; i++)
        state.ops[i] = new_op(on_sent, (void *)(uintptr_t)i);
}

static void run_up(struct client *c, long units)
{
    asock_op *op = new_op(NULL, NULL);
    uint64_t answer = 0;

    state.total = (uint64_t)units * c->o.size;
    state.position = 0;
    send_header('u');
    for (unsigned int i = 0; i < state.op_count && state.position < state.total; i++)
        send_piece(state.ops[i], i);
    asock_op_set_buffer(op, &answer, sizeof answer);
    asock_op_set_flags(op, ASOCK_WAIT_ALL);
    check(asock_receive(state.lines[0].socket, op), "asock_receive");
    while (state.in_flight > 0)
        turn();
    wait_for(op, "the server's answer");
    asock_op_unref(op);
    if (answer != state.total)
        fail("the server has seen something else");
}

static void prepare_multishot(struct client *c)
{
    asock_pool *pool;

    check(asock_pool_new(shared_memory(IN_FLIGHT), c->o.size, &pool), "asock_pool_new");
    state.ops[0] = new_op(on_slice, NULL);
    check(asock_op_set_pool(state.ops[0], pool), "asock_op_set_pool");
    check(asock_receive_multishot(state.lines[0].socket, state.ops[0]), "asock_receive_multishot");
}

/* The receives stay from one run to the next: there is always one for what comes. */
static void prepare_down(struct client *c)
{
    prepare_bulk(c);
    if (c->o.shared) {
        prepare_multishot(c);
        return;
    }
    state.buffers = malloc(state.op_count * c->o.size);
    if (state.buffers == NULL)
        fail("no memory");
    memset(state.buffers, 0, state.op_count * c->o.size);
    for (unsigned int i = 0; i < state.op_count; i++) {
        unsigned char *buffer = state.buffers + i * c->o.size;

        state.ops[i] = new_op(on_received, buffer);
        asock_op_set_buffer(state.ops[i], buffer, c->o.size);
        receive(state.lines[0].socket, state.ops[i], on_received, buffer);
    }
}

static void run_down(struct client *c, long units)
{
    state.total = (uint64_t)units * c->o.size;
    state.finished = 0;
    send_header('d');
    while (state.finished < state.total)
        turn();
}

/* ---- connect, echo, close: the first byte travels with the connect ---- */

static void start_connection(struct line *line)
{
    state.started++;
    line->pending = 2;
    line->data[0] = 'e';
    line->data[1] = 0;
    check(asock_socket_new(state.context, AF_INET, &line->socket), "asock_socket_new");
    check(asock_connect(line->socket, line->connect), "asock_connect");
    check(asock_receive(line->socket, line->receive), "asock_receive");
}

static void on_closed(asock_op *op, void *userdata);

static void on_echoed(asock_op *op, void *userdata)
{
    struct line *line = userdata;
    int r;

    check_op(op, "connect, echo");
    if (--line->pending > 0)
        return;
    if (line->data[1] != 'e')
        fail("a wrong byte came back");
    r = asock_close(line->socket, line->close, 0);
    check(r, "asock_close");
    if (r == 0)
        on_closed(line->close, line);
}

static void on_closed(asock_op *op, void *userdata)
{
    struct line *line = userdata;

    check_op(op, "close");
    line->socket = asock_socket_unref(line->socket);
    state.done++;
    if (state.started < state.units)
        start_connection(line);
}

static void prepare_connections(struct client *c)
{
    prepare_context(c);
    for (unsigned int i = 0; i < c->o.connections; i++) {
        struct line *line = &state.lines[i];

        line->connect = new_op(on_echoed, line);
        line->receive = new_op(on_echoed, line);
        line->close = new_op(on_closed, line);
        asock_op_set_endpoint(line->connect, (struct sockaddr *)&c->o.server, sizeof c->o.server);
        asock_op_set_buffer(line->connect, line->data, 1);
        asock_op_set_buffer(line->receive, line->data + 1, 1);
    }
}

static void run_connections(struct client *c, long units)
{
    state.units = units;
    state.started = state.done = 0;
    for (unsigned int i = 0; i < c->o.connections && state.started < units; i++)
        start_connection(&state.lines[i]);
    while (state.done < units)
        turn();
}

/*
 * ---- idle: a receive pending on each; several sessions where one may not have so many sockets
 * ----
 */

#define OTHER_OPS 64u /* beside the receives that are pending */

/* How many sockets it has room for, each with its receive. */
static uint64_t session_for(const struct options *o, unsigned int sockets)
{
    uint64_t granted, ops;
    asock_op *op;

    check(asock_context_new(o->path, &state.context), "asock_context_new");
    check(asock_context_set_limit(state.context, ASOCK_LIMIT_SOCKETS, sockets), "sockets");
    check(asock_context_set_limit(state.context, ASOCK_LIMIT_OPS, sockets + OTHER_OPS), "ops");
    op = new_op(NULL, NULL);
    check(asock_sync(state.context, op), "asock_sync");
    wait_for(op, "sync");
    asock_op_unref(op);
    check(asock_context_get_limit(state.context, ASOCK_LIMIT_SOCKETS, &granted), "sockets");
    check(asock_context_get_limit(state.context, ASOCK_LIMIT_OPS, &ops), "ops");
    if (ops <= OTHER_OPS)
        fail("too few ops were granted");
    return granted < ops - OTHER_OPS ? granted : ops - OTHER_OPS;
}

static void prepare_idle(struct client *c)
{
    uint64_t room = 0;

    idle_begin();
    prepare_context(c);
    for (unsigned int i = 0; i < c->o.connections; i++, room--) {
        struct line *line = &state.lines[i];

        if (room == 0)
            room = session_for(&c->o, c->o.connections - i);
        line->socket = open_socket(&c->o, state.context);
        line->receive = new_op(NULL, NULL);
        asock_op_set_buffer(line->receive, line->data, MESSAGE);
        check(asock_receive(line->socket, line->receive), "asock_receive");
        check(asock_context_flush(state.context), "asock_context_flush");
    }
    idle_ready(c->o.connections);
}

static void run_dials(struct client *c, long units)
{
    for (long i = 0; i < units; i++) {
        uint64_t began = now_ns();
        asock_socket *socket = dial(&c->o, state.context);

        times_add(&c->times, began, now_ns());
        check(asock_close(socket, NULL, 0), "asock_close");
        asock_socket_unref(socket);
        if (c->o.rest)
            check(asock_context_flush(state.context), "asock_context_flush");
        rest(&c->o);
    }
}

static const struct test tests[] = {
    {"round-trip", 2000, prepare_echo, run_round_trips},
    {"waiting", 2000, prepare_waiting, run_waiting},
    {"messages", 4000, prepare_echo, run_messages},
    {"up", 0, prepare_up, run_up},
    {"down", 0, prepare_down, run_down},
    {"connect", 64, prepare_connections, run_connections},
    {"dial", 64, prepare_connections, run_dials},
    {"names", 1, names_prepare, names_run},
    {"idle", 0, prepare_idle, NULL},
    {0},
};

const struct test *asock_test(const char *name)
{
    return test_named(tests, name);
}
