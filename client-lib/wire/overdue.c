/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A daemon that does not answer.
 *
 * Happy path: the daemon keeps an op's deadline, and tells of its end in time. Where it does not, because
 * it is stopped, swapped out or gone from its loop, the library gives up a grace later: the op has timed
 * out, the session ends, and no memory of the program's is shared any more.
 *
 * The success of an ASOCK_ERRORS_ONLY op is not told. Such an op is asked for when half of the grace is over:
 * CANCEL tells whether the daemon has it still.
 *
 * A program may have been late itself, stopped for a while perhaps: everything that is there is read before.
 * If the daemon had said something by then it may have waited for that to be read: it has another grace, once.
 */
#include "client-lib/wire/overdue.h"

#include "base/time.h"
#include "client-lib/core/cancel.h"
#include "client-lib/core/op.h"
#include "client-lib/wire/input.h"
#include "client-lib/wire/session.h"

/* Timers are not that late in a program that runs. */
#define LATE_MS 1000u

/* How long the daemon has from here on. Of a silent op it has the other half to answer. */
static unsigned int patience(const asock_op *op)
{
    return op->is_quiet ? (op->grace_ms + 1) / 2 : op->grace_ms;
}

/* One that has not left whole cannot have succeeded. One behind CLOSE has no other answer than that. */
static void ask(asock_op *op, uint64_t now)
{
    uint64_t until = now + patience(op), close = op->socket->close_deadline;

    op->is_asked = true;
    if (op->socket->is_close_sent && close + op->grace_ms > until)
        until = close + op->grace_ms;
    else if (op->state == OP_SENT)
        asock_cancel_sent(op);
    asock_wheel_set(&op->context->wheel, &op->timer.timer, until);
}

static void decide(asock_op *op, bool has_come)
{
    asock_context *context = op->context;
    uint64_t now = time_now_ms();
    bool is_silent = op->is_quiet && !op->is_asked;

    if ((has_come || is_silent) && !op->is_overdue && now - op->timer.timer.deadline >= LATE_MS) {
        op->is_overdue = true;
        asock_wheel_set(&context->wheel, &op->timer.timer, now + patience(op));
    } else if (is_silent) {
        ask(op, now);
    } else {
        asock_session_give_up(op);
    }
}

static void expired(struct deadline *deadline)
{
    asock_op *op = container_of(deadline, asock_op, timer);
    bool has_come;

    op->holds++;
    has_come = asock_input_drain(op->context);
    if (op->state == OP_SENT || op->state == OP_PARTLY)
        decide(op, has_come);
    asock_op_unhold(op);
}

void asock_overdue_watch(asock_op *op)
{
    asock_context *context = op->context;

    op->grace_ms = context->grace_ms;
    op->timer.expired = expired;
    if (op->deadline && op->grace_ms)
        asock_wheel_set(&context->wheel, &op->timer.timer, op->deadline + patience(op));
    else
        wheel_timer_unset(&op->timer.timer);
}
