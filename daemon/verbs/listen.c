/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LISTEN: the kernel accepts up to `backlog` connections for a bound socket; they wait until ACCEPT
 * fetches them.
 * Happy path: the kernel buffers of the backlog are charged, the kernel listens, the audit records
 * it. On a socket that listens already, LISTEN changes the backlog.
 * Failures: not bound; no longer allowed (the socket is then unbound); no room for the backlog's
 * buffers, or the audit must record it and cannot (the socket is unchanged).
 */
#include <errno.h>

#include "daemon/net/tcp.h"
#include "daemon/session/complete.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_audit.h"
#include "daemon/session/sock_bound.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

static int check_state(struct op *op)
{
    const struct sock *sock = op->sock;

    if (sock->more->dgram) {
        op->text = "a datagram socket has no connections";
        return ERR_OPERATION_NOT_SUPPORTED;
    }
    if (sock->state == SOCK_FAILED)
        return ERR_OPERATION_ABORTED;
    if (sock->more->bound)
        return 0;
    op->text = "the socket is not bound";
    return ERR_INVALID_ARGUMENT;
}

/* After a change of policy, the step that unbinds the socket may not have run yet: judge it now. */
static bool is_denied_now(struct op *op)
{
    struct policy_answer answer = sock_bound_judge(op->sock);

    if (answer.is_allowed)
        return false;
    op->text = answer.reason;
    return sock_bound_judge_again(op->sock);
}

static uint32_t backlog_of(uint32_t asked)
{
    if (asked == 0)
        return BACKLOG_DEFAULT;
    return asked < BACKLOG_MAX ? asked : BACKLOG_MAX;
}

static int listen_or_explain(struct op *op, uint32_t backlog)
{
    struct sock *sock = op->sock;
    uint32_t before = sock->more->bound->backlog;
    int r;

    if (sock_bound_charge(sock, backlog) < 0) {
        op->text = SOCK_BUFFERS_TEXT;
        return ERR_NO_BUFFER_SPACE;
    }
    r = netsock_listen(&sock->ns, (int)backlog);
    if (r == 0)
        return 0;
    sock_bound_charge(sock, before);
    return (int)asock_error_from_errno(r);
}

int verb_listen(struct op *op, const struct call *call)
{
    uint32_t backlog = backlog_of(call->request->listen.backlog);
    struct sock *sock = op->sock;
    struct sock_audit audit = {.is_on = false};
    int err = check_state(op);

    if (err != 0)
        return err;
    if (is_denied_now(op))
        return ERR_ACCESS_DENIED;
    if (sock->state == SOCK_BOUND && !sock_audit_begin(sock, &audit)) {
        op->text = "the audit is unavailable, and the policy requires a record";
        return ERR_ACCESS_DENIED;
    }
    err = listen_or_explain(op, backlog);
    if (err != 0) {
        sock_audit_drop(&audit);
        return err;
    }
    if (sock->state == SOCK_BOUND)
        sock_move(sock, SOCK_LISTENING);
    sock_audit_listen(sock, &audit);
    complete(op, ERR_SUCCESS);
    return 0;
}
