/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_PORTS_H
#define GATEWAY_PORTS_H

/*
 * Ports at which the gateway takes the command's connections: one has a rule and a listener while
 * somebody connects to it, until the kernel has sent and heard all of its last connection, and a
 * little longer: to make and remove both costs more than the rest of a connect, and most programs
 * connect to a port again.
 */
#include <ev.h>
#include <stdbool.h>

#include "base/list.h"
#include "gateway/network.h"

/* Of both families; each has a descriptor. */
#define PORTS_MAX 4096u
/* How long an unused one stays. */
#define PORTS_KEPT_SECONDS 1.0

struct port;
struct passage;

struct ports {
    struct ev_loop *loop;
    const struct network *network;
    /* The program's connection, which is the callee's to close by ports_leave(). */
    void (*accepted)(void *userdata, int fd, const struct flow *flow, struct passage *passage);
    void *userdata;
    struct port **by_number[2]; /* IPv4, IPv6 */
    unsigned int count;
    struct list kept; /* of unused struct port: the first for longest */
    ev_timer sweep;   /* while there are such */
    struct passage *leaving;
    ev_timer look;
    unsigned int passages; /* all of them, also those that leave */
};

/* false: no memory. */
bool ports_init(struct ports *ports, struct ev_loop *loop, const struct network *network,
                void (*accepted)(void *userdata, int fd, const struct flow *flow,
                                 struct passage *passage),
                void *userdata);
/* No port is in use any more; passages that are still leaving are cut. */
void ports_deinit(struct ports *ports);

/* 0, or a negative errno; -EMFILE also when there are too many. */
int ports_use(struct ports *ports, int family, uint16_t number, struct port **ret);
void ports_unuse(struct port *port);

/* Closes the connection: with a reset, or once everything has been sent. */
void ports_leave(struct passage *passage, bool reset);

#endif
