/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_CORE_CANCEL_H
#define ASOCK_LIB_CORE_CANCEL_H

/* The early end of an op. */
#include "client-lib/core/objects.h"

int asock_cancel_locked(asock_op *op);
void asock_cancel_sent(asock_op *op);                    /* asks the daemon for its end */
void asock_op_end_waiting(asock_op *op, uint32_t error); /* nothing of it has left */
void asock_op_expired(struct deadline *deadline);        /* the same: its time is over */
/*
 * A connect that never left has failed: so has what waits for it (S17, S23). seq: of its
 * submission.
 */
void asock_connect_failed(asock_socket *socket, uint64_t seq);
/*
 * DISCONNECT has ended its connection: what still waits here was of that, and the next one finds a
 * socket like a new one. seq: of its submission.
 */
void asock_socket_disconnected(asock_socket *socket, uint64_t seq);
void asock_op_abandon(asock_op *op); /* a chain of which no further piece will leave */

#endif
