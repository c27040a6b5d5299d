/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A session that narrows itself.
 *
 * Happy path: the rules are copied, so that the caller may have his back whatever becomes of the
 * answer; the request goes in front of all data; the answer is waited for. It settles no Hello: the
 * launcher that restricts is not the program that will use the session. Failures: what the daemon
 * says of the rules (its text is passed on), no answer in time.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client-lib/api/lifetime.h"
#include "client-lib/core/cancel.h"
#include "client-lib/core/context.h"
#include "client-lib/core/op.h"
#include "client-lib/wire/wait.h"

/* The list of one segment, and what it points at behind it: both go with the op. */
static int copy_rules(asock_op *op, const char *rules, size_t len)
{
    struct iovec *segments;

    segments = malloc(sizeof(*segments) + len);
    if (!segments)
        return -ENOMEM;
    if (len > 0)
        memcpy(segments + 1, rules, len);
    *segments = (struct iovec){.iov_base = segments + 1, .iov_len = len};
    op->segments = segments;
    op->segment_count = 1;
    op->total = len;
    return 0;
}

static int ask(asock_context *context, const char *rules, size_t len, asock_op **ret)
{
    int r;

    if (!context->is_alive)
        return -ECONNABORTED;
    if (len > context->limits.payload_max)
        return -EMSGSIZE;
    r = asock_op_start_own(context, NULL, OPERATION_RESTRICT, ret);
    if (r < 0)
        return r;
    (*ret)->verb = VERB_RESTRICT;
    r = copy_rules(*ret, rules, len);
    if (r < 0) {
        asock_op_end_waiting(*ret, ERR_NO_BUFFER_SPACE);
        return r;
    }
    (*ret)->holds++;
    list_append(&context->inspections, &(*ret)->queue_node);
    asock_wake(context);
    return 0;
}

static int wait_for(asock_op *op, int timeout_ms, char *text, size_t text_size)
{
    int r = asock_run_until(op, timeout_ms);

    if (r < 0 && op->state == OP_WAITING)
        asock_op_end_waiting(op, ERR_TIMED_OUT);
    if (r == 0)
        r = -asock_error_to_errno(op->error);
    if (r < 0 && op->text && text_size > 0)
        snprintf(text, text_size, "%s", op->text);
    asock_op_unhold(op);
    return r;
}

int asock_context_restrict(asock_context *context, const char *rules, size_t len, int timeout_ms,
                           char *text, size_t text_size)
{
    asock_op *op;
    int r;

    if ((!rules && len > 0) || (!text && text_size > 0))
        return -EINVAL;
    r = asock_enter(context);
    if (r < 0)
        return r;
    if (text_size > 0)
        text[0] = '\0';
    context->holds++;
    if (asock_is_in_callback(context))
        r = -EDEADLK;
    else
        r = ask(context, rules, len, &op);
    if (r == 0)
        r = wait_for(op, timeout_ms, text, text_size);
    asock_context_unhold(context);
    return r;
}
