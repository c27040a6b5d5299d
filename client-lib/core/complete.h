/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_CORE_COMPLETE_H
#define ASOCK_LIB_CORE_COMPLETE_H

/* The way out of an op. */
#include "client-lib/core/objects.h"

void asock_op_finish(asock_op *op, uint32_t error, uint64_t bytes);
void asock_op_fail_lost(asock_op *op); /* nothing that it received is there any more */
/*
 * Of a stream: what it received was taken back; one that was submitted before it has lost its
 * bytes.
 */
void asock_op_note_loss(const asock_op *op);
bool asock_op_is_behind_loss(const asock_op *op);
void asock_op_told(asock_op *op); /* its callback has returned, or none will run */
void asock_op_drop_flight(asock_op *op, asock_socket *socket);
void asock_op_frame_written(asock_op *op);
/* Of a disconnect that has succeeded: it is reported behind the receives before it. */
void asock_op_wait_for_late(asock_op *disconnect);
void asock_op_shot(asock_op *op, struct slice *slice);     /* of a multishot that goes on */
void asock_op_arrival(asock_op *op, asock_socket *socket); /* the same of an accept */
void asock_quiet_finish(struct list *quiet, const asock_op *before); /* NULL: all */
void asock_quiet_finish_some(struct list *quiet, uint32_t count);    /* of sends, the first ones */

#endif
