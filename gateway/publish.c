/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: bind and listen, before the command runs -> accept -> connect to the program's
 * localhost, 127.0.0.1 first, then ::1 -> both connections are a client's, whose bytes pump.c moves
 * -> accept again.
 * Failures:
 * - no server listens at the program's port, or it does not answer in time: the peer gets RST;
 * - no socket, memory or descriptor is left, or too many connections wait for the program:
 *   accepting rests for a moment, and connections wait in the kernel of asockd's host;
 * - the session is lost: it listens again with the next one, for which it asks, less and less
 *   often;
 * - policy allows the address no more, or the administrator has ended the listener: it ends, and
 *   calls its owner.
 */
#include "gateway/publish.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/client.h"

/*
 * Connections that the program has not answered yet. Its kernel does that at once, unless the
 * program's backlog is full.
 */
#define INBOUND_MAX 256u
#define ANSWER_SECONDS 10.0
#define REST_SECONDS 0.1
#define RELISTEN_SECONDS 1.0
#define RELISTEN_SECONDS_MAX 30.0

/* An accepted connection, until the program's side is connected. */
struct inbound {
    struct list node;
    struct publish *publish;
    asock_socket *socket;
    int family; /* of the attempt */
    ev_io io;
    ev_timer deadline;
};

struct publish {
    struct session_wait wait;
    struct gateway *gateway;
    struct ev_loop *loop;
    const struct network *network; /* NULL: not started */
    struct publish_config config;
    struct sockaddr_storage address; /* with the port that was given */
    asock_socket *listener;
    asock_op *op;
    ev_timer rest;      /* before the next accept */
    ev_timer again;     /* before the next attempt to listen */
    ev_tstamp patience; /* for that one */
    bool is_over;
    bool is_aborted; /* the daemon has ended the listener, but perhaps the session too */
    struct list inbound;
    unsigned int inbound_count;
};

/* ---- the program's side ---- */

static void forget(struct inbound *inbound)
{
    struct ev_loop *loop = inbound->publish->loop;

    ev_io_stop(loop, &inbound->io);
    ev_timer_stop(loop, &inbound->deadline);
    list_remove(&inbound->node);
    inbound->publish->inbound_count--;
    asock_socket_unref(inbound->socket);
    free(inbound);
}

static void reset_socket(asock_socket *socket)
{
    asock_op *op;

    if (asock_op_new(asock_socket_get_context(socket), &op) < 0)
        return;
    (void)asock_close(socket, op, ASOCK_CLOSE_ABORT);
    asock_op_unref(op);
}

static void close_attempt(struct inbound *inbound)
{
    ev_io_stop(inbound->publish->loop, &inbound->io);
    if (inbound->io.fd >= 0)
        close(inbound->io.fd);
    ev_io_set(&inbound->io, -1, EV_WRITE);
}

static void give_up(struct inbound *inbound)
{
    close_attempt(inbound);
    reset_socket(inbound->socket);
    forget(inbound);
}

static void leave(void *userdata, bool reset)
{
    struct linger linger = {.l_onoff = 1};
    int fd = (int)(intptr_t)userdata;

    if (reset)
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(fd);
}

static void relay(struct inbound *inbound)
{
    struct gateway *gateway = inbound->publish->gateway;
    asock_socket *socket = inbound->socket;
    int fd = inbound->io.fd;

    inbound->socket = NULL;
    forget(inbound);
    client_adopt(gateway, fd, socket, -1, leave, (void *)(intptr_t)fd);
}

static int loopback(int family, uint16_t port, struct sockaddr_storage *ret)
{
    struct sockaddr_in *in = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

    memset(ret, 0, sizeof(*ret));
    ret->ss_family = (sa_family_t)family;
    if (family == AF_INET) {
        in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        in->sin_port = htons(port);
        return sizeof(*in);
    }
    in6->sin6_addr = in6addr_loopback;
    in6->sin6_port = htons(port);
    return sizeof(*in6);
}

/* 0: connected, or in progress; a negative errno. */
static int attempt(struct inbound *inbound)
{
    struct publish *publish = inbound->publish;
    struct sockaddr_storage address;
    socklen_t len = (socklen_t)loopback(inbound->family, publish->config.port, &address);
    int fd = network_socket_inside(publish->network, inbound->family);

    if (fd < 0)
        return fd;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    ev_io_set(&inbound->io, fd, EV_WRITE);
    if (connect(fd, (struct sockaddr *)&address, len) < 0 && errno != EINPROGRESS)
        return -errno;
    ev_io_start(publish->loop, &inbound->io);
    return 0;
}

/* The next family, or the end. */
static void go_on(struct inbound *inbound)
{
    close_attempt(inbound);
    if (inbound->family == AF_INET) {
        inbound->family = AF_INET6;
        if (attempt(inbound) == 0)
            return;
    }
    give_up(inbound);
}

static void on_writable(struct ev_loop *loop, ev_io *io, int events)
{
    struct inbound *inbound = io->data;
    int error = 0;
    socklen_t len = sizeof(error);

    (void)loop;
    (void)events;
    if (getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error)
        go_on(inbound);
    else
        relay(inbound);
}

static void on_deadline(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    give_up(timer->data);
}

/* Takes the socket. */
static void begin(struct publish *publish, asock_socket *socket)
{
    struct inbound *inbound = calloc(1, sizeof(*inbound));

    if (!inbound) {
        reset_socket(socket);
        asock_socket_unref(socket);
        return;
    }
    inbound->publish = publish;
    inbound->socket = socket;
    inbound->family = AF_INET;
    ev_io_init(&inbound->io, on_writable, -1, EV_WRITE);
    ev_timer_init(&inbound->deadline, on_deadline, ANSWER_SECONDS, 0);
    inbound->io.data = inbound->deadline.data = inbound;
    list_append(&publish->inbound, &inbound->node);
    publish->inbound_count++;
    ev_timer_start(publish->loop, &inbound->deadline);
    if (attempt(inbound) < 0)
        go_on(inbound);
}

/* ---- accepting ---- */

static void rest(struct publish *publish)
{
    ev_timer_stop(publish->loop, &publish->rest);
    ev_timer_set(&publish->rest, REST_SECONDS, 0);
    ev_timer_start(publish->loop, &publish->rest);
}

static void drop_listener(struct publish *publish)
{
    publish->op = asock_op_unref(publish->op);
    publish->listener = asock_socket_unref(publish->listener);
}

static void end_with(struct publish *publish, int error, const char *text)
{
    publish->is_over = true;
    publish->config.ended(publish->config.userdata, error, text);
    drop_listener(publish);
}

/* A call that has submitted, or not: what the op's error is if it does not run. */
static bool runs(const asock_op *op, int submitted, int *ret_error)
{
    *ret_error = submitted < 0 ? ASOCK_SOCKET_ERROR
                 : submitted   ? 0
                               : asock_op_get_error((asock_op *)op);
    return submitted == 1;
}

static void listen_later(struct publish *publish)
{
    ev_timer_stop(publish->loop, &publish->again);
    ev_timer_set(&publish->again, publish->patience, 0);
    ev_timer_start(publish->loop, &publish->again);
    publish->patience *= 2;
    if (publish->patience > RELISTEN_SECONDS_MAX)
        publish->patience = RELISTEN_SECONDS_MAX;
}

/* To bind or listen: the port may still be the lost session's, or there is no room just now. */
static void refused_again(struct publish *publish, int error)
{
    if (error == ASOCK_ACCESS_DENIED) {
        end_with(publish, error, asock_op_get_text(publish->op));
        return;
    }
    drop_listener(publish);
    listen_later(publish);
}

static void refused(struct publish *publish, int error)
{
    switch (error) {
    case ASOCK_NO_BUFFER_SPACE:
    case ASOCK_TOO_MANY_OPEN_SOCKETS:
        rest(publish);
        return;
    case ASOCK_CONNECTION_ABORTED:
        /*
         * By the administrator, or because the session ends: publish_lost() follows in a moment
         * then.
         */
        if (publish->is_aborted)
            break;
        publish->is_aborted = true;
        rest(publish);
        return;
    default:
        break;
    }
    end_with(publish, error, asock_op_get_text(publish->op));
}

static void accept_next(struct publish *publish)
{
    int error;

    if (publish->is_over || !publish->listener)
        return;
    if (publish->inbound_count >= INBOUND_MAX ||
        publish->gateway->client_count + publish->inbound_count >= GATEWAY_CLIENTS_MAX)
        rest(publish);
    else if (!runs(publish->op, asock_accept(publish->listener, publish->op), &error))
        refused(publish, error);
}

static void on_rest(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop;
    (void)events;
    accept_next(timer->data);
}

/* ---- listening again ---- */

static void on_done(asock_op *op, void *userdata);

/* With publish->op; an enum asock_error, or 0: it runs. */
static int start_binding(struct publish *publish, asock_context *context)
{
    int error;

    if (asock_socket_new(context, publish->address.ss_family, &publish->listener) < 0 ||
        asock_op_new(context, &publish->op) < 0 ||
        asock_op_set_endpoint(publish->op, (struct sockaddr *)&publish->address,
                              publish->config.address_len) < 0)
        return ASOCK_NO_BUFFER_SPACE;
    asock_op_set_callback(publish->op, on_done, publish);
    return runs(publish->op, asock_bind(publish->listener, publish->op), &error) ? 0 : error;
}

static void listen_again(struct publish *publish)
{
    asock_context *context = gateway_context(publish->gateway);
    int error = context ? start_binding(publish, context) : 0;

    if (!context || error) {
        drop_listener(publish);
        listen_later(publish);
    }
}

static void on_session(struct session_wait *wait)
{
    listen_again((struct publish *)wait);
}

static void on_again(struct ev_loop *loop, ev_timer *timer, int events)
{
    struct publish *publish = timer->data;

    (void)loop;
    (void)events;
    if (!gateway_await_session(publish->gateway, &publish->wait))
        listen_again(publish);
}

/* Of the op that binds, listens and accepts. */
static void on_done(asock_op *op, void *userdata)
{
    struct publish *publish = userdata;
    int error = asock_op_get_error(op);

    if (publish->is_over) {
        drop_listener(publish);
        return;
    }
    if (!error && asock_op_get_operation(op) == ASOCK_OPERATION_ACCEPT)
        begin(publish, asock_op_take_socket(op));
    if (!error && asock_op_get_operation(op) == ASOCK_OPERATION_BIND) {
        if (!runs(op, asock_listen(publish->listener, op, 0), &error))
            refused_again(publish, error);
        return;
    }
    if (error && asock_op_get_operation(op) != ASOCK_OPERATION_ACCEPT) {
        refused_again(publish, error);
        return;
    }
    if (error) {
        refused(publish, error);
        return;
    }
    publish->patience = RELISTEN_SECONDS;
    accept_next(publish);
}

/* ---- life ---- */

static int wait_for(asock_op *op, int submitted, int timeout_ms)
{
    int error;

    if (!runs(op, submitted, &error))
        return error;
    if (asock_op_wait(op, timeout_ms) < 0)
        return ASOCK_TIMED_OUT;
    return asock_op_get_error(op);
}

static int open_listener(struct publish *publish)
{
    asock_context *context = gateway_context(publish->gateway);
    int error;

    if (asock_socket_new(context, publish->address.ss_family, &publish->listener) < 0 ||
        asock_op_new(context, &publish->op) < 0)
        return ASOCK_NO_BUFFER_SPACE;
    if (asock_op_set_endpoint(publish->op, (struct sockaddr *)&publish->address,
                              publish->config.address_len) < 0)
        return ASOCK_INVALID_ARGUMENT;
    error = wait_for(publish->op, asock_bind(publish->listener, publish->op),
                     publish->config.answer_timeout_ms);
    if (!error)
        error = wait_for(publish->op, asock_listen(publish->listener, publish->op, 0),
                         publish->config.answer_timeout_ms);
    if (!error && asock_socket_get_local(publish->listener, &publish->address) < 0)
        error = ASOCK_SOCKET_ERROR;
    return error;
}

int publish_new(struct gateway *gateway, const struct publish_config *config, struct publish **ret,
                char *text, size_t text_size)
{
    struct publish *publish = calloc(1, sizeof(*publish));
    const char *said;
    int error;

    text[0] = 0;
    if (!publish)
        return ASOCK_NO_BUFFER_SPACE;
    publish->gateway = gateway;
    publish->loop = gateway->loop;
    publish->config = *config;
    memcpy(&publish->address, config->address, config->address_len);
    publish->config.address = NULL; /* the caller's */
    publish->wait.tell = on_session;
    publish->patience = RELISTEN_SECONDS;
    list_init(&publish->inbound);
    ev_init(&publish->rest, on_rest);
    ev_init(&publish->again, on_again);
    publish->rest.data = publish->again.data = publish;
    error = open_listener(publish);
    if (!error) {
        asock_op_set_callback(publish->op, on_done, publish);
        *ret = publish;
        return ASOCK_SUCCESS;
    }
    said = publish->op ? asock_op_get_text(publish->op) : NULL;
    if (said && strlen(said) < text_size)
        memcpy(text, said, strlen(said) + 1);
    drop_listener(publish);
    free(publish);
    return error;
}

uint16_t publish_port(const struct publish *publish)
{
    return ntohs(((const struct sockaddr_in *)&publish->address)->sin_port); /* of both families */
}

void publish_start(struct publish *publish, const struct network *network)
{
    publish->network = network;
    accept_next(publish);
}

static void drop_inbound(struct publish *publish)
{
    struct inbound *inbound;

    while ((inbound = list_first(&publish->inbound, struct inbound, node)))
        give_up(inbound);
}

void publish_lost(struct publish *publish)
{
    ev_timer_stop(publish->loop, &publish->rest);
    publish->is_aborted = false;
    drop_inbound(publish);
    drop_listener(publish);
    if (!publish->is_over)
        listen_later(publish);
}

void publish_end(struct publish *publish)
{
    publish->is_over = true;
    ev_timer_stop(publish->loop, &publish->rest);
    ev_timer_stop(publish->loop, &publish->again);
    session_wait_end(&publish->wait);
    if (publish->listener)
        (void)asock_close(publish->listener, NULL, 0);
}

void publish_stop(struct publish *publish)
{
    publish_end(publish);
    drop_inbound(publish);
    drop_listener(publish);
}

void publish_free(struct publish *publish)
{
    if (publish)
        drop_listener(publish);
    free(publish);
}
