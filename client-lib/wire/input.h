/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_WIRE_INPUT_H
#define ASOCK_LIB_WIRE_INPUT_H

/* Reading replies. */
#include "client-lib/core/objects.h"

/* Reads and handles what is there, to a bound. */
void asock_input_run(asock_context *context);
/* All that is there; true: something was. */
bool asock_input_drain(asock_context *context);

#endif
