/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * KILL, on the control listener: ends what has the id, and reports it to the owner. The session
 * that asks may be it.
 * Failures: no such id.
 */
#include "daemon/session/complete.h"
#include "daemon/session/inspect.h"
#include "daemon/session/session.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

int verb_kill(struct op *op, const struct call *call)
{
    struct session *s = op->session;

    if (s->worker->inspect->kill(s, call->request->show.id) < 0)
        return ERR_NOT_FOUND;
    complete(op, ERR_SUCCESS);
    return 0;
}
