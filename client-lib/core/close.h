/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_CORE_CLOSE_H
#define ASOCK_LIB_CORE_CLOSE_H

/* The end of a socket. */
#include "client-lib/core/objects.h"

/* Nothing is in flight that could end it otherwise than with success. */
bool asock_close_is_certain(const asock_socket *socket);
void asock_close_start(asock_socket *socket, asock_op *op, int linger_ms);
void asock_close_sends_gone(asock_socket *socket); /* what a lingering close waits for */
void asock_close_abort(asock_socket *socket, uint32_t error);
void asock_close_linger_over(struct deadline *deadline);
void asock_close_answered(asock_socket *socket, uint32_t error);

#endif
