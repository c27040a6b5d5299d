/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_API_DISPATCHER_H
#define ASOCK_LIB_API_DISPATCHER_H

/* The thread that runs callbacks. */
#include "client-lib/core/objects.h"

void asock_dispatcher_join(asock_context *context);

#endif
