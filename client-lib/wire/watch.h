/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_WIRE_WATCH_H
#define ASOCK_LIB_WIRE_WATCH_H

/* The descriptor that the program's event loop watches. */
#include "client-lib/core/objects.h"

/* What the program's loop waits for follows what is wanted. */
void asock_watch_update(asock_context *context);
void asock_watch_leave(asock_context *context); /* before the connection is closed or given away */

#endif
