/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a socket (S42, S43).
 *
 * Happy path: pending ops end; every accepted send has been taken, so FIN is sent; the CLOSE
 * completes; input that still comes is discarded, without a session, until the peer's FIN.
 * With a linger time a connect in progress and the queued sends come first, FIN follows, and the
 * CLOSE completes when the peer's kernel has acknowledged all of it; input is discarded all the
 * while.
 * Failures: a send was not wholly taken (RST: half a stream must not look whole), the linger time
 * is over or the client gives it up (RST), the connect that it waited for fails, the connection is
 * lost, the holder of a lent socket makes another connection with it meanwhile (it is dissolved),
 * too many closes go on already (nothing is waited for), the peer does not end (closed after 2 s or
 * 1 MiB; input after that makes the kernel answer RST).
 */
#include <assert.h>
#include <errno.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "daemon/session/complete.h"
#include "daemon/core/quota.h"
#include "daemon/session/dgram.h"
#include "daemon/session/latency.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_audit.h"
#include "daemon/session/sock_bound.h"
#include "daemon/session/sock_lend.h"
#include "daemon/session/window.h"
#include "proto/errors.h"

/* The end of a socket that does not end at once: one of QUOTA_LINGERS. */
struct sock_ending {
    struct sock *sock;
    struct op *close;   /* of a linger time: waits for its end; NULL: none */
    struct share share; /* of the loop's time, once it has no session any more */
    struct deadline deadline;
    struct deadline look; /* of a lingering one whose FIN is sent: at what is not acknowledged */
    struct deadline
        retry; /* nothing says when the kernel has memory to read with, or when to look */
    uint64_t linger_until; /* 0: it has no linger time */
    uint32_t look_ms;      /* between two looks */
    uint32_t drained;      /* bytes discarded after the close has completed */
    uint32_t turn;         /* of the worker, in which it began to drain */
    uint32_t charged;      /* as memory: with its id it has left what the session is granted */
};

static void linger_look(struct deadline *deadline);
static void read_again(struct deadline *deadline);
static bool drain_step(struct share *share);

static bool make_ending(struct sock *sock, uint32_t memory)
{
    if (quota_charge(sock_quota(sock), QUOTA_LINGERS, 1) < 0)
        return false;
    if (quota_charge(sock_quota(sock), QUOTA_MEMORY, memory) == 0) {
        sock->ending = mem_zalloc(1, sizeof(*sock->ending));
        if (!sock->ending)
            quota_uncharge(sock_quota(sock), QUOTA_MEMORY, memory);
    }
    if (!sock->ending) {
        quota_uncharge(sock_quota(sock), QUOTA_LINGERS, 1);
        return false;
    }
    sock->ending->charged = memory;
    sock->ending->sock = sock;
    wheel_timer_init(&sock->ending->deadline.timer);
    deadline_init(&sock->ending->look, linger_look);
    deadline_init(&sock->ending->retry, read_again);
    share_init(&sock->ending->share, quota_share(sock_quota(sock), &sock->worker->shares.root),
               drain_step);
    return true;
}

/*
 * From here on it has no id, and its descriptor is none of those promised to its client. False:
 * there is no room for one more of those.
 */
static bool take_ending(struct sock *sock)
{
    uint32_t queued = sock->queued < SOCKET_QUEUED_MIN ? sock->queued : SOCKET_QUEUED_MIN;

    return sock->ending || make_ending(sock, MEMORY_SOCKET_ALONE + queued);
}

/* Its memory goes with the socket's: it may be at work in a step of its share. */
static void drop_ending(struct sock *sock)
{
    if (!sock->ending)
        return;
    share_deinit(&sock->ending->share);
    deadline_deinit(&sock->ending->deadline);
    deadline_deinit(&sock->ending->look);
    deadline_deinit(&sock->ending->retry);
    quota_uncharge(sock_quota(sock), QUOTA_LINGERS, 1);
    quota_uncharge(sock_quota(sock), QUOTA_MEMORY, sock->ending->charged);
}

struct op *sock_close_op(const struct sock *sock)
{
    return sock->ending ? sock->ending->close : NULL;
}

void sock_set_close_op(struct sock *sock, struct op *op)
{
    sock->ending->close = op;
}

uint32_t sock_ending_memory(const struct sock *sock)
{
    return sock->ending ? sock->ending->charged : 0;
}

static void set_deadline(struct sock *sock, void (*expired)(struct deadline *), uint64_t ms)
{
    deadline_init(&sock->ending->deadline, expired);
    worker_set_deadline(sock->worker, &sock->ending->deadline, ms);
}

static struct sock *sock_of(struct deadline *deadline)
{
    return container_of(deadline, struct sock_ending, deadline)->sock;
}

/* The session has nothing more to do with it. */
static void leave_session(struct sock *sock)
{
    struct session *s = sock->session;

    if (!s)
        return;
    sock_lend_no_more(sock);
    sock_count_bytes(sock);
    window_leave(sock);
    if (sock->id) {
        struct session_slot *slot = session_slot(s, sock->id);

        slot->sock = NULL;
        s->socket_count--;
        sock->id = 0;
    }
    list_remove(&sock->node);
    list_remove(&sock->ready);
    sock->events = 0;
    if (s->batch_of == sock)
        s->batch_of = NULL;
    if (s->reads_of == sock)
        s->reads_of = NULL;
    sock->session = NULL;
    session_part_left(s);
}

static void go(struct sock *sock)
{
    struct worker *w = sock->worker;

    assert(!sock->session);
    if (sock->state == SOCK_DRAINING) {
        walks_leave(&w->drain_walks, &sock->node);
        list_remove(&sock->node);
        list_remove(&sock->ready);
        w->drain_count--;
    }
    sock_uncharge_buffers(sock);
    sock_bound_drop(sock);
    drop_ending(sock);
    sock_move(sock, SOCK_CLOSED);
    sock_free_later(sock);
}

static void close_now(struct sock *sock, bool abort)
{
    if (abort)
        netsock_abort(&sock->ns, sock->worker);
    else
        netsock_close(&sock->ns, sock->worker);
    go(sock);
}

static void drain_expired(struct deadline *deadline)
{
    close_now(sock_of(deadline), false);
}

void sock_close_event(struct sock *sock)
{
    share_wake(&sock->ending->share);
}

/* Input is there all the while: the watcher would fire in each turn. */
static void read_later(struct sock *sock)
{
    sock->wants_read = false;
    sock_update_watch(sock);
    worker_set_deadline(sock->worker, &sock->ending->retry, RETRY_MS);
}

static void read_again(struct deadline *deadline)
{
    struct sock *sock = container_of(deadline, struct sock_ending, retry)->sock;

    list_remove(&sock->ready); /* of those that are not watched yet */
    sock->wants_read = true;
    sock_update_watch(sock);
}

static bool drain_step(struct share *share)
{
    struct sock_ending *ending = container_of(share, struct sock_ending, share);
    struct sock *sock = ending->sock;
    ssize_t n;

    n = netsock_discard(&sock->ns, DRAIN_BYTES - ending->drained);
    if (netsock_is_transient(n))
        read_later(sock);
    else if ((n == -EAGAIN || n > 0) && !sock->wants_read)
        read_again(&ending->retry); /* it was looked at before the peer's end has come */
    if (n == -EAGAIN || netsock_is_transient(n))
        return false;
    if (n > 0)
        ending->drained += (uint32_t)n;
    if (n <= 0 || ending->drained >= DRAIN_BYTES)
        close_now(sock, false);
    return false;
}

/*
 * What is left of a linger time is patience with a peer that still reads what its kernel has, and
 * answers.
 */
static uint64_t patience(const struct sock *sock)
{
    uint64_t now = sock->worker->clock(), until = sock->ending->linger_until;
    uint64_t ms = until > now + DRAIN_MS ? until - now : DRAIN_MS;

    return ms < LINGER_ORPHAN_MS ? ms : LINGER_ORPHAN_MS;
}

/* Those that began in an earlier turn: since then their peers have had the processor. */
static void look_at_others(struct worker *w)
{
    for (unsigned int i = 0; i < DRAIN_LOOKS && !list_is_empty(&w->unwatched_drains); i++) {
        struct sock *sock = list_first(&w->unwatched_drains, struct sock, ready);

        if (sock->ending->turn == (uint32_t)w->stats.turns)
            return;
        list_remove(&sock->ready);
        deadline_unset(&sock->ending->retry);
        share_wake(&sock->ending->share);
    }
}

static void begin_drain(struct sock *sock, uint64_t ms)
{
    list_append(&sock->worker->drains, &sock->node);
    sock->worker->drain_count++;
    set_deadline(sock, drain_expired, ms);
}

static void drain(struct sock *sock)
{
    struct worker *w = sock->worker;

    sock_move(sock, SOCK_DRAINING);
    begin_drain(sock, patience(sock));
    sock->wants_read = !latency_watches_later(sock);
    sock->wants_write = false;
    sock_update_watch(sock);
    look_at_others(w);
    if (sock->wants_read)
        return;
    sock->ending->turn = (uint32_t)w->stats.turns;
    list_append(&w->unwatched_drains, &sock->ready);
    worker_set_deadline(w, &sock->ending->retry, DRAIN_LOOK_MS);
}

void sock_drain_save(const struct sock *sock, struct drain_past *ret)
{
    ret->until = sock->ending->deadline.timer.deadline;
    ret->drained = sock->ending->drained;
    ret->charged = sock->ending->charged;
}

int sock_drain_restore(struct sock *sock, const struct drain_past *past)
{
    uint64_t now = sock->worker->clock();

    if (!make_ending(sock, past->charged)) {
        sock->state = SOCK_CLOSED;
        sock_free_later(sock);
        return -ENOMEM;
    }
    sock->state = SOCK_DRAINING;
    sock->ending->drained = past->drained;
    begin_drain(sock, past->until > now ? past->until - now : 0);
    return 0;
}

void sock_drain_resume(struct sock *sock)
{
    sock->wants_read = true;
    sock_update_watch(sock);
}

/* The holder of a lent one has made another connection of it since FIN. */
static bool is_reaimed(const struct sock *sock)
{
    return sock->ns.is_lent && sock->ns.fd >= 0 && sock->has_sent_end && !sock->ns.both_ended &&
           netsock_use(&sock->ns) != NETSOCK_HAS_SENT_FIN;
}

/* All sends have gone, or will never go: the kernel's side ends now. */
static void finish(struct sock *sock, bool abort)
{
    leave_session(sock);
    abort |= is_reaimed(sock);
    /* A datagram socket has no stream whose end could be sent. */
    if (sock->ns.fd < 0 || sock->more->bound || abort || sock->is_incomplete || sock->more->dgram) {
        close_now(sock, true);
        return;
    }
    sock_send_end(sock);
    /* The peer's FIN was read, or there is no more place for patience: nothing to wait for. */
    if (sock->has_seen_end || sock->receive_side == SIDE_BROKEN || !take_ending(sock))
        close_now(sock, false);
    else
        drain(sock);
}

/* The close's own op is the socket's last completion. */
static void end_close(struct op *op, uint32_t error)
{
    if (op)
        complete(op, error);
}

static void finish_linger(struct sock *sock, uint32_t error)
{
    sock->is_closing = true;
    deadline_unset(&sock->ending->deadline);
    deadline_unset(&sock->ending->look);
    sock_end_ops(sock, ERR_OPERATION_ABORTED);
    sock->is_incomplete |= error != ERR_SUCCESS;
    sock_audit_close(sock, error, NULL);
    end_close(sock->ending->close, error);
    finish(sock, error != ERR_SUCCESS);
}

/* Nothing more will be acknowledged: the kernel has given the connection up. */
static bool is_lost(struct sock *sock)
{
    return netsock_shutdown(&sock->ns, SHUT_WR) == -ENOTCONN;
}

/*
 * FIN is sent. Only the kernel knows when the peer has acknowledged all of it. It gives no event
 * for that, so we ask.
 */
static bool is_acknowledged(struct sock *sock)
{
    if (netsock_unacknowledged(&sock->ns) == 0) {
        finish_linger(sock, ERR_SUCCESS);
        return true;
    }
    if (is_lost(sock)) {
        /* Or the last acknowledgement has just come, together with the peer's end. */
        finish_linger(sock,
                      netsock_unacknowledged(&sock->ns) == 0 ? ERR_SUCCESS : ERR_CONNECTION_RESET);
        return true;
    }
    return false;
}

static void look_later(struct sock *sock, uint32_t ms)
{
    sock->ending->look_ms = ms < LINGER_LOOK_MAX_MS ? ms : LINGER_LOOK_MAX_MS;
    worker_set_deadline(sock->worker, &sock->ending->look, sock->ending->look_ms);
}

static void linger_look(struct deadline *deadline)
{
    struct sock *sock = container_of(deadline, struct sock_ending, look)->sock;

    if (is_reaimed(sock))
        finish_linger(sock, ERR_CONNECTION_RESET);
    else if (!is_acknowledged(sock))
        look_later(sock, 2 * sock->ending->look_ms);
}

void sock_close_continue(struct sock *sock)
{
    if (!ring_is_empty(&sock->sends) || sock->connect || sock->is_closing)
        return;
    if (sock->state != SOCK_LINGERING) { /* the connect that it waited for has failed */
        finish_linger(sock, ERR_OPERATION_ABORTED);
    } else if (sock->is_incomplete) {
        finish_linger(sock, ERR_CONNECTION_RESET);
    } else if (!deadline_is_set(&sock->ending->look)) {
        if (!sock_send_end(sock) && !sock->ns.is_lent)
            finish_linger(sock, ERR_CONNECTION_RESET);
        else if (!is_acknowledged(sock))
            look_later(sock, LINGER_LOOK_MIN_MS);
    }
}

void sock_linger_input(struct sock *sock)
{
    ssize_t n = netsock_discard(&sock->ns, DRAIN_BYTES);

    if (netsock_is_transient(n)) {
        read_later(sock);
    } else if (n == 0 || (n < 0 && n != -EAGAIN)) {
        sock->has_seen_end = n == 0;
        sock->wants_read = false;
        sock_update_watch(sock);
    }
    /* What came may have acknowledged the rest; what failed may be the connection. */
    if (deadline_is_set(&sock->ending->look))
        is_acknowledged(sock);
}

void sock_abort_linger(struct sock *sock, uint32_t error)
{
    if (!sock->is_closing)
        finish_linger(sock, error);
}

static void linger_expired(struct deadline *deadline)
{
    struct sock *sock = sock_of(deadline);

    if (!deadline_is_set(&sock->ending->look) || !is_acknowledged(sock))
        sock_abort_linger(sock, ERR_TIMED_OUT);
}

void sock_orphan_linger(struct sock *sock)
{
    uint64_t latest = sock->worker->clock() + LINGER_ORPHAN_MS;

    if (sock->ending->linger_until <= latest)
        return;
    sock->ending->linger_until = latest;
    worker_set_deadline(sock->worker, &sock->ending->deadline, LINGER_ORPHAN_MS);
}

uint64_t sock_linger_until(const struct sock *sock)
{
    return sock->ending->linger_until;
}

int sock_linger_restore(struct sock *sock, uint64_t until, uint32_t memory)
{
    uint64_t now = sock->worker->clock();

    if (!make_ending(sock, memory))
        return -ENOMEM;
    sock->lingers = true;
    sock->ending->linger_until = until;
    list_append(&sock->session->lingering, &sock->node);
    set_deadline(sock, linger_expired, until > now ? until - now : 0);
    return 0;
}

void sock_linger_resume(struct sock *sock)
{
    if (sock->state != SOCK_LINGERING)
        return;
    sock->wants_read = !sock->has_seen_end;
    sock_update_watch(sock);
    if (ring_is_empty(&sock->sends)) {
        sock_close_continue(sock);
        return;
    }
    sock->events |= EV_WRITE;
    session_ready(sock->session, sock);
}

/* op: the CLOSE; NULL: none waits for the end. */
static void linger(struct sock *sock, struct op *op, uint32_t linger_ms)
{
    struct session *s = sock->session;

    sock_end_receives(sock, ERR_OPERATION_ABORTED);
    sock->lingers = true;
    if (sock->state == SOCK_CONNECTED || sock->state == SOCK_LENT)
        sock_move(sock, SOCK_LINGERING);
    sock->wants_read = sock->state == SOCK_LINGERING && !sock->has_seen_end;
    sock->ending->close = op;
    if (op)
        sock_hold_op(sock, op, 0);
    window_leave_id(sock);
    session_slot(s, sock->id)->sock = NULL;
    s->socket_count--;
    sock->id = 0;
    if (op)
        op->socket_id = 0;
    if (sock->connect)
        sock->connect->socket_id = 0;
    ring_for_each (&sock->sends, it)
        container_of(it, struct op, node)->socket_id = 0;
    list_remove(&sock->node); /* of those that wait for room to receive */
    list_append(&s->lingering, &sock->node);
    set_deadline(sock, linger_expired, linger_ms);
    sock->ending->linger_until = sock->worker->clock() + linger_ms;
    sock_close_continue(sock);
    if (!sock->is_closing)
        sock_update_watch(sock);
}

/*
 * ERR_SUCCESS: it can. Success of a close with a linger time says that the peer has everything, so
 * where that can not come true any more it ends with an error at once.
 */
static uint32_t prepare_linger(struct sock *sock)
{
    if (sock->state == SOCK_KILLED)
        return ERR_CONNECTION_ABORTED;
    if (sock->state == SOCK_FAILED || sock_chain(sock))
        return ERR_OPERATION_ABORTED;
    if (sock->is_incomplete)
        return ERR_CONNECTION_RESET;
    return take_ending(sock) ? ERR_SUCCESS : ERR_NO_BUFFER_SPACE;
}

/*
 * The data that the client has written to a lent socket is in the kernel. A CLOSE sends FIN behind
 * it; the daemon keeps the connection until the peer has acknowledged everything, and no other
 * holder can end it earlier. If the session ends without a CLOSE, the client has not declared its
 * stream complete, and the peer is reset.
 */
static void close_lent(struct sock *sock, struct op *op, uint32_t linger_ms, bool abort)
{
    bool is_over = sock->more->lending || sock->ns.fd < 0;
    bool is_cut = !is_over && !sock_lent_is_whole(sock);
    uint32_t error = ERR_SUCCESS, cause = ERR_SUCCESS;

    sock_lend_no_more(sock);
    abort |= is_cut;
    if (!abort && !is_over && sock_send_end(sock)) {
        if (take_ending(sock)) {
            if (linger_ms > 0) {
                linger(sock, op, linger_ms);
            } else {
                end_close(op, ERR_SUCCESS);
                linger(sock, NULL, LINGER_ORPHAN_MS);
            }
            return;
        }
        error = linger_ms > 0 ? ERR_NO_BUFFER_SPACE : ERR_SUCCESS;
    } else if (linger_ms > 0 && !is_over &&
               (is_cut || (!abort && netsock_unacknowledged(&sock->ns) != 0))) {
        error = cause = ERR_CONNECTION_RESET; /* it was lost before the close */
    } else if (abort || (is_over && !sock->is_given)) {
        cause = ERR_OPERATION_ABORTED;
    }
    sock->is_closing = true;
    sock_audit_close(sock, cause, NULL);
    end_close(op, error);
    leave_session(sock);
    close_now(sock, abort);
}

/* There will be no other connection: the sends in front of it go on, if the close lingers. */
static void end_disconnect(struct sock *sock)
{
    struct op *op;

    if (!sock->is_disconnecting)
        return;
    if (sock->send_side == SIDE_MISSED)
        sock->send_side = SIDE_SHUT; /* FIN, or RST, comes where it would have */
    ring_for_each_safe (&sock->sends, it) {
        op = container_of(it, struct op, node);
        if (op->verb == VERB_DISCONNECT)
            complete(op, ERR_OPERATION_ABORTED);
    }
}

void sock_close(struct sock *sock, struct op *op, uint32_t linger_ms, bool abort)
{
    bool incomplete = sock_has_queued_send(sock);
    uint32_t error = ERR_SUCCESS;

    end_disconnect(sock);
    if (sock->state == SOCK_LENT) {
        close_lent(sock, op, linger_ms, abort);
        return;
    }
    if (!abort && linger_ms > 0 && sock->state != SOCK_OPEN && !sock->more->bound &&
        !sock->more->dgram) {
        error = prepare_linger(sock);
        if (error == ERR_SUCCESS) {
            linger(sock, op, linger_ms);
            return;
        }
    }
    if (sock->state == SOCK_CONNECTED && incomplete)
        sock->is_incomplete = true;
    sock->is_closing = true;
    sock_end_ops(sock, ERR_OPERATION_ABORTED);
    sock_audit_close(sock, abort || sock->is_incomplete ? ERR_OPERATION_ABORTED : ERR_SUCCESS,
                     NULL);
    end_close(op, error);
    finish(sock, abort);
}

void sock_abort(struct sock *sock)
{
    assert(sock->state == SOCK_DRAINING);
    close_now(sock, true);
}
