/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A socket loses its connection and stays (S73).
 *
 * Happy path: FIN is sent -> what is still pending ends -> the op completes, as the last one of
 * this connection -> the connection is closed, lingers and is charged as that of any socket that is
 * closed -> a new socket has the id and what the client has set.
 * So nothing of one connection can reach the other: they are of two sockets, and every op of the
 * first one has ended before the client hears of it.
 * Failures: no memory for the new socket, and nothing has happened; the stream is not whole, or the
 * connection is lost, and the op says so.
 */
#include <errno.h>
#include <sys/socket.h>

#include "daemon/session/complete.h"
#include "daemon/session/dgram.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "proto/errors.h"

/* FIN behind all that was sent. A stream that is not whole gets none. */
static uint32_t end_stream(struct sock *sock, bool abort)
{
    if (sock->more->dgram)
        return ERR_SUCCESS;
    if (abort || sock->is_incomplete || sock->send_side == SIDE_BROKEN)
        return ERR_CONNECTION_RESET;
    /* Of a connection both of whose ends are closed the kernel says that there is none. */
    if (sock_send_end(sock))
        return ERR_SUCCESS;
    if (!sock->lost_error)
        sock->lost_error = ERR_CONNECTION_RESET;
    return ERR_CONNECTION_RESET;
}

static int renew(const struct sock *sock, struct sock **ret)
{
    /* A datagram socket has taken the family of what it was used for first. */
    const struct dgram *dgram = sock->more->dgram;
    int r = sock_new_kind(sock->session, sock->id, dgram ? dgram->family : sock->family,
                          dgram != NULL, ret);

    if (r < 0 || !sock->more->options || sock_own_more(*ret))
        return r;
    (*ret)->state = SOCK_CLOSED;
    sock_free_later(*ret);
    return -ENOMEM;
}

int sock_disconnect(struct op *op, bool abort)
{
    struct sock *sock = op->sock, *fresh;
    struct session *s = sock->session;
    struct session_slot *slot = session_slot(s, sock->id);
    int32_t linger = sock_linger(sock);
    uint32_t error;

    if (renew(sock, &fresh) < 0)
        return -ENOMEM;
    error = end_stream(sock, abort);
    sock_leave_queue(op);
    sock_end_ops(sock, ERR_OPERATION_ABORTED);
    complete(op, error);
    if (sock->more->options) {
        sock_own_more(fresh)->options = sock->more->options;
        sock_own_more(sock)->options = NULL;
    }
    sock_close(sock, NULL, linger > 0 ? (uint32_t)linger : 0, abort);
    slot->sock = fresh;
    s->socket_count++;
    s->worker->stats.sockets++;
    return 0;
}
