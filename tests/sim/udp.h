/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_UDP_H
#define ASOCK_TESTS_SIM_UDP_H

/* UDP sockets of the simulated kernel. */
#include "tests/sim/groups.h"
#include "tests/sim/kernel.h"

struct udp_message {
    uint8_t *data;
    size_t len;
    struct sockaddr_storage from;
    uint64_t number, due;
    uint32_t dropped; /* before it */
    uint8_t traffic_class;
    uint16_t segment; /* what was sent together: bytes of each datagram; 0: it is one */
    bool is_stranger; /* taken when the socket had another peer */
};

struct udp_queue {
    struct udp_message *at;
    unsigned int count;
    size_t bytes;
};

/* A UDP socket; it outlives its descriptor. */
struct udp {
    int family, error;
    int reported;                   /* in the queue of errors; 0: nothing */
    int icmp;                       /* an error that the network will report; 0: none */
    uint64_t icmp_due;              /* then it becomes the socket's */
    struct sockaddr_storage local;  /* AF_UNSPEC: it is not bound */
    struct sockaddr_storage remote; /* AF_UNSPEC: it has no peer */
    unsigned int host;
    uint16_t owner;                  /* the port that it sends to */
    bool is_closed, has_no_segments; /* its device makes no checksums */
    struct udp_queue rx, sent, consumed;
    struct udp_groups groups;
    size_t rx_cap;
    uint32_t dropped, told, answers; /* told: of those dropped */
    uint64_t due, busy_until;        /* due: of the last answer */
};

int udp_open_file(int family, struct kfile **ret);
int udp_bind_file(struct udp *udp, const struct sockaddr *addr, socklen_t len);
/* An error whose time has come is the socket's. */
void udp_look_for_error(struct udp *udp);
/* A host sends something that nobody asked for. */
void udp_arrive(struct udp *udp, unsigned int host, size_t len);
int udp_connect_file(struct udp *udp, const struct sockaddr *addr, socklen_t len);
/* to NULL: the peer; with: its traffic class and segments. */
ssize_t udp_send_file(struct udp *udp, const struct iovec *iov, size_t count,
                      const struct sockaddr_storage *to, const struct udp_message *with);
/* Bytes that it had; ret: the message, without its data. */
ssize_t udp_receive_file(struct udp *udp, const struct iovec *iov, size_t count, int flags,
                         struct udp_message *ret);
void udp_closed(struct udp *udp);
int udp_events(const struct udp *udp);
void udp_free(struct udp *udp);
uint64_t udp_due(const struct udp *udp);
/*
 * That sends there, or is bound to it, in the order in which they were made: what policy no longer
 * lets be bound is closed, and a connect makes another one. NULL: no further one.
 */
struct udp *udp_next_by_port(uint16_t port, unsigned int *at);
struct udp *udp_by_port(uint16_t port); /* the last of them; NULL: none */

#endif
