/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_API_LIFETIME_H
#define ASOCK_LIB_API_LIFETIME_H

/* The end of a context. */
#include "client-lib/core/objects.h"

/* Each gives the lock back, and may free the context. */
void asock_context_drop_ref(asock_context *context);
void asock_context_unhold(asock_context *context);
/* In the child of a fork, without the lock: one reference less. */
void asock_context_drop_in_child(asock_context *context);

#endif
