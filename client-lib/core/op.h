/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_CORE_OP_H
#define ASOCK_LIB_CORE_OP_H

/* An op: made, in flight, gone. */
#include "client-lib/core/objects.h"

int asock_op_make(asock_context *context, asock_op **ret); /* refs and holds are 0 */
void asock_op_reset(asock_op *op, asock_socket *socket, int operation);
void asock_op_drop_segments(asock_op *op);
void asock_op_unhold(asock_op *op);
bool asock_op_is_busy(const asock_op *op); /* may not be submitted or changed */
#define ASOCK_LEND_ANY (ASOCK_LEND | ASOCK_LEND_GIVEN | ASOCK_LEND_IF_ALLOWED)

bool asock_op_is_in_flight(const asock_op *op);
/* The op is in flight from here on. socket NULL: it concerns none. */
void asock_op_start(asock_op *op, asock_socket *socket, int operation);
/* An op of the library's own, nothing queued yet. */
int asock_op_start_own(asock_context *context, asock_socket *socket, int operation, asock_op **ret);

#endif
