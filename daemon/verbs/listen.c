/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LISTEN: the kernel takes connections for a bound socket, as many as its backlog says, until ACCEPT fetches them.
 * Happy path: what the backlog may hold in the kernel is charged, the kernel listens, the audit is told. Again on one that
 * listens: the backlog changes.
 * Failures: not bound; not allowed any more, so that it is not bound now either; no room for the backlog's buffers, or an audit that must be told and cannot be: it stays as it was.
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

    if (sock->dgram) {
        op->text = "datagrams have no connections";
        return ERR_OPERATION_NOT_SUPPORTED;
    }
    if (sock->state == SOCK_FAILED)
        return ERR_OPERATION_ABORTED;
    if (sock->bound)
        return 0;
    op->text = "the socket is not bound";
    return ERR_INVALID_ARGUMENT;
}

/* A change of policy unbinds it in a step that may not have come yet. */
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
    uint32_t before = sock->bound->backlog;
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
        op->text = "audit unavailable";
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
