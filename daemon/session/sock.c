/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The two queues of a socket. Each direction runs its first op until it waits for the kernel, for
 * the client or for room; an event, more input or room lets it run again.
 */
#include "daemon/session/sock.h"
#include "daemon/session/latency.h"
#include "daemon/session/sock_bound.h"
#include "daemon/session/send.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/audit/connect_report.h"
#include "daemon/session/complete.h"
#include "daemon/session/dgram.h"
#include "daemon/core/quota.h"
#include "daemon/session/session.h"
#include "daemon/session/sock_audit.h"
#include "daemon/session/sock_lend.h"
#include "daemon/session/window.h"
#include "proto/errors.h"

const char *sock_state_name(enum sock_state state)
{
    static const char *const names[] = {"open",      "connecting", "connected", "failed",
                                        "lingering", "draining",   "closed",    "killed",
                                        "bound",     "listening",  "lent"};

    return names[state];
}

const char *killer_text(enum killer killer)
{
    static const char *const texts[] = {
        [KILLER_ADMINISTRATOR] = SOCK_KILLED_TEXT,
        [KILLER_POLICY] = "policy",
        [KILLER_IDLENESS] = SOCK_IDLE_TEXT,
    };

    return texts[killer];
}

int32_t sock_linger(const struct sock *sock)
{
    bool is_set = sock->more->options && sock->more->options->set & UINT32_C(1) << OPTION_LINGER;

    return is_set ? sock->more->options->values[OPTION_LINGER] : -1;
}

void sock_move(struct sock *sock, enum sock_state to)
{
    static const uint16_t allowed[] = {
        [SOCK_OPEN] = 1 << SOCK_CONNECTING | 1 << SOCK_BOUND | 1 << SOCK_CONNECTED |
                      1 << SOCK_KILLED | 1 << SOCK_CLOSED,
        [SOCK_CONNECTING] = 1 << SOCK_CONNECTED | 1 << SOCK_FAILED | 1 << SOCK_KILLED |
                            1 << SOCK_CLOSED | 1 << SOCK_OPEN,
        [SOCK_CONNECTED] = 1 << SOCK_LINGERING | 1 << SOCK_DRAINING | 1 << SOCK_KILLED |
                           1 << SOCK_CLOSED | 1 << SOCK_LENT,
        [SOCK_LENT] = 1 << SOCK_LINGERING | 1 << SOCK_DRAINING | 1 << SOCK_KILLED |
                      1 << SOCK_CLOSED,
        [SOCK_FAILED] = 1 << SOCK_CONNECTING | 1 << SOCK_KILLED | 1 << SOCK_CLOSED,
        [SOCK_LINGERING] = 1 << SOCK_DRAINING | 1 << SOCK_CLOSED,
        [SOCK_DRAINING] = 1 << SOCK_CLOSED,
        [SOCK_KILLED] = 1 << SOCK_CLOSED,
        [SOCK_BOUND] = 1 << SOCK_LISTENING | 1 << SOCK_FAILED | 1 << SOCK_KILLED | 1 << SOCK_CLOSED,
        [SOCK_LISTENING] = 1 << SOCK_FAILED | 1 << SOCK_KILLED | 1 << SOCK_CLOSED,
    };

    assert(allowed[sock->state] & 1 << to);
    if (sock->state == SOCK_CONNECTED)
        sock_idle_end(sock);
    sock->state = (uint8_t)to;
}

static void run_readable(struct sock *sock)
{
    bool was_guess = sock->is_guess;

    sock->wants_read = sock->is_guess = false;
    if (!ring_is_empty(&sock->receives)) {
        sock_run_receives(sock);
        return;
    }
    /*
     * No receive is pending: the data stays in the kernel, and the watcher must not fire for it
     * again.
     */
    latency_had_more(sock, was_guess);
    sock_update_watch(sock);
}

/*
 * The kernel tells an error once: a receive or a send may have heard it, or would have wanted to.
 */
static void tell_hangup(struct sock *sock)
{
    int r = netsock_connect_result(&sock->ns);
    uint32_t error;

    /* Behind the peer's FIN a reset is EPIPE. */
    if (r < 0)
        sock->lost_error = (uint8_t)asock_error_from_errno(r == -EPIPE ? -ECONNRESET : r);
    error = sock->receive_side == SIDE_BROKEN ? sock->receive_error : sock->lost_error;
    if (error == ERR_TIMED_OUT)
        sock->more->hangup->text = "the connection has timed out";
    complete(sock->more->hangup, error);
}

void sock_hung_up(struct netsock *ns)
{
    struct sock *sock = container_of(ns, struct sock, ns);

    if (!sock->more->hangup)
        return;
    sock->events |= SOCK_HUNG_UP;
    session_ready(sock->session, sock);
}

static void run_socket_events(struct sock *sock, int events)
{
    if (sock->more->dgram) {
        dgram_run_events(sock, events);
        return;
    }
    if (events & EV_WRITE) {
        sock->wants_write = false;
        send_run(sock);
    }
    if (!(events & EV_READ))
        return;
    if (sock->state == SOCK_CONNECTED)
        run_readable(sock);
    else if (sock->state == SOCK_LINGERING)
        sock_linger_input(sock);
    else if (sock->state == SOCK_LISTENING) {
        sock->wants_read = false;
        sock_run_accepts(sock);
    }
}

void sock_run_events(struct sock *sock)
{
    int events = sock->events;

    sock->events = 0;
    if (events & SOCK_CONNECT_GOES_ON && sock->connect)
        sock->connect->class->step(sock->connect);
    run_socket_events(sock, events);
    if (events & SOCK_HUNG_UP && sock->more->hangup)
        tell_hangup(sock);
}

/* The work is a step of its session's; what has none any more only drops its input. */
static void on_event(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct sock *sock = container_of(io, struct sock, ns.io);

    (void)loop;
    if (sock->state == SOCK_DRAINING) {
        sock_close_event(sock);
        return;
    }
    sock->events |= (uint8_t)(events & (EV_READ | EV_WRITE));
    session_ready(sock->session, sock);
}

static const struct sock_more nothing_more;

struct sock_more *sock_own_more(struct sock *sock)
{
    struct sock_more *more;

    if (sock->more != &nothing_more)
        return (struct sock_more *)sock->more;
    more = mem_zalloc(1, sizeof(*more));
    if (more)
        sock->more = more;
    return more;
}

struct netsock_options *sock_own_options(struct sock *sock)
{
    struct sock_more *more = sock_own_more(sock);

    if (more && !more->options)
        more->options = mem_zalloc(1, sizeof(*more->options));
    return more ? more->options : NULL;
}

static void free_more(struct sock *sock)
{
    if (sock->more == &nothing_more)
        return;
    assert(!sock->more->hangup && !sock->more->idle && !sock->more->dgram);
    mem_free(sock->more->options);
    mem_free(sock->more->origin);
    mem_free((struct sock_more *)sock->more);
}

static void on_gone(struct task *task)
{
    struct sock *sock = container_of(task, struct sock, gone);

    task_deinit(&sock->gone);
    sock_idle_end(sock);
    assert(ring_is_empty(&sock->sends) && ring_is_empty(&sock->receives));
    assert(!sock->connect && !sock_close_op(sock) && sock->ns.fd < 0);
    assert(!sock->more->bound && !sock->more->lending);
    dgram_free(sock);
    connect_report_drop(sock->connect_report);
    quota_unref(sock_quota(sock));
    mem_free(sock->ending);
    free_more(sock);
    mem_free(sock->host);
    mem_free(sock);
}

void sock_free_later(struct sock *sock)
{
    assert(!list_is_linked(&sock->node) && !list_is_linked(&sock->ready));
    task_init(&sock->gone, on_gone);
    worker_defer(sock->worker, &sock->gone);
}

static struct sock *make(struct worker *w, struct quota *quota, uint32_t family)
{
    struct sock *sock = mem_zalloc(1, sizeof(*sock));

    if (!sock)
        return NULL;
    sock->worker = w;
    sock->more = &nothing_more;
    sock->family = (uint8_t)family;
    sock->created = w->clock();
    netsock_init(&sock->ns, on_event, quota ? quota_ref(quota) : NULL);
    list_init(&sock->node);
    list_init(&sock->ready);
    return sock;
}

int sock_new(struct session *s, uint32_t id, uint32_t family, struct sock **ret)
{
    struct sock *sock = make(s->worker, s->quota, family);

    if (!sock)
        return -ENOMEM;
    sock->session = s;
    sock->id = id;
    sock->serial = s->worker->next_id++;
    *ret = sock;
    return 0;
}

int sock_new_drain(struct worker *w, struct quota *quota, uint32_t family, struct sock **ret)
{
    struct sock *sock = make(w, quota, family);

    if (!sock)
        return -ENOMEM;
    *ret = sock;
    return 0;
}

int sock_new_kind(struct session *s, uint32_t id, uint32_t family, bool is_datagram,
                  struct sock **ret)
{
    int r = sock_new(s, id, family, ret);

    if (r < 0 || !is_datagram)
        return r;
    r = dgram_new(*ret);
    if (r < 0) {
        (*ret)->state = SOCK_CLOSED;
        sock_free_later(*ret);
    }
    return r;
}

int sock_set_destination(struct sock *sock, const char *host, uint16_t port)
{
    size_t size = host ? strlen(host) + 1 : 0;
    char *copy = NULL;

    if (host) {
        copy = mem_alloc(size);
        if (!copy)
            return -ENOMEM;
        memcpy(copy, host, size);
    }
    mem_free(sock->host);
    sock->host = copy;
    sock->port = port;
    return 0;
}

void sock_leave_queue(struct op *op)
{
    struct sock *sock = op->sock;

    if (sock && sock->sends.first == &op->node)
        ring_remove(&sock->sends, &op->node);
    else if (sock && sock->receives.first == &op->node)
        ring_remove(&sock->receives, &op->node);
    else
        list_remove(&op->node);
}

bool sock_has_queued_send(const struct sock *sock)
{
    if (sock->connect && sock->connect->send.total > 0)
        return true;
    ring_for_each (&sock->sends, it) {
        const struct op *op = container_of(it, struct op, node);

        if (op->verb == VERB_SEND || op->verb == VERB_CONNECT)
            return true;
    }
    return false;
}

/* No send is behind it, but what ends the sending side may be. */
struct op *sock_chain(const struct sock *sock)
{
    ring_for_each_back (&sock->sends, it) {
        struct op *op = container_of(it, struct op, node);

        if (!op->ends_sending)
            return op->has_pieces ? op : NULL;
    }
    return NULL;
}

void sock_hold_op(struct sock *sock, struct op *op, uint32_t timeout_ms)
{
    op_move(op, OP_QUEUED);
    session_hash_op(sock->session, op);
    if (timeout_ms > 0)
        op_set_deadline(sock->worker, op, timeout_ms, complete_timed_out);
}

static void run_queued(struct sock *sock)
{
    if (!sock->wants_read && !list_is_linked(&sock->node))
        sock_run_receives(sock);
}

void sock_queue_receive(struct sock *sock, struct op *op, uint32_t timeout_ms)
{
    sock_hold_op(sock, op, timeout_ms);
    ring_append(&sock->receives, &op->node);
    if (sock->session->reads_of == sock)
        return; /* more are coming */
    run_queued(sock);
}

void sock_end_reads(struct session *s)
{
    struct sock *sock = s->reads_of;

    s->reads_of = NULL;
    if (sock)
        run_queued(sock);
}

void sock_wait_room(struct sock *sock)
{
    if (!list_is_linked(&sock->node))
        list_append(&sock->session->room_waiters, &sock->node);
    sock->wants_read = false;
}

void sock_run_receives(struct sock *sock)
{
    unsigned int budget = TURN_SOCKET_STEPS;
    struct op *op;

    if (sock->more->dgram) {
        dgram_run_receives(sock);
        return;
    }
    if (sock->state == SOCK_LISTENING) {
        sock_run_accepts(sock);
        return;
    }
    /* If its session has ended it is not reported: the socket is about to be closed. */
    if (sock->state != SOCK_CONNECTED || sock->session->has_ended)
        return;
    while (sock->state == SOCK_CONNECTED && (op = ring_first(&sock->receives, struct op, node))) {
        if (budget == 0 ||
            (budget < TURN_SOCKET_STEPS && share_step_is_over(&sock->worker->shares))) {
            sock->wants_read = true;
            break;
        }
        budget--;
        if (op->class->step(op) == 0)
            break;
        /* A short read has emptied the kernel's queue: the watcher knows when there is more. */
        if (sock->wants_read)
            break;
    }
    if (latency_watches_on(sock))
        sock->wants_read = sock->is_guess = true;
    /* While no receive waits, the watcher need not be armed; perhaps it never has to be. */
    if (ring_is_empty(&sock->receives) && !netsock_is_polled(&sock->ns, sock->worker))
        sock->wants_read = sock->is_guess = false;
    sock_update_watch(sock);
}

void sock_update_watch(struct sock *sock)
{
    int events = (sock->wants_read ? EV_READ : 0) | (sock->wants_write ? EV_WRITE : 0);

    if (sock->ns.fd >= 0)
        netsock_watch(&sock->ns, sock->worker, events);
}

bool sock_send_end(struct sock *sock)
{
    if (!sock->has_sent_end)
        sock->has_sent_end = netsock_shutdown(&sock->ns, SHUT_WR) == 0;
    return sock->has_sent_end;
}

void sock_connect_succeeded(struct sock *sock)
{
    sock_move(sock, SOCK_CONNECTED);
    sock->wants_write = false;
    if (sock->lingers) {
        sock_move(sock, SOCK_LINGERING);
        sock->wants_read = true; /* to be discarded */
    } else {
        sock_idle_begin(sock);
    }
    if (sock->more->hangup)
        sock->more->hangup->class->step(sock->more->hangup);
}

static void end_queue(struct ring *ops, uint32_t error)
{
    struct op *op;

    while ((op = ring_first(ops, struct op, node)))
        complete(op, error);
}

void sock_end_receives(struct sock *sock, uint32_t error)
{
    end_queue(&sock->receives, error);
    if (sock->more->hangup)
        complete(sock->more->hangup, error);
}

void sock_connect_failed(struct sock *sock)
{
    if (sock->more->dgram) {
        dgram_connect_failed(sock);
        return;
    }
    /*
     * Given up just when it was answered: RST, the peer must not see an empty stream that looks
     * whole.
     */
    netsock_abort(&sock->ns, sock->worker);
    sock_uncharge_buffers(sock);
    sock->wants_read = sock->wants_write = false;
    if (sock->state == SOCK_CONNECTING)
        sock_move(sock, SOCK_FAILED);
    end_queue(&sock->sends, ERR_OPERATION_ABORTED);
    sock_end_receives(sock, ERR_OPERATION_ABORTED);
}

void sock_end_ops(struct sock *sock, uint32_t error)
{
    if (sock->connect)
        complete(sock->connect, error);
    end_queue(&sock->sends, error);
    sock_end_receives(sock, error);
    sock_end_accepts(sock, error, NULL);
}

void sock_kill(struct sock *sock, enum killer killer)
{
    if (sock->state == SOCK_KILLED)
        return;
    sock->killer = killer;
    if (sock->lingers) {
        sock_audit_close(sock, ERR_CONNECTION_ABORTED, killer_text(sock->killer));
        sock_abort_linger(sock, ERR_CONNECTION_ABORTED);
        return;
    }
    if (sock->state == SOCK_DRAINING) {
        sock_abort(sock);
        return;
    }
    sock_audit_close(sock, ERR_CONNECTION_ABORTED, killer_text(sock->killer));
    sock_lend_no_more(sock);
    sock_move(sock, SOCK_KILLED);
    netsock_abort(&sock->ns, sock->worker);
    sock_uncharge_buffers(sock);
    sock_bound_uncharge(sock);
    dgram_unbound(sock);
    sock->wants_read = sock->wants_write = false;
    sock_end_ops(sock, ERR_CONNECTION_ABORTED);
    sock->has_killed_event = true;
    window_report(sock);
}
