/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_NETWORK_H
#define GATEWAY_NETWORK_H

/*
 * Two network namespaces with a cable between them: the command's, where everything leads into the
 * cable, and the gateway's, where nothing leads anywhere. Made without privileges, in a user
 * namespace.
 */
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "gateway/packet.h"

#define NETWORK_NAME_SERVER "198.18.0.1"

struct network {
    int netlink;
    int packets;   /* every first packet of a connection; non-blocking, like the next */
    int datagrams; /* of UDP, but for those to the gateway itself */
    unsigned int loopback, cable; /* indexes of devices */
    int own, inside; /* the network namespaces, from network_reach_inside() on; else -1 */
    bool has_ipv6;
};

/* What could not be had; in words that fit behind "cannot". */
struct network_problem {
    const char *what;
    int error; /* positive errno */
};

/*
 * For the calling process, which has one thread: a user namespace in which it has its own ids, and
 * the gateway's network namespace. Returns 0 or -1.
 */
int network_unshare(struct network_problem *why);
/* The other end of the cable goes to the network namespace of that process. */
int network_make_outside(pid_t command, struct network *ret, struct network_problem *why);
/*
 * In the gateway's network namespace, by the process that will be in the command's. Returns a
 * descriptor for network_make_inside(), or -1.
 */
int network_watch_outside(struct network_problem *why);
/*
 * In the command's network namespace, once it has the cable. Waits until answers come through it,
 * for some seconds at most. Closes the descriptor.
 */
int network_make_inside(int outside, struct network_problem *why);
/*
 * For network_socket_inside(). inside: a descriptor of the command's network namespace, which stays
 * the caller's.
 */
int network_reach_inside(struct network *network, int inside, struct network_problem *why);
/* A non-blocking TCP socket in the command's network namespace, or a negative errno. */
int network_socket_inside(const struct network *network, int family);
void network_close(struct network *network);

/*
 * The command's connections to that port reach a listener of ours, or not any more. 0 or a negative
 * errno.
 */
int network_open_port(const struct network *network, int family, uint16_t port);
void network_close_port(const struct network *network, int family, uint16_t port);
/*
 * A socket that listens at every address there is. It takes the packets of network_put_syn() alone.
 */
int network_listen(const struct network *network, int family, uint16_t port, int *ret);

/* A first packet is seen by a listener. */
int network_put_syn(const struct network *network, const struct packet *syn);
/* A packet for the command. */
int network_put_answer(const struct network *network, int family, const void *packet, size_t len);

#endif
