/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The lock of a context, and who is woken by what was done under it. */
#include "client-lib/core/context.h"

#include <errno.h>
#include <unistd.h>

int asock_enter(asock_context *context)
{
    if (!context)
        return -EINVAL;
    if (asock_is_forked(context))
        return -ECHILD;
    pthread_mutex_lock(&context->lock);
    return 0;
}

bool asock_is_in_callback(const asock_context *context)
{
    return context->in_callback && pthread_equal(context->callback_thread, pthread_self());
}

/*
 * One that has ended can still be referred to, in the callback that ended it: that keeps the
 * memory.
 */
void asock_context_add_ref(asock_context *context)
{
    if (context->refs++ == 0)
        context->holds++;
}

/* Whoever sleeps in poll(2). */
static void wake_poll(asock_context *context)
{
    uint64_t one = 1;

    if (!context->is_polling || context->is_woken)
        return;
    context->is_woken = true;
    if (write(context->wake_fd, &one, sizeof(one)) < 0)
        context->is_woken = false; /* cannot be: the count is far from full */
}

void asock_wake(asock_context *context)
{
    if (context->has_dispatcher)
        wake_poll(context);
}

/* Another thread than the one in poll(2) has read, or has bytes to write: that one looks again. */
void asock_wake_waiter(asock_context *context)
{
    if (!context->has_dispatcher)
        wake_poll(context);
}

bool asock_is_dispatcher(const asock_context *context)
{
    return context->has_dispatcher && pthread_equal(context->dispatcher, pthread_self());
}
