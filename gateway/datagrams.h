/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_DATAGRAMS_H
#define GATEWAY_DATAGRAMS_H

/*
 * The datagrams of a command that does not know of a gateway: for each of its sockets and each
 * address that it sends to a flow, which is a datagram socket of the daemon's.
 */
#include <ev.h>

#include "gateway/fake_names.h"
#include "gateway/network.h"
#include "gateway/server.h"

/* Of a command. One more takes the place of the one that was used least recently. */
#define DATAGRAM_FLOWS_MAX 256u
/* With those that have ended, until the daemon says so. */
#define DATAGRAM_FLOWS_HELD_MAX (2 * DATAGRAM_FLOWS_MAX)
/* A flow in which nothing has moved for so long ends. */
#define DATAGRAM_IDLE_SECONDS 120.0

#define DATAGRAM_BUCKETS 64u

struct exchange;

struct datagrams {
    struct session_wait wait; /* for another session */
    struct gateway *gateway;
    const struct network *network;
    const struct fake_names *names;
    struct exchange *buckets[DATAGRAM_BUCKETS];
    struct list used;         /* in the order of use */
    struct list all;          /* also those that have ended, until their ops have */
    unsigned int count, held; /* held: of `all` */
    size_t queued;            /* bytes on their way to the daemon */
    uint8_t *packet;          /* that is read */
    ev_io io;
    ev_timer sweep; /* while there are flows */
};

/* 0 or a negative errno. The others have to outlive it. */
int datagrams_init(struct datagrams *datagrams, struct gateway *gateway,
                   const struct network *network, const struct fake_names *names);
/* The session has ended, and every op has completed. */
void datagrams_lost(struct datagrams *datagrams);
/* No datagram is taken any more. */
void datagrams_stop(struct datagrams *datagrams);
/* Behind the end of the session: no op of it completes any more. */
void datagrams_deinit(struct datagrams *datagrams);

#endif
