/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What can be done without waiting. */
#include "client-lib/wire/run.h"

#include <limits.h>

#include "base/time.h"
#include "client-lib/wire/input.h"
#include "client-lib/wire/output.h"

void asock_run_timers(asock_context *context)
{
    struct wheel_timer *timer;
    uint64_t now;

    if (wheel_is_empty(&context->wheel))
        return;
    now = time_now_ms();
    while ((timer = asock_wheel_pop(&context->wheel, now))) {
        struct deadline *deadline = container_of(timer, struct deadline, timer);

        deadline->expired(deadline);
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
