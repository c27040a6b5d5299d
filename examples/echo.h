/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_EXAMPLES_ECHO_H
#define ASOCK_EXAMPLES_ECHO_H

/*
 * What the echo servers with callbacks have in common: a listener, and per connection one op that
 * receives, sends back what came, and receives again, until the peer has ended its stream.
 */
#include <asock/asock.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct echo {
    asock_context *context;
    asock_socket *listener;
    asock_op *accept;
    unsigned int left; /* connections still to be accepted */
    unsigned int open; /* and those that are served */
    bool accepts;      /* the accept has not ended */
    int status;
    void (*finished)(struct echo *echo); /* the last one has ended, or no more can be accepted */
    void *userdata;
};

struct echo_connection {
    struct echo *echo;
    asock_socket *socket;
    asock_op *op;
    size_t held; /* bytes in buffer that are being sent back */
    char buffer[16384];
};

static inline socklen_t echo_address(const char *host, const char *port,
                                     struct sockaddr_storage *ret)
{
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)ret;
    struct sockaddr_in *in = (struct sockaddr_in *)(void *)ret;

    memset(ret, 0, sizeof(*ret));
    in6->sin6_port = htons((uint16_t)atoi(port)); /* at the same place in both */
    if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
        ret->ss_family = AF_INET;
        return sizeof(*in);
    }
    ret->ss_family = AF_INET6;
    return inet_pton(AF_INET6, host, &in6->sin6_addr) == 1 ? sizeof(*in6) : 0;
}

static inline int echo_wait(const char *step, asock_op *op, int r)
{
    if (r > 0)
        r = asock_op_wait(op, -1);
    if (r == 0)
        r = asock_op_get_error(op);
    if (r == 0)
        return 0;
    fprintf(stderr, "%s: %s\n", step, r < 0 ? strerror(-r) : asock_strerror(r));
    if (r > 0 && asock_op_get_text(op))
        fprintf(stderr, "%s\n", asock_op_get_text(op));
    return -1;
}

/* Listens, and says where. Waits: nothing else is going on yet. */
static inline int echo_listen(asock_context *context, const char *host, const char *port,
                              asock_socket **ret)
{
    struct sockaddr_storage addr;
    socklen_t len = echo_address(host, port, &addr);
    asock_op *op;
    int r = -1;

    if (len == 0 || asock_socket_new(context, AF_UNSPEC, ret) < 0)
        return -1;
    if (asock_op_new(context, &op) < 0)
        return -1;
    if (asock_op_set_endpoint(op, (const struct sockaddr *)&addr, len) == 0)
        r = echo_wait("bind", op, asock_bind(*ret, op));
    if (r == 0)
        r = echo_wait("listen", op, asock_listen(*ret, op, 0));
    if (r == 0 && asock_socket_get_local(*ret, &addr) > 0) {
        printf("listening on %s port %u\n", host,
               ntohs(((struct sockaddr_in6 *)(void *)&addr)->sin6_port));
        fflush(stdout);
    }
    asock_op_unref(op);
    return r;
}

/* ---- one connection ---- */

static inline void echo_end(struct echo_connection *c)
{
    struct echo *echo = c->echo;

    asock_close(c->socket, NULL, 0);
    asock_op_unref(c->op);
    asock_socket_unref(c->socket);
    free(c);
    if (--echo->open == 0 && !echo->accepts)
        echo->finished(echo);
}

static inline void echo_sent(asock_op *op, void *userdata);

static inline void echo_received(asock_op *op, void *userdata)
{
    struct echo_connection *c = userdata;

    c->held = asock_op_get_bytes(op);
    if (asock_op_get_error(op) || c->held == 0) {
        echo_end(c);
        return;
    }
    asock_op_set_buffer(op, c->buffer, c->held);
    asock_op_set_callback(op, echo_sent, c);
    asock_send(c->socket, op);
}

static inline void echo_receive(struct echo_connection *c)
{
    asock_op_set_buffer(c->op, c->buffer, sizeof(c->buffer));
    asock_op_set_callback(c->op, echo_received, c);
    asock_receive(c->socket, c->op);
}

static inline void echo_sent(asock_op *op, void *userdata)
{
    if (asock_op_get_error(op))
        echo_end(userdata);
    else
        echo_receive(userdata);
}

/* ---- the listener ---- */

static inline void echo_serve(struct echo *echo, asock_socket *socket)
{
    struct echo_connection *c = calloc(1, sizeof(*c));

    if (!c || asock_op_new(echo->context, &c->op) < 0) {
        free(c);
        asock_socket_unref(socket); /* which closes it */
        return;
    }
    c->echo = echo;
    c->socket = socket;
    echo->open++;
    echo_receive(c);
}

/* Once for each connection, and a last time when no more come. */
static inline void echo_accepted(asock_op *op, void *userdata)
{
    struct echo *echo = userdata;
    bool is_more = asock_op_get_result_flags(op) & ASOCK_MORE;

    if (is_more && echo->left > 0) {
        echo_serve(echo, asock_op_take_socket(op));
        if (--echo->left == 0)
            asock_cancel(op); /* those that come now are closed: nobody takes them */
    } else if (!is_more && echo->left > 0) {
        fprintf(stderr, "accept: %s\n", asock_strerror(asock_op_get_error(op)));
        echo->status = 1;
        echo->left = 0;
    }
    if (!is_more)
        echo->accepts = false;
    if (!is_more && echo->open == 0)
        echo->finished(echo);
}

static inline int echo_start(struct echo *echo)
{
    if (asock_op_new(echo->context, &echo->accept) < 0)
        return -1;
    asock_op_set_callback(echo->accept, echo_accepted, echo);
    echo->accepts = asock_accept_multishot(echo->listener, echo->accept) > 0;
    return echo->accepts ? 0 : -1;
}

#endif
