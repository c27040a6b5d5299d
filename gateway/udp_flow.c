/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: connect -> receives and sends, each an op -> close.
 * Failures: no memory, or an op that cannot begin: a datagram is lost, as on any network; other
 * errors are the owner's to judge.
 */
#include "gateway/udp_flow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "gateway/server.h"

/* A datagram on its way to the daemon. */
struct sending {
    struct list node;
    struct udp_flow *flow;
    asock_op *op;
    size_t len;
    char data[];
};

static void drop_sending(struct sending *sending)
{
    list_remove(&sending->node);
    asock_op_unref(sending->op);
    free(sending);
}

static void op_done(struct udp_flow *flow)
{
    flow->ops--;
    flow->class->settled(flow);
}

static void on_connected(asock_op *op, void *userdata)
{
    struct udp_flow *flow = userdata;

    flow->class->connected(flow, asock_op_get_error(op));
    op_done(flow);
}

static void on_received(asock_op *op, void *userdata)
{
    struct udp_flow *flow = userdata;

    flow->class->received(flow, op, asock_op_get_error(op));
    op_done(flow);
}

static void on_sent(asock_op *op, void *userdata)
{
    struct sending *sending = userdata;
    struct udp_flow *flow = sending->flow;
    int error = asock_op_get_error(op);
    size_t len = sending->len;

    drop_sending(sending);
    flow->sends--;
    flow->class->sent(flow, len, error);
    op_done(flow);
}

int udp_flow_init(struct udp_flow *flow, const struct udp_flow_class *class)
{
    *flow = (struct udp_flow){.class = class};
    list_init(&flow->sendings);
    flow->buf = malloc(class->head_max + DATAGRAM_MAX);
    return flow->buf ? 0 : -ENOMEM;
}

void udp_flow_deinit(struct udp_flow *flow)
{
    struct sending *sending;

    while ((sending = list_first(&flow->sendings, struct sending, node)))
        drop_sending(sending);
    asock_op_unref(flow->connect);
    asock_op_unref(flow->receive);
    free(flow->buf);
}

int udp_flow_connect(struct udp_flow *flow, asock_context *context, const struct destination *to)
{
    int r;

    if (asock_socket_new_udp(context, AF_UNSPEC, &flow->socket) < 0 ||
        asock_op_new(context, &flow->connect) < 0 || asock_op_new(context, &flow->receive) < 0 ||
        asock_op_set_host(flow->connect, to->host, to->service) < 0)
        return ASOCK_NETWORK_DOWN;
    asock_op_set_timeout(flow->connect, GATEWAY_DIAL_MS);
    asock_op_set_callback(flow->connect, on_connected, flow);
    asock_op_set_callback(flow->receive, on_received, flow);
    r = asock_connect(flow->socket, flow->connect);
    if (r != 1)
        return r == 0 ? asock_op_get_error(flow->connect) : ASOCK_NETWORK_DOWN;
    flow->ops++;
    return 0;
}

int udp_flow_receive(struct udp_flow *flow)
{
    int r;

    asock_op_set_buffer(flow->receive, flow->buf + flow->class->head_max, DATAGRAM_MAX);
    r = asock_receive(flow->socket, flow->receive);
    if (r != 1)
        return r == 0 ? asock_op_get_error(flow->receive) : ASOCK_NO_BUFFER_SPACE;
    flow->ops++;
    return 0;
}

bool udp_flow_send(struct udp_flow *flow, const void *data, size_t len)
{
    struct sending *sending = malloc(sizeof(*sending) + len + 1);

    if (!sending)
        return false;
    if (asock_op_new(asock_socket_get_context(flow->socket), &sending->op) < 0) {
        free(sending);
        return false;
    }
    sending->flow = flow;
    sending->len = len;
    list_init(&sending->node);
    list_append(&flow->sendings, &sending->node);
    memcpy(sending->data, data, len);
    asock_op_set_buffer(sending->op, sending->data, len);
    asock_op_set_callback(sending->op, on_sent, sending);
    if (asock_send(flow->socket, sending->op) != 1) {
        drop_sending(sending);
        return false;
    }
    flow->sends++;
    flow->ops++;
    return true;
}

void udp_flow_close(struct udp_flow *flow)
{
    if (flow->socket)
        (void)asock_close(flow->socket, NULL, 0);
    flow->socket = asock_socket_unref(flow->socket);
}

bool udp_flow_is_passing(int error)
{
    return error == ASOCK_CONNECTION_REFUSED || error == ASOCK_HOST_UNREACHABLE ||
           error == ASOCK_NETWORK_UNREACHABLE;
}
