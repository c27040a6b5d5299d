/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: there is room for one more descriptor on its way to the client -> the socket connects
 * and becomes LENT -> the completion is in the output, with the descriptor -> both are written.
 * Held: nothing more happens until the socket ends. Given: the daemon closes its own descriptor and
 * uncharges the buffers.
 * The client has not fetched as many as it may have sockets: the connect waits until it has.
 * Failures, in which the descriptor is not sent and the client finds it missing:
 * - the socket ends before its descriptor was sent;
 * - the session ends first: a socket that was to be given is reset, like one whose client has gone;
 * - the kernel has too many descriptors in flight: it is then a held one.
 */
#include "daemon/session/sock_lend.h"

#include <errno.h>

#include "base/alloc.h"
#include "daemon/core/limits.h"
#include "daemon/core/quota.h"
#include "daemon/session/complete.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_audit.h"
#include "proto/errors.h"

/* Lives from the request until the reply has been written, or the op has ended. */
struct lending {
    struct fd_pass pass;
    struct list waiter; /* in session->lend_waiters, where there is no room for it yet */
    struct session *session;
    struct quota *quota;
    struct op *op;     /* the connect, while it waits for room */
    struct sock *sock; /* the lent socket; NULL: not connected yet, or gone */
    bool is_sending;   /* the transport owns it */
};

/*
 * The kernel counts the descriptors in flight of all sessions together, so each session is limited:
 * it may have as many as its grant has sockets. A client whose sockets are all open is within that.
 * One that has closed some may not have fetched their descriptors, and the kernel does not say so:
 * it is asked long before that decides.
 */
static bool has_room(struct session *s)
{
    uint32_t most = s->limits.sockets;

    if (s->has_ended || s->transport.out_lost)
        return true; /* nothing is sent any more */
    if (s->lent_unread > 0 && s->lending_count + s->lent_unread >= most / 2)
        s->lent_unread = unread_most(&s->transport, &s->lent_mark, s->lent_unread, 1);
    return s->lending_count + s->lent_unread < most;
}

/* The connects go on in steps of the session. */
static void admit(struct session *s)
{
    struct lending *l;

    while ((l = list_first(&s->lend_waiters, struct lending, waiter)) && has_room(s)) {
        list_remove(&l->waiter);
        s->lending_count++;
        l->op->sock->events |= SOCK_CONNECT_GOES_ON;
        session_ready(s, l->op->sock);
    }
    if (list_is_empty(&s->lend_waiters))
        deadline_unset(&s->lend_look);
}

/* The kernel does not say when the client reads. */
static void look_later(struct session *s, uint32_t ms)
{
    s->lend_look_ms = ms < LINGER_LOOK_MAX_MS ? ms : LINGER_LOOK_MAX_MS;
    worker_set_deadline(s->worker, &s->lend_look, s->lend_look_ms);
}

void lending_on_look(struct deadline *deadline)
{
    struct session *s = container_of(deadline, struct session, lend_look);

    admit(s);
    if (!list_is_empty(&s->lend_waiters))
        look_later(s, 2 * s->lend_look_ms);
}

bool lending_waits(const struct lending *l)
{
    return list_is_linked(&l->waiter);
}

/* What ties the socket to it later does not fail: it needs the socket's own struct sock_more. */
static struct lending *make(struct sock *sock, struct op *op)
{
    struct session *s = sock->session;
    struct lending *l;

    if (!sock_own_more(sock) || quota_charge(s->quota, QUOTA_MEMORY, sizeof(*l)) < 0)
        return NULL;
    l = mem_zalloc(1, sizeof(*l));
    if (!l) {
        quota_uncharge(s->quota, QUOTA_MEMORY, sizeof(*l));
        return NULL;
    }
    list_init(&l->pass.node);
    list_init(&l->waiter);
    l->pass.fd = l->pass.second_fd = -1;
    l->session = s;
    l->quota = s->quota;
    l->op = op;
    return l;
}

static void wait_for_room(struct lending *l)
{
    struct session *s = l->session;

    if (list_is_empty(&s->lend_waiters))
        look_later(s, LINGER_LOOK_MIN_MS);
    list_append(&s->lend_waiters, &l->waiter);
}

struct lending *lending_new(struct op *op)
{
    struct session *s = op->session;
    struct lending *l = make(op->sock, op);

    if (!l)
        return NULL;
    if (list_is_empty(&s->lend_waiters) && has_room(s))
        s->lending_count++;
    else
        wait_for_room(l);
    return l;
}

struct lending *lending_free(struct lending *l)
{
    struct session *s;

    if (!l)
        return NULL;
    s = l->session;
    if (l->sock)
        sock_own_more(l->sock)->lending = NULL;
    list_remove(&l->pass.node);
    if (lending_waits(l))
        list_remove(&l->waiter);
    else
        s->lending_count--;
    quota_uncharge(l->quota, QUOTA_MEMORY, sizeof(*l));
    mem_free(l);
    admit(s);
    return NULL;
}

static void give(struct sock *sock)
{
    sock_audit_close(sock, ERR_SUCCESS, SOCK_GIVEN_TEXT);
    netsock_give(&sock->ns, sock->worker);
    sock_uncharge_buffers(sock);
}

static void on_left(struct fd_pass *pass)
{
    struct lending *l = container_of(pass, struct lending, pass);
    struct sock *sock = l->sock;

    if (pass->is_sent) {
        l->session->lent_unread++;
        if (sock->is_given)
            give(sock);
    } else {
        sock->is_given = false; /* only the daemon has it, as one that is held */
    }
    lending_free(l);
}

static void tie(struct sock *sock, struct lending *l)
{
    sock_own_more(sock)->lending = l;
    l->sock = sock;
    l->pass.fd = sock->ns.fd;
    l->pass.left = on_left;
}

void sock_lend(struct sock *sock, struct lending *l, bool is_given)
{
    sock_move(sock, SOCK_LENT);
    sock->wants_read = sock->wants_write = false;
    sock_update_watch(sock);
    sock->ns.is_apart = sock->worker->apart != NULL;
    sock->ns.is_lent = true;
    sock->is_given = is_given;
    tie(sock, l);
}

void sock_end_lent_ops(struct sock *sock)
{
    sock_end_ops(sock, ERR_INVALID_ARGUMENT);
    /* Only the client can say whether the stream that it writes is complete. */
    sock->send_side = sock->receive_side = SIDE_SHUT;
}

struct fd_pass *lending_fd_pass(struct lending *l)
{
    return l && l->sock ? &l->pass : NULL;
}

struct fd_pass *lending_send(struct lending *l)
{
    l->is_sending = true;
    return &l->pass;
}

/* ---- from one process to the next ---- */

bool sock_lending_at(const struct sock *sock, uint32_t *ret_at)
{
    const struct lending *l = sock->more->lending;

    if (!l || !l->is_sending)
        return false;
    *ret_at = transport_pass_at(&l->session->transport, &l->pass);
    return true;
}

void sock_lent_restore(struct sock *sock, bool is_given)
{
    sock->ns.is_lent = sock->ns.fd >= 0;
    sock->ns.is_apart = sock->ns.is_lent && sock->worker->apart;
    sock->is_given = is_given;
}

struct lending *lending_restore(struct op *op)
{
    struct lending *l = make(op->sock, op);

    /* Those that are in the output come first. */
    if (l)
        wait_for_room(l);
    return l;
}

struct lending *lending_restore_of(struct sock *sock)
{
    struct session *s = sock->session;
    struct lending *l = make(sock, NULL);

    if (!l)
        return NULL;
    s->lending_count++;
    tie(sock, l);
    return l;
}

int sock_lending_restore(struct sock *sock, uint32_t at)
{
    struct lending *l = lending_restore_of(sock);
    int r;

    if (!l)
        return -ENOMEM;
    l->is_sending = true;
    r = transport_restore_pass(&sock->session->transport, at, &l->pass);
    if (r < 0)
        lending_free(l);
    return r;
}

/* ---- the end ---- */

void sock_lend_no_more(struct sock *sock)
{
    struct lending *l = sock->more->lending;

    if (!l)
        return;
    sock_own_more(sock)->lending = NULL;
    l->sock = NULL;
    if (l->is_sending)
        lending_free(l);
}

/* A given socket is not asked: its client may hold the kernel's lock of it. */
void sock_count_bytes(struct sock *sock)
{
    if (!sock->ns.is_lent || sock->ns.both_ended || sock->ns.fd < 0 || sock->is_given)
        return;
    sock->ns.both_ended = netsock_bytes(&sock->ns, &sock->bytes_in, &sock->bytes_out);
    sock->has_seen_end |= sock->ns.both_ended;
}

bool sock_lent_is_whole(const struct sock *sock)
{
    enum netsock_use use = netsock_use(&sock->ns);

    return use == NETSOCK_HAS_SENT_FIN || (use == NETSOCK_IS_OPEN && !sock->session->has_ended);
}
