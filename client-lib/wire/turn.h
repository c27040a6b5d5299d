/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_WIRE_TURN_H
#define ASOCK_LIB_WIRE_TURN_H

/* A socket's turn to send a frame. */
#include "client-lib/core/objects.h"

void asock_turn_take(asock_socket *socket); /* its next frame, or it leaves the round */
uint32_t asock_turn_detach(asock_op *op);   /* its deadline is the daemon's from here on */

#endif
