/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_UPLINK_H
#define GATEWAY_UPLINK_H

/* The session with asockd, on an event loop. */
#include <asock/asock.h>

#include <ev.h>

struct uplink {
    struct ev_loop *loop;
    asock_context *context; /* NULL: there is none */
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
/* Resets the connection; every pending op of the socket ends. The socket remains the caller's. */
void uplink_abort(asock_socket *socket);

#endif
