/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Decides which sessions can go over, and ends here those that have gone.
 *
 * These cannot: sessions that are ending, and those who came by the listener of one of these. Of
 * those that have ended the daemon's record has what is left (ended.c).
 */
#include <errno.h>
#include <unistd.h>

#include "daemon/session/dgram.h"
#include "daemon/session/op.h"
#include "daemon/session/session.h"
#include "daemon/session/session_frame.h"
#include "daemon/session/session_end.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_bound.h"
#include "daemon/session/sock_lend.h"
#include "daemon/state/lent.h"
#include "daemon/state/questions.h"
#include "daemon/state/state.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

static bool carries_op(const struct op *op)
{
    struct connect_past past;

    if (op->state != OP_QUEUED)
        return false;
    switch (op->verb) {
    case VERB_CONNECT:
        return connect_save(op, &past);
    case VERB_RECEIVE:
    case VERB_SEND:
    case VERB_SHUTDOWN:
    case VERB_HANGUP:
    case VERB_ACCEPT:
    case VERB_CLOSE:
    case VERB_DISCONNECT:
        return true;
    default:
        return false;
    }
}

static bool carries_ops(const struct ring *ops)
{
    ring_for_each (ops, it) {
        if (!carries_op(container_of(it, struct op, node)))
            return false;
    }
    return true;
}

static bool carries_accepts(const struct sock_bound *bound)
{
    list_for_each (&bound->accepts, it) {
        if (!carries_op(container_of(it, struct op, node)))
            return false;
    }
    return true;
}

static bool carries_all_ops(const struct sock *sock)
{
    return (!sock->connect || carries_op(sock->connect)) &&
           (!sock_close_op(sock) || carries_op(sock_close_op(sock))) &&
           (!sock->more->hangup || carries_op(sock->more->hangup)) && carries_ops(&sock->sends) &&
           carries_ops(&sock->receives) &&
           (!sock->more->bound || carries_accepts(sock->more->bound));
}

/* Its close goes on. */
static bool carries_lingering(const struct sock *sock)
{
    bool has_descriptor = sock->ns.fd >= 0;

    return (sock->state == SOCK_LINGERING ? has_descriptor
                                          : sock->state == SOCK_CONNECTING && !has_descriptor) &&
           !sock->more->dgram && !sock->more->lending && !sock->is_closing && carries_all_ops(sock);
}

/* Once it was sent, its client alone has the descriptor of a given one. */
static bool carries_lent(const struct sock *sock)
{
    uint32_t at;

    if (sock->more->lending && !sock_lending_at(sock, &at) && lent_reply(sock) == 0)
        return false;
    return sock->is_given && !sock->more->lending ? sock->ns.fd < 0 : sock->ns.fd >= 0;
}

static bool carries_descriptor(const struct sock *sock)
{
    switch (sock->state) {
    case SOCK_OPEN:
    case SOCK_CONNECTING:
        return sock->more->dgram || sock->ns.fd < 0;
    case SOCK_FAILED:
    case SOCK_KILLED:
        return sock->ns.fd < 0;
    case SOCK_BOUND:
    case SOCK_LISTENING:
    case SOCK_CONNECTED:
        return sock->ns.fd >= 0;
    case SOCK_LENT:
        return carries_lent(sock);
    default:
        return false;
    }
}

static bool carries_socket(const struct sock *sock)
{
    return carries_descriptor(sock) && !(sock->more->dgram && sock->more->dgram->borrows) &&
           !sock->lingers && !sock->is_closing && !sock->ending && carries_all_ops(sock);
}

static bool carries_replies(const struct list *ops)
{
    uint8_t frame[STATE_REPLY_MAX];

    list_for_each (ops, it) {
        if (session_encode_reply(container_of(it, struct op, node), frame, sizeof(frame)) == 0)
            return false;
    }
    return true;
}

bool state_may_carry(const struct session *s)
{
    return s->kind == LISTENER_CLIENT;
}

bool state_carries(const struct session *s)
{
    if (!state_may_carry(s) || s->has_ended || s->is_condemned || s->is_dying ||
        s->transport.fd < 0 || s->transport.out_lost || !list_is_empty(&s->settling) ||
        !list_is_empty(&s->monitors) || s->batch_of || s->reads_of || !carries_replies(&s->done))
        return false;
    for (uint32_t id = 1; id < s->slot_count; id++)
        if (s->slots[id].sock && !carries_socket(s->slots[id].sock))
            return false;
    list_for_each (&s->lingering, it) {
        if (!carries_lingering(container_of(it, struct sock, node)))
            return false;
    }
    return true;
}

/* A sharer is in front of those who came by it. */
uint32_t state_choose(struct worker *w)
{
    uint32_t count = 0;

    list_for_each (&w->sessions, it) {
        struct session *s = container_of(it, struct session, node);
        const struct session *sharer = s->sharing.sharer;

        s->is_handed_over = (!sharer || sharer->is_handed_over) && state_carries(s);
        count += s->is_handed_over;
    }
    return count;
}

/* ---- gone ---- */

static void leave_socket(struct sock *sock)
{
    struct worker *w = sock->worker;

    sock->owes_end = sock->is_audited = sock->has_killed_event = false;
    if (sock->connect)
        connect_leave(sock->connect);
    if (sock->more->hangup)
        sock->more->hangup->class->stop(sock->more->hangup);
    if (sock->ns.fd < 0)
        return;
    close(netsock_release(&sock->ns, w));
    w->fds_used--;
}

void state_leave_drains(struct worker *w)
{
    list_for_each_safe (&w->drains, it) {
        struct sock *sock = container_of(it, struct sock, node);

        leave_socket(sock);
        sock_abort(sock);
    }
}

void state_leave_session(struct session *s)
{
    struct sock *sock;

    session_for_each_sock (s, sock)
        leave_socket(sock);
    if (s->worker->sharing)
        s->worker->sharing->leave(s);
    session_leave_buffers(s);
    questions_leave(s);
    close(transport_leave(&s->transport));
    session_end(s, ERR_SUCCESS, NULL);
    session_end_lingering(s);
}
