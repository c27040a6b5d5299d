/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The socket of an accept.
 *
 * Happy path: made when the op is submitted, so that it has an id to name; it waits in the op. With the answer it is
 * connected, and the program takes it out of the op.
 * Failures: the accept fails, and it goes unused; the program submits the op again or lets go of it without having taken the
 * socket, and it is closed.
 */
#include "client-lib/core/accept.h"

#include <errno.h>

#include "client-lib/core/socket.h"

uint32_t asock_accept_prepare(asock_op *op)
{
    int r = asock_socket_enter(op->context, op->socket->family, false, &op->accepted);

    if (r < 0)
        return r == -EMFILE     ? ERR_TOO_MANY_OPEN_SOCKETS
               : r == -ENOTCONN ? ERR_CONNECTION_ABORTED
                                : ERR_NO_BUFFER_SPACE;
    op->accepted->acceptor = op;
    return ERR_SUCCESS;
}

int asock_accept_done(asock_op *op, const struct reply *reply)
{
    asock_socket *socket = op->accepted;

    if (reply->body != BODY_CONNECTED || !socket || reply->connected.socket != socket->id)
        return -EPROTO;
    socket->acceptor = NULL;
    socket->is_opened = socket->is_connect_asked = socket->is_connected = true;
    socket->local = op->local = reply->connected.local;
    socket->remote = op->remote = reply->connected.remote;
    return 0;
}

void asock_accept_drop(asock_op *op)
{
    asock_socket *socket = op->accepted;

    if (!socket)
        return;
    op->accepted = NULL;
    socket->acceptor = NULL;
    socket->refs = 0;
    asock_socket_unuse(socket);
    asock_socket_unhold(socket);
}
