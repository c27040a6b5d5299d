/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_WIRE_REQUEST_H
#define ASOCK_LIB_WIRE_REQUEST_H

/* What leaves next. */
#include "client-lib/core/objects.h"

void asock_request_fill(asock_context *context); /* fills the output with what may leave */

#endif
