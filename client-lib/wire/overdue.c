/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A daemon that does not answer.
 *
 * Happy path: the daemon keeps an op's deadline, and tells of its end in time. It counts from when
 * it reads the request, so one that was stopped for a while keeps it late: when half of the grace
 * is over CANCEL asks for the op's end. Where the daemon does not answer that either, because it is
 * stopped, swapped out or gone from its loop, the library gives up when all of the grace is over:
 * the op has timed out, the session ends, and no memory of the program's is shared any more.
 *
 * A close without a linger time, and an op that the program has cancelled, are to end at once: that
 * is their deadline, also where their request cannot leave because the daemon reads nothing.
 *
 * The success of an ASOCK_ERRORS_ONLY op is not reported. CANCEL says whether the daemon still has
 * such an op.
 *
 * A program may have been late itself, stopped for a while perhaps: before it decides, all that can
 * leave is written and all that is there is read. If the daemon has taken or said something
 * meanwhile it may have waited for that: it has more time, but not without end. One that takes more
 * where it had taken no more before has gone on, also where the program's timers are in time: the
 * CANCEL may have left only now. So has one that has told something which was not read before: a
 * program that has not read for long may have left it no room for more.
 */
#include "client-lib/wire/overdue.h"

#include "base/time.h"
#include "client-lib/core/cancel.h"
#include "client-lib/core/op.h"
#include "client-lib/wire/input.h"
#include "client-lib/wire/output.h"
#include "client-lib/wire/session.h"

/* Timers are not that late in a program that runs. */
#define LATE_MS 1000u
/* So often a program that is late itself gives the daemon more time, of one op. */
#define LATES_MAX 4u

/*
 * How long the daemon has from here on: half of the grace until it is asked, the other half to
 * answer.
 */
static unsigned int patience(const asock_op *op)
{
    return op->grace_ms - op->grace_ms / 2;
}

/*
 * A silent one that has not left whole cannot have succeeded; one behind CLOSE has no other answer
 * than that.
 */
static void ask(asock_op *op, uint64_t now)
{
    const asock_socket *socket = op->socket;
    uint64_t until = now + patience(op);

    op->is_asked = true;
    op->is_expired = !op->is_cancelled;
    if (op->is_quiet && socket->is_close_sent) {
        if (until < socket->close_deadline + op->grace_ms)
            until = socket->close_deadline + op->grace_ms;
    } else if (op->state != OP_WAITING && (!op->is_quiet || op->state == OP_SENT)) {
        asock_cancel_sent(op);
        if (op->state == OP_PARTLY)
            asock_op_abandon(op);
    }
    asock_wheel_set(&op->context->wheel, &op->timer.timer, until);
}

static void decide(asock_op *op)
{
    asock_context *context = op->context;
    /*
     * It was the program that held something up: what moved may have been found for another op that
     * is due as well.
     */
    bool has_left = context->left_at >= op->timer.timer.deadline;
    bool is_taking = context->taken_at >= op->timer.timer.deadline;
    bool is_telling = context->told_at >= op->timer.timer.deadline;
    uint64_t now = time_now_ms();
    bool is_late = now - op->timer.timer.deadline >= LATE_MS;
    bool may_wait = op->is_asked ? op->lates < LATES_MAX &&
                                       (is_taking || is_telling || (has_left && is_late))
                                 : op->lates == 0 && is_late;

    if (may_wait) {
        op->lates++;
        asock_wheel_set(&context->wheel, &op->timer.timer, now + patience(op));
    } else if (!op->is_asked) {
        ask(op, now);
    } else {
        asock_session_give_up(op);
    }
}

/* A close waits for its turn where the daemon reads nothing any more. */
static bool is_unanswered(const asock_op *op)
{
    return op->state == OP_SENT || op->state == OP_PARTLY ||
           (op->state == OP_WAITING && op->operation == ASOCK_OPERATION_CLOSE);
}

static void expired(struct deadline *deadline)
{
    asock_op *op = container_of(deadline, asock_op, timer);
    bool has_left, has_come;

    op->holds++;
    has_left = asock_output_push(op->context);
    has_come = asock_input_drain(op->context);
    if (has_left)
        op->context->left_at = time_now_ms();
    if (has_come)
        op->context->told_at = time_now_ms();
    /* A close that has left only now has its time from here on. */
    if (is_unanswered(op) && !wheel_timer_is_set(&op->timer.timer))
        decide(op);
    asock_op_unhold(op);
}

static void watch_from(asock_op *op, uint64_t from)
{
    asock_context *context = op->context;

    op->grace_ms = context->grace_ms;
    op->timer.expired = expired;
    if (op->grace_ms)
        asock_wheel_set(&context->wheel, &op->timer.timer, from + patience(op));
    else
        wheel_timer_unset(&op->timer.timer);
}

void asock_overdue_watch(asock_op *op)
{
    if (op->deadline)
        watch_from(op, op->deadline);
    else
        wheel_timer_unset(&op->timer.timer);
}

void asock_overdue_close(asock_op *op)
{
    const asock_socket *socket = op->socket;
    uint64_t linger = socket->close_abort ? 0 : socket->linger.timer.deadline, now = time_now_ms();

    if (is_unanswered(op))
        watch_from(op, linger > now ? linger : now);
}

void asock_overdue_answered(asock_op *op)
{
    watch_from(op, time_now_ms());
}

/* The daemon answers these at once. */
void asock_overdue_late(const asock_op *disconnect)
{
    list_for_each (&disconnect->socket->ops, it) {
        asock_op *op = container_of(it, asock_op, flight_node);

        if (op->late_for == disconnect)
            asock_overdue_cancelled(op);
    }
}

/* Behind a close with a linger time an op ends with that. */
void asock_overdue_cancelled(asock_op *op)
{
    const asock_socket *socket = op->socket;
    uint64_t from = time_now_ms();

    if (op->state == OP_HELD && socket)
        asock_overdue_late(op);
    if (!is_unanswered(op) || op->is_asked)
        return;
    if (socket && socket->is_close_sent && op != socket->close_op && socket->close_deadline > from)
        from = socket->close_deadline;
    if (!wheel_timer_is_set(&op->timer.timer) || op->timer.timer.deadline > from + patience(op))
        watch_from(op, from);
}
