/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_WIRE_ANSWER_H
#define ASOCK_LIB_WIRE_ANSWER_H

/* The success of RESOLVE and SHARE: `len` bytes in op->text. */
#include <stdbool.h>
#include <stddef.h>

#include "client-lib/core/objects.h"

/* 0: taken. 1: the op ends later, by asock_answer_unshared(). -ENOMEM, -EPROTO. */
int asock_answer_take(asock_op *op, size_t len);
/*
 * The CANCEL of a share that had succeeded is answered. is_closed: the daemon has closed the
 * listener. If not, it is older than that, and the program gets the listener that it has.
 */
void asock_answer_unshared(asock_op *op, bool is_closed);

#endif
