/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The part of CONNECT that lends the socket to its client.
 * Happy path: the request asks for it, the rules for the address that won allow it, and the
 * descriptor is sent with the completion. Ops that were queued behind the connect end.
 */
#include "daemon/session/complete.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_lend.h"
#include "daemon/session/sock_policy.h"
#include "daemon/verbs/connect.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

/* A connect that asks for its socket cannot have data. */
int connect_prepare_lending(struct op *op, const struct call *call)
{
    struct connect *c = op->send.connect;
    uint32_t lend = call->request->connect.lend;

    if (lend == 0)
        return 0;
    if (lend > LEND_HELD_IF_ALLOWED || call->payload_len > 0)
        return ERR_INVALID_ARGUMENT;
    if (op->sock->more->dgram)
        return ERR_OPERATION_NOT_SUPPORTED;
    c->lend = (uint8_t)lend;
    c->he.is_apart = true;
    c->lending = lending_new(op);
    if (!c->lending)
        op->text = "too little memory left";
    return c->lending ? 0 : ERR_NO_BUFFER_SPACE;
}

/*
 * The rules in force decide, for the address that won. A socket that was closed meanwhile (linger
 * time) is not lent.
 */
bool connect_does_lend(struct connect *c)
{
    struct policy_question question = connect_question(c, &c->he.won.any);
    struct policy_answer answer;

    if (!c->lend || c->op->sock->lingers)
        return false;
    answer = policy_judge(session_view(c->op->session), &question);
    return sock_may_lend(c->op->sock, c->lend == LEND_GIVEN, &answer);
}

/* The daemon cannot run ops on a lent socket. */
void connect_lend(struct connect *c)
{
    struct op *op = c->op;
    struct sock *sock = op->sock;

    sock_lend(sock, c->lending, c->lend == LEND_GIVEN);
    complete(op, ERR_SUCCESS);
    sock_end_lent_ops(sock);
}

struct lending *connect_lending(const struct op *op)
{
    return op->send.connect->lending;
}

struct fd_pass *connect_take_fd_pass(struct op *op)
{
    struct lending *lending = op->send.connect->lending;

    op->send.connect->lending = NULL;
    return lending_send(lending);
}
