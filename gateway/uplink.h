/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_UPLINK_H
#define GATEWAY_UPLINK_H

/* The session with asockd, on an event loop. */
#include <asock/asock.h>

#include <ev.h>

/*
 * Ops that nobody uses: a connection has one only while it is in flight. With fewer than two for
 * each busy connection, new ones take 3% of the processor's time.
 */
#define UPLINK_OPS_SPARE 256u

struct uplink {
    struct ev_loop *loop;
    asock_context *context; /* NULL: there is none */
    asock_op *spare[UPLINK_OPS_SPARE];
    unsigned int spare_count;
    ev_io io;
    ev_timer timer;
    ev_prepare prepare;
    void (*lost)(
        struct uplink *uplink); /* the session has ended, and every completion was delivered */
    void *userdata;
};

void uplink_init(struct uplink *uplink, struct ev_loop *loop, void (*lost)(struct uplink *uplink),
                 void *userdata);
/* Takes the reference. */
void uplink_start(struct uplink *uplink, asock_context *context);
void uplink_stop(struct uplink *uplink);
/* NULL: no memory. It has no timeout and no flags. */
asock_op *uplink_op(struct uplink *uplink);
/* Takes one back that is not in flight; inside its callback, too. Returns NULL, and accepts it. */
asock_op *uplink_op_done(struct uplink *uplink, asock_op *op);
/* Resets the connection; every pending op of the socket ends. The socket remains the caller's. */
void uplink_abort(asock_socket *socket);

#endif
