/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* For the program's event loop: what to wait for, and what to do then. */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

#include "client-lib/api/callbacks.h"
#include "client-lib/api/lifetime.h"
#include "client-lib/core/context.h"
#include "client-lib/wire/output.h"
#include "client-lib/wire/run.h"
#include "client-lib/wire/watch.h"

int asock_context_get_fd(asock_context *context)
{
    int fd;

    if (asock_enter(context) < 0)
        return -1;
    if (context->watch_fd < 0 && !context->is_ended)
        context->watch_fd = epoll_create1(EPOLL_CLOEXEC);
    /* Later get_events() does it: output that waits now has mostly left by then. */
    if (!context->watched)
        asock_watch_update(context);
    fd = context->watch_fd;
    asock_leave(context);
    return fd;
}

int asock_context_get_events(asock_context *context)
{
    int events = 0;

    if (asock_enter(context) < 0)
        return 0;
    asock_watch_update(context);
    if (context->is_alive)
        events = asock_output_is_wanted(context) ? POLLIN | POLLOUT : POLLIN;
    asock_leave(context);
    return events;
}

int asock_context_get_timeout(asock_context *context)
{
    int timeout;

    if (asock_enter(context) < 0)
        return -1;
    timeout = list_is_empty(&context->done) ? asock_run_timeout(context) : 0;
    asock_leave(context);
    return timeout;
}

int asock_context_process(asock_context *context)
{
    int count, r = asock_enter(context);

    if (r < 0)
        return r;
    if (asock_is_in_callback(context))
        r = -EDEADLK;
    else if (context->has_dispatcher)
        r = -EBUSY;
    if (r < 0) {
        asock_leave(context);
        return r;
    }
    context->holds++;
    asock_run_io(context);
    count = asock_complete_run(context);
    if (asock_output_is_wanted(context))
        asock_output_flush(context);
    asock_watch_update(context);
    asock_context_unhold(context);
    return count;
}

int asock_context_flush(asock_context *context)
{
    int r = asock_enter(context);

    if (r < 0)
        return r;
    r = asock_output_flush(context);
    asock_leave(context);
    return r;
}
