/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_API_CALLBACKS_H
#define ASOCK_LIB_API_CALLBACKS_H

/* Telling of what has ended. */
#include "client-lib/core/objects.h"

/* Its results are about to be reported: bytes in place are still there, or it has failed. */
void asock_op_check(asock_op *op);
void asock_op_lose_shots(
    asock_op *op); /* slices that the program has not taken, and the op with them */
void asock_complete_forget(asock_context *context); /* no callback of `done` will run */
int asock_complete_run(asock_context *context);     /* drops the lock around each callback */

#endif
