/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TAKE_OVER, on the control listener: another asockd asks for all clients and connections.
 * Happy path: the op completes, and the server hands over on its connection (server/hand_over.c).
 * Failures: this daemon cannot hand over, the asker is neither its user nor root, or the format is
 * unknown. If the op is cancelled before the end of the turn nothing is handed over.
 */
#include "daemon/session/complete.h"
#include "daemon/session/session.h"
#include "daemon/session/take_over.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

static void take_over_stop(struct op *op)
{
    struct take_over *t = op->session->worker->take_over;

    t->forget(t);
}

static const struct op_class take_over_class = {.name = "take over", .stop = take_over_stop};

int verb_take_over(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    struct session *s = op->session;
    struct take_over *t = s->worker->take_over;
    int error;

    if (!t) {
        op->text = "this daemon cannot hand over its clients";
        return ERR_OPERATION_NOT_SUPPORTED;
    }
    error = t->ask(t, op, r->take_over.format);
    if (error != 0)
        return error;
    op->class = &take_over_class;
    op_move(op, OP_QUEUED);
    session_hash_op(s, op);
    list_append(&s->resolves, &op->node);
    if (r->timeout_ms > 0)
        op_set_deadline(s->worker, op, r->timeout_ms, complete_timed_out);
    return 0;
}
