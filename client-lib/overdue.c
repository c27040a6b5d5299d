/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A daemon that does not answer.
 *
 * Happy path: the daemon keeps an op's deadline, and tells of its end in time. Where it does not, because
 * it is stopped, swapped out or gone from its loop, the library gives up a grace later: the op has timed
 * out, the session ends, and no memory of the program's is shared any more.
 *
 * A program may have been late itself, stopped for a while perhaps: everything that is there is read before.
 * If the daemon had said something by then it may have waited for that to be read: it has another grace, once.
 */
#include "client-lib/parts.h"

/* Timers are not that late in a program that runs. */
#define LATE_MS 1000u

void asock_overdue_watch(asock_op *op)
{
    asock_context *context = op->context;

    if (op->deadline && context->grace_ms)
        asock_wheel_set(&context->wheel, &op->timer.timer, op->deadline + context->grace_ms);
    else
        wheel_timer_unset(&op->timer.timer);
}

static void decide(asock_op *op, bool has_come)
{
    asock_context *context = op->context;
    uint64_t now = time_now_ms();

    if (has_come && !op->is_overdue && now - op->timer.timer.deadline >= LATE_MS) {
        op->is_overdue = true;
        asock_wheel_set(&context->wheel, &op->timer.timer, now + context->grace_ms);
        return;
    }
    asock_session_give_up(op);
}

void asock_overdue_run(asock_op *op)
{
    asock_context *context = op->context;
    bool has_come;

    op->holds++;
    has_come = asock_input_drain(context);
    if (op->state == OP_SENT || op->state == OP_PARTLY)
        decide(op, has_come);
    asock_op_unhold(op);
}
