/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_SHM_BOUNCE_H
#define ASOCK_LIB_SHM_BOUNCE_H

/* Memory that the library shares by itself, for large operations of ordinary memory. */
#include "client-lib/core/objects.h"

/* A send or receive that waits, and can go by way of the bounce buffer now. */
bool asock_bounce_fits(const asock_op *op);
/* Of one that fits; it goes by reference then. */
void asock_bounce_take(asock_op *op);
void asock_bounce_refer(const asock_op *op, struct segment *ret);
void asock_bounce_received(asock_op *op, uint64_t bytes); /* into the program's segments */
/* So much of the op goes, or came, through the socket. */
void asock_bounce_passed(asock_op *op, size_t bytes);
void asock_bounce_answered(asock_op *op); /* some REGISTER has its reply */
void asock_bounce_init(struct bounce *bounce);
/* The program needs the memory; true: some was given back. */
bool asock_bounce_retire(asock_context *context);
void asock_bounce_end(asock_context *context); /* the session has ended, and with it all ops */

#endif
