/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * OPEN: creates a socket with the id that the client chose. CONNECT, or the first SEND of a
 * datagram, creates the kernel's socket, because they know the family.
 * Failures: the id is above the limit, no memory; an id that is live ends the session, because the
 * requests that are pipelined behind it would reach the wrong peer.
 */
#include <errno.h>

#include "daemon/session/complete.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

int verb_open(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    struct session *s = op->session;
    struct session_slot *slot = session_slot(s, r->socket);
    struct sock *sock;

    if (!slot)
        return ERR_TOO_MANY_OPEN_SOCKETS;
    if (!session_id_is_free(s, r->socket)) {
        s->why = "OPEN with a socket ID that is in use";
        return -EPROTO;
    }
    if (r->open.family > FAMILY_INET6)
        return ERR_ADDRESS_FAMILY_NOT_SUPPORTED;
    if (r->open.type > SOCKET_TYPE_DATAGRAM)
        return ERR_SOCKET_NOT_SUPPORTED;
    if (sock_new_kind(s, r->socket, r->open.family, r->open.type == SOCKET_TYPE_DATAGRAM, &sock) <
        0) {
        op->text = "too little memory left";
        return ERR_NO_BUFFER_SPACE;
    }
    slot->sock = sock;
    slot->dropping = 0;
    s->socket_count++;
    s->worker->stats.sockets++;
    op->sock = sock;
    sock->op_count++;
    complete(op, ERR_SUCCESS);
    return 0;
}
