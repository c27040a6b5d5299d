/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A multishot accept without a callback. */
#include <errno.h>

#include "client-lib/api/dispatcher.h"
#include "client-lib/api/lifetime.h"
#include "client-lib/core/accept.h"
#include "client-lib/core/context.h"
#include "client-lib/core/op.h"
#include "client-lib/wire/wait.h"

/* A connection, or that there will be none: 1, 0; -ETIMEDOUT, -EDEADLK. */
static int wait_arrival(asock_op *op, int timeout_ms)
{
    int r = 0;

    if (list_is_empty(&op->arrived) && op->state != OP_DONE)
        r = asock_is_dispatcher(op->context) ? -EDEADLK : asock_run_until_slice(op, timeout_ms);
    return r < 0 ? r : !list_is_empty(&op->arrived);
}

int asock_accept_next(asock_op *op, int timeout_ms, asock_socket **ret)
{
    asock_context *context = op ? op->context : NULL;
    struct due *due;
    int r;

    if (!ret)
        return -EINVAL;
    r = asock_enter(context);
    if (r < 0)
        return r;
    if (!op->is_multishot_accept || op->callback) {
        asock_leave(context);
        return -EINVAL;
    }
    context->holds++;
    op->holds++;
    r = wait_arrival(op, timeout_ms);
    if (r > 0) {
        due = list_first(&op->arrived, struct due, node);
        list_remove(&due->node);
        *ret = container_of(due, asock_socket, arrival);
        op->local = (*ret)->local;
        op->remote = (*ret)->remote;
        asock_context_add_ref(context);
    }
    asock_op_unhold(op);
    asock_context_unhold(context);
    return r;
}
