/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SHARE: creates a listener for the session, for other processes of its user.
 * Happy path: the server has a helper process create it, while the loop continues; the answer is a
 * record with the directory.
 * Failures: too many listeners, or too many levels; no quota; the helper process has ended, or
 * fails.
 */
#include "daemon/identity/identity.h"
#include "daemon/session/complete.h"
#include "daemon/session/session.h"
#include "daemon/session/sharing.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

static void share_stop(struct op *op)
{
    if (op->shared)
        op->session->worker->sharing->forget(op);
}

static const struct op_class share_class = {.name = "share", .stop = share_stop};

/* 0, or the error. */
static int check(struct op *op)
{
    const struct session *s = op->session;
    const struct sharing *sharing = s->worker->sharing;

    if (!sharing || sharing->problem) {
        op->text = sharing ? sharing->problem : "this daemon does not create shared listeners";
        return ERR_OPERATION_NOT_SUPPORTED;
    }
    if (session_identity(s)->uid == IDENTITY_ID_UNKNOWN) {
        op->text = "asockd could not determine your user, so it cannot tell who may connect";
        return ERR_ACCESS_DENIED;
    }
    if (s->sharing.depth >= LIMIT_SHARE_DEPTH) {
        op->text = "shared listeners are nested too deeply (at most 4)";
        return ERR_NO_BUFFER_SPACE;
    }
    if (s->sharing.listener_count >= LIMIT_SHARED_LISTENERS) {
        op->text = "the session has reached its limit of 8 shared listeners";
        return ERR_NO_BUFFER_SPACE;
    }
    return 0;
}

int verb_share(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    struct session *s = op->session;
    int error = r->socket != 0 ? (int)ERR_INVALID_ARGUMENT : check(op);

    if (error)
        return error;
    op->class = &share_class;
    op->shared = NULL;
    op->shares_lending = r->share.lend;
    op_move(op, OP_QUEUED);
    session_hash_op(s, op);
    if (r->timeout_ms > 0)
        op_set_deadline(s->worker, op, r->timeout_ms, complete_timed_out);
    error = s->worker->sharing->open(s->worker->sharing, op);
    if (error)
        complete(op, (uint32_t)error);
    return 0;
}
