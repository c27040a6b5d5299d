/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_WIRE_SESSION_H
#define ASOCK_LIB_WIRE_SESSION_H

/* A connection, begin and end. */
#include "client-lib/core/objects.h"

int asock_session_dial(const char *path, int *ret);
int asock_session_adopt(int fd);
/* What ASOCK_FD says; the descriptor is close-on-exec from then on. */
int asock_session_inherit(const char *text, int *ret);
void asock_session_start(asock_context *context, int fd);
/* As far as is known: before the welcome the daemon is asked. */
bool asock_session_may_use(const asock_context *context, uint32_t verb);
/* Everything ends with ASOCK_CONNECTION_ABORTED; error: why, for asock_context_get_error. */
void asock_session_end(asock_context *context, uint32_t error);
/* The same, but for this op, which ends with ASOCK_TIMED_OUT. */
void asock_session_give_up(asock_op *op);

#endif
