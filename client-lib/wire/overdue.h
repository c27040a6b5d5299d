/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_WIRE_OVERDUE_H
#define ASOCK_LIB_WIRE_OVERDUE_H

/* A daemon that does not answer. */
#include "client-lib/core/objects.h"

/* From here on the daemon has to tell of it: at its deadline, or a grace later it is given up. */
void asock_overdue_watch(asock_op *op);
/* The same of a close that was asked for: at the end of its linger time, or now. */
void asock_overdue_close(asock_op *op);
/* The program has asked for the op's end. */
void asock_overdue_cancelled(asock_op *op);
/* A disconnect that is to end in time waits for receives: see asock_op_wait_for_late(). */
void asock_overdue_late(const asock_op *disconnect);
/* It has answered, and has to say one thing more. */
void asock_overdue_answered(asock_op *op);

#endif
