/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_WIRE_WAIT_H
#define ASOCK_LIB_WIRE_WAIT_H

/* Waiting, without the lock. */
#include "client-lib/core/objects.h"

/* Until the connection or a timer has news, or it is `until`; drops the lock while it sleeps. */
void asock_wait_fd(asock_context *context, uint64_t now, uint64_t until);
/* Until the connection has news or somebody wakes it; drops the lock while it sleeps. */
void asock_wait_poll(asock_context *context, int timeout);
/* Waits until the op has ended: 0 or -ETIMEDOUT. Drops the lock while it sleeps. */
int asock_run_until(asock_op *op, int timeout_ms);
/* The same, or until a multishot without a callback has got bytes, or a connection. */
int asock_run_until_slice(asock_op *op, int timeout_ms);

#endif
