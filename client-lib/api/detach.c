/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A session handed on to another program.
 *
 * Happy path: Hello is said, the welcome read to its last byte, so that the next one begins at a
 * frame; the descriptor goes to the caller, the context is as after the end of its session.
 * Failures: an op was submitted or a socket made (the daemon takes no second Hello behind them), a
 * dispatcher runs, the daemon does not answer, no descriptor; the context stays as it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/time.h"
#include "client-lib/api/lifetime.h"
#include "client-lib/core/context.h"
#include "client-lib/wire/output.h"
#include "client-lib/wire/run.h"
#include "client-lib/wire/session.h"
#include "client-lib/wire/wait.h"
#include "client-lib/wire/watch.h"

static int check(const asock_context *context)
{
    if (!context->is_alive)
        return -ECONNABORTED;
    if (context->is_used || context->has_dispatcher || !list_is_empty(&context->sockets) ||
        !list_is_empty(&context->socketless))
        return -EBUSY;
    return 0;
}

/* Nothing of either side is on its way. */
static bool is_settled(asock_context *context)
{
    const struct input *in = &context->in;

    return context->is_welcome && context->welcomes_due == 0 && !in->in_payload &&
           in->start == in->end && !asock_output_is_wanted(context);
}

static int settle(asock_context *context, int timeout_ms)
{
    uint64_t now = time_now_ms();
    uint64_t until = timeout_ms < 0 ? UINT64_MAX : now + (uint64_t)timeout_ms;

    for (;;) {
        asock_run_io(context);
        if (!context->is_alive)
            return -ECONNABORTED;
        if (is_settled(context))
            return 0;
        if (now >= until)
            return -ETIMEDOUT;
        asock_wait_fd(context, now, until);
        now = time_now_ms();
    }
}

/* A program's standard streams are not for it. */
static int take_fd(asock_context *context, int *ret)
{
    int fd = context->fd > STDERR_FILENO ? context->fd
                                         : fcntl(context->fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

    if (fd < 0)
        return -errno;
    if (fd == context->fd) {
        asock_watch_leave(context);
        context->fd = -1;
    }
    asock_session_end(context, ERR_OPERATION_ABORTED);
    *ret = fd;
    return 0;
}

int asock_context_detach_fd(asock_context *context, int timeout_ms, int *ret)
{
    int r;

    if (!ret)
        return -EINVAL;
    r = asock_enter(context);
    if (r < 0)
        return r;
    context->holds++;
    r = check(context);
    if (r == 0)
        r = settle(context, timeout_ms);
    /* Without the lock, while it slept, the program may have done anything. */
    if (r == 0)
        r = check(context);
    if (r == 0)
        r = take_fd(context, ret);
    asock_context_unhold(context);
    return r;
}
