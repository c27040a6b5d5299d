/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * ACCEPT: turns connections of a listener into sockets with ids that the client chose, one
 * connection for each id.
 * Happy path: the ids are reserved for the op. The first op in the listener's queue creates and
 * charges a socket, accepts a connection, judges its peer, and reports it. It ends with its last
 * id.
 * Failures:
 * - a peer that policy denies is reset and counted, but not reported; the next connection is
 *   accepted;
 * - no room for a socket or its buffers, no descriptor, or the audit must record it and cannot: the
 *   op ends before it accepts anything, and the connections wait in the kernel;
 * - no room in the output: the op waits until the client reads;
 * - cancel, deadline, close, a policy that no longer allows the listener: the op ends, and its
 *   unused ids are free.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/net/tcp.h"
#include "daemon/policy/listen.h"
#include "daemon/session/complete.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_audit.h"
#include "daemon/session/sock_bound.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

struct accept {
    uint32_t next, end; /* the unused ids: from next to end - 1 */
    uint32_t socket;    /* the last used id; 0: none, or it was reported */
    struct endpoint local, remote;
};

static void fill_accepted(const struct accept *a, struct reply *reply)
{
    reply->body = BODY_CONNECTED;
    memset(&reply->connected, 0, sizeof(reply->connected));
    reply->connected.local = a->local;
    reply->connected.remote = a->remote;
    reply->connected.socket = a->socket;
}

/* ---- one connection ---- */

/* A socket without an id: no request can name it. */
static struct sock *prepare(struct op *op)
{
    const struct sock *listener = op->sock;
    struct sock *sock;

    if (sock_new(op->session, 0, listener->family, &sock) < 0) {
        op->text = "too little memory left";
        return NULL;
    }
    if (sock_inherit(sock, listener) < 0) {
        op->text = "too little memory left";
    } else if (sock_charge_buffers(sock) < 0) {
        op->text = SOCK_BUFFERS_TEXT;
    } else {
        return sock;
    }
    sock_close(sock, NULL, 0, true);
    return NULL;
}

static void give_id(struct op *op, struct sock *sock)
{
    struct accept *a = op->accept;
    struct session *s = op->session;

    assert(s->kept[a->next] && !s->slots[a->next].sock);
    s->kept[a->next] = false;
    s->slots[a->next] = (struct session_slot){.sock = sock};
    sock->id = a->socket = a->next++;
    s->socket_count++;
    s->worker->stats.sockets++;
}

/* 1: reported; 2: reported, and it was the last. */
static int tell(struct op *op)
{
    struct accept *a = op->accept;
    struct reply reply;
    bool fits;

    if (a->next == a->end) {
        complete(op, ERR_SUCCESS);
        return 2;
    }
    session_fill_reply(op, &reply);
    reply.flags |= REPLY_MORE;
    fill_accepted(a, &reply);
    a->socket = 0;
    fits = session_send_reply(op->session, &reply, NULL, 0);
    assert(fits);
    (void)fits;
    return 1;
}

static bool is_allowed(const struct op *op, struct sock *sock, struct policy_answer *ret)
{
    *ret = sock_origin_judge(sock);
    if (ret->is_allowed)
        return true;
    op->sock->more->bound->refused++;
    op->session->worker->stats.accepts_refused++;
    sock_audit_listen_denied(op->sock, &sock->remote, ret);
    return false;
}

static int take(struct op *op, struct sock *sock, struct sock_audit *audit)
{
    struct accept *a = op->accept;
    struct policy_answer answer;

    if (!is_allowed(op, sock, &answer)) {
        sock_audit_drop(audit);
        sock_close(sock, NULL, 0, true);
        return 1;
    }
    sock->port = sock->remote.port;
    sock_fix_buffers(sock, &sock->ns);
    /* The kernel has given it those that were set when it came. */
    netsock_apply_options(&sock->ns, sock->more->options);
    sock_move(sock, SOCK_CONNECTED);
    sock_idle_begin(sock);
    netsock_local(&sock->ns, &a->local);
    a->remote = sock->remote;
    give_id(op, sock);
    op->sock->more->bound->accepted++;
    sock_audit_accepted(sock, audit, &answer, &a->local);
    return tell(op);
}

/* accept(2) failed only because this connection has ended while it waited: take the next one. */
static bool is_over(int r)
{
    return r == -ECONNABORTED || r == -EPROTO || r == -ENETDOWN || r == -EHOSTDOWN ||
           r == -EHOSTUNREACH || r == -ENETUNREACH || r == -ETIMEDOUT || r == -ECONNRESET ||
           r == -EPERM;
}

static int fetch(struct op *op, struct sock *sock)
{
    struct sock_audit audit = {.is_on = false};
    int r;

    if (!sock_audit_begin(op->sock, &audit)) {
        op->text = "the audit is unavailable, and the policy requires a record";
        r = -EACCES;
    } else {
        r = netsock_accept(&op->sock->ns, &sock->ns, op->session->worker, &sock->remote);
    }
    if (r == 0)
        return take(op, sock, &audit);
    sock_audit_drop(&audit);
    sock_close(sock, NULL, 0, true);
    if (is_over(r))
        return 1;
    if (r == -EAGAIN) {
        op->sock->wants_read = true;
        return 0;
    }
    complete(op, asock_error_from_errno(r));
    return 1;
}

static int accept_step(struct op *op)
{
    struct sock *sock;

    if (session_reply_room(op->session, 1) == 0) {
        sock_wait_room(op->sock);
        return 0;
    }
    sock = prepare(op);
    if (sock)
        return fetch(op, sock);
    complete(op, ERR_NO_BUFFER_SPACE);
    return 1;
}

static void accept_stop(struct op *op)
{
    for (uint32_t id = op->accept->next; id < op->accept->end; id++)
        op->session->kept[id] = false;
}

static void accept_cleanup(struct op *op)
{
    op->accept = mem_free(op->accept);
}

static void accept_fill(struct op *op, struct reply *reply, const void **payload,
                        uint32_t *payload_len)
{
    (void)payload;
    (void)payload_len;
    if (op->accept->socket > 0)
        fill_accepted(op->accept, reply);
}

static const struct op_class accept_class = {
    .name = "accept",
    .step = accept_step,
    .stop = accept_stop,
    .cleanup = accept_cleanup,
    .fill = accept_fill,
};

/* ---- from another process ---- */

void accept_save(const struct op *op, uint32_t *ret_first, uint32_t *ret_end)
{
    *ret_first = op->accept->next;
    *ret_end = op->accept->end;
}

int accept_restore(struct op *op, uint32_t first, uint32_t end)
{
    if (first == 0 || first >= end || end - first > ACCEPT_IDS_MAX ||
        !session_slot(op->session, first) || !session_slot(op->session, end - 1))
        return -EINVAL;
    for (uint32_t id = first; id < end; id++)
        if (!session_id_is_free(op->session, id))
            return -EINVAL;
    op->accept = mem_zalloc(1, sizeof(*op->accept));
    if (!op->accept)
        return -ENOMEM;
    op->accept->next = first;
    op->accept->end = end;
    for (uint32_t id = first; id < end; id++)
        op->session->kept[id] = true;
    op->class = &accept_class;
    return 0;
}

/* ---- the request ---- */

static int check_state(struct op *op)
{
    const struct sock *sock = op->sock;

    if (sock->more->dgram) {
        op->text = "a datagram socket has no connections";
        return ERR_OPERATION_NOT_SUPPORTED;
    }
    if (sock->state == SOCK_FAILED)
        return ERR_OPERATION_ABORTED;
    if (sock->state == SOCK_LISTENING)
        return 0;
    op->text = "the socket is not listening";
    return ERR_INVALID_ARGUMENT;
}

/*
 * -EPROTO: as for an OPEN of a live id, the requests that are pipelined behind it would reach the
 * wrong peer.
 */
static int keep_ids(struct op *op, uint32_t first, uint32_t count)
{
    struct session *s = op->session;

    for (uint32_t id = first; id < first + count; id++) {
        if (session_id_is_free(s, id))
            continue;
        s->why = "ACCEPT with a socket ID that is in use";
        return -EPROTO;
    }
    op->accept = mem_zalloc(1, sizeof(*op->accept));
    if (!op->accept)
        return ERR_NO_BUFFER_SPACE;
    op->accept->next = first;
    op->accept->end = first + count;
    for (uint32_t id = first; id < first + count; id++)
        s->kept[id] = true;
    return 0;
}

int verb_accept(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    uint32_t first = r->accept.first, count = r->accept.count ? r->accept.count : 1;
    int err = check_state(op);

    if (err != 0)
        return err;
    if (count > ACCEPT_IDS_MAX)
        return ERR_INVALID_ARGUMENT;
    if (!session_slot(op->session, first) || !session_slot(op->session, first + count - 1))
        return ERR_TOO_MANY_OPEN_SOCKETS;
    err = keep_ids(op, first, count);
    if (err != 0)
        return err;
    op->class = &accept_class;
    sock_queue_accept(op->sock, op, r->timeout_ms);
    return 0;
}
