/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_PORTS_H
#define GATEWAY_PORTS_H

/*
 * Ports at which the gateway takes the command's connections: one has a rule and a listener while somebody connects to
 * it, and until the kernel has sent and heard all of its last connection.
 */
#include <ev.h>
#include <stdbool.h>

#include "gateway/network.h"

/* Of both families; each has a descriptor. */
#define PORTS_MAX 4096u

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
    struct passage *leaving;
    ev_timer look;
    unsigned int passages; /* all of them, also those that leave */
};

/* false: no memory. */
bool ports_init(struct ports *ports, struct ev_loop *loop, const struct network *network,
                void (*accepted)(void *userdata, int fd, const struct flow *flow,
                                 struct passage *passage),
                void *userdata);
/* Nobody uses a port any more, and every passage has left. */
void ports_deinit(struct ports *ports);

/* 0, or a negative errno; -EMFILE also when there are too many. */
int ports_use(struct ports *ports, int family, uint16_t number, struct port **ret);
void ports_unuse(struct port *port);

/* Closes the connection, by reset or once everything is told. */
void ports_leave(struct passage *passage, bool reset);

#endif
