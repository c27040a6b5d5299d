/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RELOAD, on the control listener, and JUDGE, which tells a client about its own session.
 * Happy path: JUDGE is done at once; RELOAD when all files have been read, and all connections
 * judged. The answer is a record.
 * Failures: a file that cannot be taken (the old policy stays, the text names file and line), a
 * question that is none. A RELOAD that is cancelled continues: only its answer is dropped.
 */
#include "daemon/session/complete.h"
#include "daemon/session/inspect.h"
#include "daemon/session/session.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

static void reload_stop(struct op *op)
{
    list_remove(&op->waiting);
}

static const struct op_class reload_class = {.name = "reload", .stop = reload_stop};

int verb_reload(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    struct session *s = op->session;
    int error;

    op->class = &reload_class;
    list_init(&op->waiting);
    op_move(op, OP_QUEUED);
    session_hash_op(s, op);
    list_append(&s->resolves, &op->node);
    if (r->timeout_ms > 0)
        op_set_deadline(s->worker, op, r->timeout_ms, complete_timed_out);
    error = s->worker->inspect->reload(op, r->reload.close);
    if (error < 0)
        complete(op, asock_error_from_errno(error));
    return 0;
}

int verb_judge(struct op *op, const struct call *call)
{
    struct session *s = op->session;
    uint8_t record[INSPECT_RECORD_MAX];
    char text[INSPECT_TEXT_MAX] = "";
    long n = s->worker->inspect->judge(s, call->payload, call->payload_len, record, sizeof(record),
                                       text);

    return n < 0 ? verb_send_failure(op, n, text) : verb_send_record(op, record, n);
}
