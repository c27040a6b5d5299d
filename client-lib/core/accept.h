/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_CORE_ACCEPT_H
#define ASOCK_LIB_CORE_ACCEPT_H

#include "client-lib/core/objects.h"

/* An op that has been started gets the socket that it will fill; or the error that it ends with. */
uint32_t asock_accept_prepare(asock_op *op);
/*
 * There is a connection. 0: the op has ended; 1: it is a multishot, which goes on or has ended;
 * -EPROTO: it is not under that id.
 */
int asock_accept_done(asock_op *op, const struct reply *reply);
/* The program has not taken it: closed, or never used. */
void asock_accept_drop(asock_op *op);

/* ---- multishot: one ACCEPT after the other ---- */

/*
 * A multishot that waits, and is in no queue: it gets a socket and a place in its listener's queue,
 * or is parked, or ends.
 */
void asock_accept_queue(asock_op *op);
/* It waits until a socket of the session is closed. */
void asock_accept_park(asock_op *op);
/* There is another socket than its listener, whose close it could wait for. */
bool asock_accept_may_park(const asock_op *op);
/* Those of a socket that closes. */
void asock_accept_end_parked(const asock_socket *socket);
/*
 * Those of a connection that a disconnect has ended: submitted before it, which was submitted
 * then.
 */
void asock_accept_end_waiting(const asock_socket *socket, uint64_t before);
/*
 * As many as there is room for, those first that have waited for longest: a socket has been closed,
 * or more are granted.
 */
void asock_accept_unpark(asock_context *context);
/* NULL: the completion is not a multishot's connection. */
asock_socket *asock_accept_arrival(const struct due *due);
/* Makes it the op's result, for a callback or asock_accept_next(); NULL: nothing. */
void asock_accept_tell(asock_op *op, asock_socket *arrival);
/* The callback has returned. */
void asock_accept_told(asock_op *op);
/* The program has not taken that connection. */
void asock_accept_refuse(asock_socket *socket);
/* Nor those that asock_accept_next() has not returned. */
void asock_accept_forget(asock_op *op);

#endif
