/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: the socket connects and becomes LENT -> the completion is in the output, with the
 * descriptor -> both are written. Held: nothing more happens until the socket ends. Given: the
 * daemon closes its own descriptor and uncharges the buffers.
 * Failures, in which the descriptor is not sent and the client finds it missing:
 * - the socket ends before its descriptor was sent;
 * - the session ends first: a socket that was to be given is reset, like one whose client has gone;
 * - the kernel has too many descriptors in flight: it is then a held one.
 */
#include "daemon/session/sock_lend.h"

#include <errno.h>

#include "base/alloc.h"
#include "daemon/core/quota.h"
#include "daemon/session/complete.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_audit.h"
#include "proto/errors.h"

/* Lives from the request until the reply has been written, or the op has ended. */
struct lending {
    struct fd_pass pass;
    struct session *session;
    struct quota *quota;
    struct sock *sock; /* the lent socket; NULL: not connected yet, or gone */
    bool is_sending;   /* the transport owns it */
};

/*
 * The kernel counts the descriptors in flight of all sessions together, so each session is limited:
 * it may have as many as its grant has sockets.
 */
static bool may_send_one_more(struct session *s)
{
    uint32_t count = s->lending_count, unread;

    /*
     * The kernel says how much was not fetched, and not what: it is asked long before that decides.
     */
    if (s->lent_unread > 0 && count + s->lent_unread >= s->limits.sockets / 2) {
        unread = transport_unread_max(s->transport.fd);
        s->lent_unread = unread < s->lent_unread ? unread : s->lent_unread;
    }
    return count + s->lent_unread < s->limits.sockets;
}

static int refuse(struct op *op, const char *why)
{
    op->text = why;
    return ERR_NO_BUFFER_SPACE;
}

static struct lending *make(struct session *s)
{
    struct lending *l;

    if (quota_charge(s->quota, QUOTA_MEMORY, sizeof(*l)) < 0)
        return NULL;
    l = mem_zalloc(1, sizeof(*l));
    if (!l) {
        quota_uncharge(s->quota, QUOTA_MEMORY, sizeof(*l));
        return NULL;
    }
    list_init(&l->pass.node);
    l->pass.fd = l->pass.second_fd = -1;
    l->session = s;
    l->quota = s->quota;
    s->lending_count++;
    return l;
}

int lending_new(struct op *op, struct lending **ret)
{
    if (!may_send_one_more(op->session))
        return refuse(op, "too many descriptors are waiting for the client to receive them");
    *ret = make(op->session);
    return *ret ? 0 : refuse(op, "too little memory left");
}

struct lending *lending_free(struct lending *l)
{
    if (!l)
        return NULL;
    if (l->sock)
        l->sock->lending = NULL;
    list_remove(&l->pass.node);
    l->session->lending_count--;
    quota_uncharge(l->quota, QUOTA_MEMORY, sizeof(*l));
    return mem_free(l);
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
    sock->lending = l;
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
    const struct lending *l = sock->lending;

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

struct lending *lending_restore(struct session *s)
{
    return make(s);
}

int sock_lending_restore(struct sock *sock, uint32_t at)
{
    struct lending *l = make(sock->session);
    int r;

    if (!l)
        return -ENOMEM;
    tie(sock, l);
    l->is_sending = true;
    r = transport_restore_pass(&sock->session->transport, at, &l->pass);
    if (r < 0)
        lending_free(l);
    return r;
}

/* ---- the end ---- */

void sock_lend_no_more(struct sock *sock)
{
    struct lending *l = sock->lending;

    if (!l)
        return;
    sock->lending = NULL;
    l->sock = NULL;
    if (l->is_sending)
        lending_free(l);
}

/* A given socket is not asked: its client may hold the kernel's lock of it. */
void sock_count_bytes(struct sock *sock)
{
    if (sock->ns.is_lent && sock->ns.fd >= 0 && !sock->is_given)
        netsock_bytes(&sock->ns, &sock->bytes_in, &sock->bytes_out);
}

bool sock_lent_is_whole(const struct sock *sock)
{
    enum netsock_use use = netsock_use(&sock->ns);

    return use == NETSOCK_HAS_SENT_FIN || (use == NETSOCK_IS_OPEN && !sock->session->has_ended);
}
