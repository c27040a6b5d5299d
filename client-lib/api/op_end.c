/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Waiting for an op, and asking for its early end. */
#include <errno.h>

#include "client-lib/api/lifetime.h"
#include "client-lib/core/ask.h"
#include "client-lib/core/cancel.h"
#include "client-lib/core/context.h"
#include "client-lib/core/op.h"
#include "client-lib/wire/wait.h"
#include "client-lib/wire/overdue.h"

int asock_op_wait(asock_op *op, int timeout_ms)
{
    asock_context *context = op ? op->context : NULL;
    int r = asock_enter(context);

    if (r < 0)
        return r;
    if (op->state == OP_IDLE)
        r = -EINVAL;
    else if (op->state != OP_DONE && asock_is_dispatcher(context))
        r = -EDEADLK;
    else if (op->state != OP_DONE)
        r = asock_ask(op);
    if (r < 0 || op->state == OP_DONE) {
        asock_leave(context);
        return r;
    }
    context->holds++;
    op->holds++;
    r = asock_run_until(op, timeout_ms);
    asock_op_unhold(op);
    asock_context_unhold(context);
    return r;
}

int asock_cancel(asock_op *op)
{
    int r = asock_enter(op ? op->context : NULL);

    if (r < 0)
        return r;
    r = asock_cancel_locked(op);
    if (r == 0)
        asock_overdue_cancelled(op);
    asock_leave(op->context);
    return r;
}
