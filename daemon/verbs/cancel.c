/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CANCEL. Its own completion comes first and only says whether the op was still live; the op's own
 * completion tells how it ended. A lingering close that is cancelled sends RST (S43). A SHARE that
 * has succeeded and is cancelled has its listener closed, if the client says that this is what it
 * means (S59).
 */
#include "daemon/session/complete.h"
#include "daemon/session/send.h"
#include "daemon/session/session.h"
#include "daemon/session/sharing.h"
#include "daemon/session/sock.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

static void cancel(struct op *target)
{
    struct sock *sock = target->sock;

    complete(target, ERR_OPERATION_ABORTED);
    /*
     * It may have been the first, and have waited for its client: nothing else wakes those behind
     * it.
     */
    if (sock && !sock->wants_write)
        send_run(sock);
}

/* What a SHARE that has ended with success left. */
static bool withdraw(struct session *s, uint64_t token)
{
    const struct sharing *sharing = s->worker->sharing;

    return token && sharing &&
           sharing->withdraw(s, token); /* 0: it has lost its name to a later one */
}

int verb_cancel(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    struct op *target = session_find_op(op->session, r->cancel.target);

    if (target && target->socket_id != r->socket)
        target = NULL;
    if (target || (r->cancel.unshare && withdraw(op->session, r->cancel.target)))
        op->reply_flags |= REPLY_FOUND;
    complete(op, ERR_SUCCESS);
    if (!target)
        return 0;
    if (target->verb == VERB_CLOSE)
        sock_abort_linger(target->sock, ERR_OPERATION_ABORTED);
    else
        cancel(target);
    return 0;
}
