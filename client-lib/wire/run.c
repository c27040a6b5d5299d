/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* In an event loop: what to wait for, and what to do then. */
#include "client-lib/core/parts.h"

#include <errno.h>
#include <limits.h>

static void end_op(asock_op *op)
{
    if (op->state == OP_WAITING)
        asock_op_end_waiting(op, ERR_TIMED_OUT);
    else
        asock_overdue_run(op);
}

void asock_run_timers(asock_context *context)
{
    struct wheel_timer *timer;
    uint64_t now;

    if (wheel_is_empty(&context->wheel))
        return;
    now = time_now_ms();
    while ((timer = asock_wheel_pop(&context->wheel, now))) {
        struct deadline *deadline = container_of(timer, struct deadline, timer);

        if (deadline->kind == DEADLINE_LINGER)
            asock_close_abort(container_of(deadline, asock_socket, linger), ERR_TIMED_OUT);
        else if (deadline->kind == DEADLINE_BOUNCE)
            asock_bounce_timer(context);
        else
            end_op(container_of(deadline, asock_op, timer));
    }
}

int asock_run_timeout(asock_context *context)
{
    int64_t next;

    if (wheel_is_empty(&context->wheel))
        return -1;
    next = asock_wheel_next(&context->wheel, time_now_ms());
    return next > INT_MAX ? INT_MAX : (int)next;
}

void asock_run_io(asock_context *context)
{
    asock_output_flush(context);
    asock_input_run(context);
    if (asock_output_is_wanted(context))
        asock_output_flush(context);
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
