/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_WIRE_RUN_H
#define ASOCK_LIB_WIRE_RUN_H

/* What can be done without waiting. */
#include "client-lib/core/objects.h"

void asock_run_timers(asock_context *context);
void asock_run_io(
    asock_context *context); /* write, read, timers: what can be done without waiting */
int asock_run_timeout(asock_context *context); /* milliseconds until a timer is due; -1 */

#endif
