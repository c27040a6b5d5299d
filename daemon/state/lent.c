/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Lent sockets from one process to the next.
 *
 * Happy path: the daemon's descriptor goes over, and the next process ends the connection for all
 * its holders when this one would have. A descriptor that the client has not got yet goes to it
 * with the rest of the output, or with a reply for which that has no room yet. One that the kernel
 * has already passed on stays where it is.
 * Failures: as of every socket (restore_socket.c). If no process continues, the connection is the
 * client's alone.
 */
#include "daemon/state/lent.h"

#include <errno.h>

#include "daemon/session/op.h"
#include "daemon/session/session_frame.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_lend.h"

uint32_t lent_reply(const struct sock *sock)
{
    return session_reply_of(sock->session, sock->more->lending);
}

Asockd__State__Lent *lent_save(struct state_writer *out, struct lent_room *room,
                               const struct sock *sock)
{
    uint32_t at;

    if (sock->state != SOCK_LENT && !sock->ns.is_lent)
        return NULL;
    state_needs(out, STATE_FORMAT_LENT);
    asockd__state__lent__init(&room->lent);
    room->lent.given = sock->is_given;
    if (!sock->more->lending)
        return &room->lent;
    asockd__state__travel__init(&room->travel);
    room->lent.travel = &room->travel;
    if (sock_lending_at(sock, &at)) {
        room->travel.at = at;
    } else {
        room->travel.reply = lent_reply(sock);
        state_needs(out, STATE_FORMAT_REPLY);
    }
    return &room->lent;
}

bool lent_has_descriptor(const Asockd__State__Lent *from)
{
    return !from->given || from->travel;
}

bool lent_fits(const struct sock *sock, const Asockd__State__Socket *from)
{
    const Asockd__State__Lent *lent = from->lent;

    if (!lent)
        return sock->state != SOCK_LENT;
    if (from->datagrams || from->bound || from->origin || from->chain)
        return false;
    return sock->state == SOCK_LENT ||
           (sock->state == SOCK_LINGERING && !lent->given && !lent->travel);
}

static int restore_with_reply(struct state_restorer *r, struct sock *sock, uint32_t reply)
{
    struct op *op = session_frame_without(sock->session, reply);

    if (!op)
        return restore_fail(r, "there is no reply to send a queued descriptor with");
    op->frame.lending = lending_restore_of(sock);
    return op->frame.lending ? 0 : -ENOMEM;
}

int lent_restore(struct state_restorer *r, struct sock *sock, const Asockd__State__Lent *from)
{
    int e = 0;

    if (!from)
        return 0;
    sock_lent_restore(sock, from->given);
    if (from->travel && from->travel->reply > 0)
        return restore_with_reply(r, sock, from->travel->reply);
    if (from->travel)
        e = sock_lending_restore(sock, from->travel->at);
    return e == -EINVAL ? restore_fail(r, "there is no data to send a queued descriptor with") : e;
}
