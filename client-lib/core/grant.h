/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_CORE_GRANT_H
#define ASOCK_LIB_CORE_GRANT_H

/* What is reserved in the daemon for the session, and asking for more. */
#include "client-lib/core/objects.h"

/* The most that a limit may be raised to, by daemon and program. */
uint64_t asock_grant_most(const asock_context *context, enum asock_limit limit);
void asock_grant_init(asock_context *context);
/* A session begins, or the program asks for something else before its first op. */
void asock_grant_start(asock_context *context);
void asock_grant_ask(const asock_context *context, struct request *hello);
/* The next Hello asks for more, if there may be more and that was not asked for already. */
void asock_grant_want_sockets(asock_context *context);
void asock_grant_want_ops(asock_context *context);
void asock_grant_want_window(asock_context *context);
void asock_grant_want_queued(asock_context *context);
/*
 * An accept is parked: more sockets are asked for again, less and less often, until one comes free.
 */
void asock_grant_wait(asock_context *context);
/* So many sockets have a share of the ops that are granted. */
uint32_t asock_grant_op_sharers(const asock_context *context);
/* What a welcome says becomes what this side goes by. */
void asock_grant_limit(asock_context *context, struct welcome *limits);
/* The new limits are in force: sockets that will get no id end. */
void asock_grant_answered(asock_context *context);
/* Data that has to go whole will never fit. */
bool asock_grant_is_hopeless(const asock_context *context, uint64_t bytes);
void asock_grant_explain(asock_op *op); /* the daemon's text becomes the op's */

#endif
