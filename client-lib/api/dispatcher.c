/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The dispatcher: a thread that writes, reads and runs callbacks.
 *
 * It sleeps in poll(2) on the connection and on an eventfd, by which others wake it when they have
 * queued something. When it has been stopped, one of those that wait takes its place in poll(2). It
 * holds the context, so the last reference may go in one of its callbacks: then it detaches itself,
 * and frees the context when it leaves.
 */
#include "client-lib/api/dispatcher.h"

#include <errno.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "client-lib/api/callbacks.h"
#include "client-lib/api/lifetime.h"
#include "client-lib/core/context.h"
#include "client-lib/wire/output.h"
#include "client-lib/wire/run.h"
#include "client-lib/wire/wait.h"

static void *dispatch(void *data)
{
    asock_context *context = data;

    pthread_mutex_lock(&context->lock);
    /* One that began to wait before it ran is on its way out of poll(2). */
    while (context->is_polling)
        pthread_cond_wait(&context->changed, &context->lock);
    while (!context->is_stopping) {
        asock_run_io(context);
        asock_complete_run(context);
        if (context->is_stopping)
            break;
        if (asock_output_is_wanted(context))
            asock_output_flush(context);
        if (list_is_empty(&context->done))
            asock_wait_poll(context, asock_run_timeout(context));
    }
    context->has_dispatcher = false;
    pthread_cond_broadcast(&context->changed);
    asock_context_unhold(context);
    return NULL;
}

static int start_thread(asock_context *context)
{
    /*
     * A fault of a callback stays a fault of that thread: blocked, it would kill without a handler.
     */
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    sigset_t blocked, before;
    int r;

    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        sigdelset(&blocked, faults[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    r = pthread_create(&context->dispatcher, NULL, dispatch, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -r;
}

static int start_locked(asock_context *context)
{
    int r;

    if (context->is_ended)
        return -ESHUTDOWN;
    if (context->has_dispatcher || context->is_joining)
        return -EBUSY;
    if (context->in_callback)
        return -EDEADLK;
    if (context->wake_fd < 0)
        context->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (context->wake_fd < 0)
        return -errno;
    context->has_dispatcher = true;
    asock_wake(context);
    context->is_stopping = false;
    context->holds++;
    r = start_thread(context);
    if (r < 0) {
        context->has_dispatcher = false;
        context->holds--;
    }
    return r;
}

int asock_context_start_dispatcher(asock_context *context)
{
    int r = asock_enter(context);

    if (r < 0)
        return r;
    r = start_locked(context);
    asock_leave(context);
    return r;
}

/* Stops the thread and waits for it; from the thread itself: it ends by itself. */
void asock_dispatcher_join(asock_context *context)
{
    pthread_t thread = context->dispatcher;

    if (!context->has_dispatcher || context->is_joining)
        return;
    context->is_stopping = context->is_joining = true;
    /*
     * It is joining for good: a program that refers to the context once more in the callback could
     * join it a second time.
     */
    if (asock_is_dispatcher(context)) {
        pthread_detach(thread);
        return;
    }
    asock_wake(context);
    asock_leave(context);
    pthread_join(thread, NULL);
    pthread_mutex_lock(&context->lock);
    context->is_joining = false;
}

int asock_context_stop_dispatcher(asock_context *context)
{
    int r = asock_enter(context);

    if (r < 0)
        return r;
    /* The callback that runs meanwhile may end the context. */
    context->holds++;
    if (asock_is_in_callback(context))
        r = -EDEADLK;
    else if (!context->has_dispatcher || context->is_joining)
        r = -ENOENT;
    else
        asock_dispatcher_join(context);
    asock_context_unhold(context);
    return r;
}
