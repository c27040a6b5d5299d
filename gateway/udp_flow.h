/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_UDP_FLOW_H
#define GATEWAY_UDP_FLOW_H

/*
 * A datagram socket of the daemon's that is connected to one destination, by name where there is
 * one, so policy judges the name as for every connect.
 */
#include <asock/asock.h>

#include <stdbool.h>
#include <stddef.h>

#include "base/list.h"
#include "gateway/destination.h"

#define DATAGRAM_MAX 65535u
/* Of memory, about: a datagram that is being sent, beside its data. */
#define UDP_SENDING_BYTES 832u

struct udp_flow;

/* Reported to the owner, in a callback of the library. error: an enum asock_error. */
struct udp_flow_class {
    size_t head_max; /* room in front of each datagram that is received */
    void (*connected)(struct udp_flow *flow, int error);
    void (*received)(struct udp_flow *flow, asock_op *op, int error);
    void (*sent)(struct udp_flow *flow, size_t len, int error);
    /* After each of these; here alone may the flow be freed, when it has no op left. */
    void (*settled)(struct udp_flow *flow);
};

struct udp_flow {
    const struct udp_flow_class *class;
    asock_socket *socket; /* NULL: not connected, or closed */
    asock_op *connect, *receive;
    struct list sendings;
    unsigned int ops;   /* in flight */
    unsigned int sends; /* of these */
    char *buf;          /* a datagram that was received is behind head_max */
};

/* 0 or -ENOMEM. */
int udp_flow_init(struct udp_flow *flow, const struct udp_flow_class *class);
/* When it has no op left, or when none completes any more. */
void udp_flow_deinit(struct udp_flow *flow);

/* 0: connected() follows; else an enum asock_error. */
int udp_flow_connect(struct udp_flow *flow, asock_context *context, const struct destination *to);
/* One datagram. 0, or why it cannot receive: an enum asock_error. */
int udp_flow_receive(struct udp_flow *flow);
/* A copy of the bytes. false: the datagram is lost, and sent() does not follow. */
bool udp_flow_send(struct udp_flow *flow, const void *data, size_t len);
/* Its ops end. Closing again does nothing. */
void udp_flow_close(struct udp_flow *flow);

/* For a bound on what is being sent: bytes of memory, about. */
static inline size_t udp_flow_cost(size_t len)
{
    return len + UDP_SENDING_BYTES;
}

/* What the network reports about an earlier datagram, and what ends nothing. */
bool udp_flow_is_passing(int error);

#endif
