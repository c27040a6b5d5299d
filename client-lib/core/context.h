/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_CORE_CONTEXT_H
#define ASOCK_LIB_CORE_CONTEXT_H

/* The lock of a context, and who is woken by what was done under it. Unless it says otherwise a
 * function of the library wants the lock held, and keeps it. */
#include "client-lib/core/objects.h"

static inline bool asock_is_forked(const asock_context *context)
{
    return *(const volatile uint8_t *)context->fork_mark == 0;
}

/* Takes the lock: 0, -EINVAL (NULL), -ECHILD (forked; the lock may be anybody's). */
int asock_enter(asock_context *context);

static inline void asock_leave(asock_context *context)
{
    pthread_mutex_unlock(&context->lock);
}

void asock_context_add_ref(asock_context *context);
/* Inside a callback of this context, on the thread that runs it. */
bool asock_is_in_callback(const asock_context *context);
void asock_wake(asock_context *context);        /* the dispatcher, if there is one */
void asock_wake_waiter(asock_context *context); /* without one: who is in poll(2) */
bool asock_is_dispatcher(const asock_context *context);

#endif
