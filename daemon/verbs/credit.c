/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CREDIT.
 * Happy path: the slices go behind those that the multishot has left.
 * Failures: the target has ended (success, but not found: the slices are the client's), is no
 * multishot, a slice is empty or out of its range, more slices than one may have.
 */
#include "daemon/session/complete.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

static bool is_multishot(const struct op *op)
{
    return op->verb == VERB_RECEIVE && op->receive_flags & RECEIVE_MULTISHOT;
}

int verb_credit(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    struct op *target = session_find_op(op->session, r->credit.target);
    int err;

    if (target && target->sock != op->sock)
        target = NULL;
    if (r->credit.segments.count == 0 || segments_have_empty(&r->credit.segments) ||
        (target && !is_multishot(target)))
        return ERR_INVALID_ARGUMENT;
    if (target && target->slices.count + r->credit.segments.count > CODEC_SEGMENTS_MAX)
        return ERR_NO_BUFFER_SPACE;
    err = session_take_slices(op->session, &r->credit.segments, true, &op->slices);
    if (err != 0)
        return err;
    if (target) {
        slices_splice(&target->slices, &op->slices);
        op->reply_flags |= REPLY_FOUND;
    }
    complete(op, ERR_SUCCESS);
    return 0;
}
