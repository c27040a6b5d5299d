/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_WIRE_OVERDUE_H
#define ASOCK_LIB_WIRE_OVERDUE_H

/* A daemon that does not answer. */
#include "client-lib/core/objects.h"

/* From here on the daemon has to tell of it: at its deadline, or a grace later it is given up. */
void asock_overdue_watch(asock_op *op);

#endif
