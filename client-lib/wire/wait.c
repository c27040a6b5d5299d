/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting for one op.
 *
 * Without a dispatcher the waiting thread does the writing and reading itself; with one it sleeps
 * until the dispatcher has done it. Either way other ops end too, and no callback runs here.
 */
#include "client-lib/wire/wait.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "base/time.h"
#include "client-lib/core/context.h"
#include "client-lib/wire/output.h"
#include "client-lib/wire/run.h"

static int shorter(int timer, uint64_t now, uint64_t until)
{
    uint64_t left = until - now;

    if (until == UINT64_MAX)
        return timer;
    if (left > INT_MAX)
        left = INT_MAX;
    return timer >= 0 && (uint64_t)timer < left ? timer : (int)left;
}

static void sleep_until(asock_context *context, uint64_t until)
{
    struct timespec ts = {.tv_sec = (time_t)(until / 1000),
                          .tv_nsec = (long)(until % 1000) * 1000000};

    context->waiters++;
    if (until == UINT64_MAX)
        pthread_cond_wait(&context->changed, &context->lock);
    else
        pthread_cond_timedwait(&context->changed, &context->lock, &ts);
    context->waiters--;
}

void asock_wait_poll(asock_context *context, int timeout)
{
    struct pollfd fds[2] = {
        {.fd = context->wake_fd, .events = POLLIN},
        {.fd = context->is_alive ? context->fd : -1, .events = POLLIN},
    };
    uint64_t count;

    if (asock_output_is_wanted(context))
        fds[1].events |= POLLOUT;
    context->is_polling = context->wake_fd >= 0;
    asock_leave(context);
    poll(fds, 2, timeout);
    pthread_mutex_lock(&context->lock);
    context->is_polling = false;
    if (context->is_woken && read(context->wake_fd, &count, sizeof(count)) > 0)
        context->is_woken = false;
}

/*
 * Several that waited when the dispatcher was stopped: one of them is in poll(2) for all. It would
 * not come back for what another one has read.
 */
void asock_wait_fd(asock_context *context, uint64_t now, uint64_t until)
{
    int timeout = shorter(asock_run_timeout(context), now, until);

    if (context->is_polling) {
        if (asock_output_is_wanted(context))
            asock_wake_waiter(context);
        sleep_until(context, timeout < 0 ? UINT64_MAX : now + (uint64_t)timeout);
        return;
    }
    asock_wait_poll(context, timeout);
    if (context->has_dispatcher)
        pthread_cond_broadcast(&context->changed);
}

static bool has_ended(const asock_op *op, uint64_t endings)
{
    return op->state == OP_DONE || op->endings != endings;
}

static bool has_slice_or_ended(const asock_op *op, uint64_t endings)
{
    return has_ended(op, endings) || !list_is_empty(&op->memory.filled) ||
           !list_is_empty(&op->arrived);
}

static int wait_for(asock_op *op, int timeout_ms, bool (*is_over)(const asock_op *, uint64_t))
{
    asock_context *context = op->context;
    uint64_t now = time_now_ms();
    uint64_t until = timeout_ms < 0 ? UINT64_MAX : now + (uint64_t)timeout_ms;
    uint64_t endings = op->endings;
    /*
     * What is asked now is not answered yet: to look for the answer before poll(2) would be in
     * vain.
     */
    bool has_asked = timeout_ms != 0 && !context->has_dispatcher && asock_output_is_wanted(context);

    for (;; has_asked = false) {
        if (has_asked)
            asock_output_flush(context);
        else if (!context->has_dispatcher)
            asock_run_io(context);
        if (is_over(op, endings))
            return 0;
        now = time_now_ms();
        if (now >= until)
            return -ETIMEDOUT;
        if (context->has_dispatcher)
            sleep_until(context, until);
        else
            asock_wait_fd(context, now, until);
        if (is_over(op, endings))
            return 0;
    }
}

/* Whoever has been in poll(2) for others too leaves that to one of them. */
static int run_until(asock_op *op, int timeout_ms, bool (*is_over)(const asock_op *, uint64_t))
{
    int r = wait_for(op, timeout_ms, is_over);

    if (op->context->waiters > 0)
        pthread_cond_broadcast(&op->context->changed);
    return r;
}

int asock_run_until(asock_op *op, int timeout_ms)
{
    return run_until(op, timeout_ms, has_ended);
}

int asock_run_until_slice(asock_op *op, int timeout_ms)
{
    return run_until(op, timeout_ms, has_slice_or_ended);
}
