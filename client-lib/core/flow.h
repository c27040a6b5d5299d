/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_CORE_FLOW_H
#define ASOCK_LIB_CORE_FLOW_H

/* The session's limits. */
#include "client-lib/core/objects.h"

enum flow {
    FLOW_OK,
    FLOW_SOCKET,
    FLOW_SESSION
}; /* may go; the socket's own limit; the session's */

enum flow asock_flow_op(const asock_socket *socket, int operation);
/* Bytes that may leave, at least one and at most want (whole: all of it). */
enum flow asock_flow_bytes(const asock_socket *socket, uint64_t want, bool is_whole, uint64_t *ret);
/* Of so many bytes, the most that one socket holds whole: the shares of the others are theirs. */
uint64_t asock_flow_most(const asock_context *context, uint64_t queued);
void asock_flow_take(asock_socket *socket, uint64_t bytes, uint32_t ops);
void asock_flow_give(asock_socket *socket, uint64_t bytes, uint32_t ops);
void asock_flow_set_limits(asock_context *context, const struct welcome *limits);
void asock_flow_share(asock_context *context); /* the guessed limits of a new session */

#endif
