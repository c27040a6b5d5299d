/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/session/sock_bound.h"
#include "daemon/session/sock_policy.h"

#include <assert.h>
#include <errno.h>

#include "base/alloc.h"
#include "daemon/core/quota.h"
#include "daemon/net/tcp.h"
#include "daemon/session/complete.h"
#include "daemon/session/dgram.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_audit.h"
#include "proto/endpoint.h"
#include "proto/errors.h"

_Static_assert(sizeof(struct sock_bound) < MEMORY_BOUND, "a socket's grant has room for it");

int sock_bound_new(struct sock *sock)
{
    struct sock_more *more = sock_own_more(sock);

    if (more)
        more->bound = mem_zalloc(1, sizeof(*more->bound));
    if (!sock->more->bound)
        return -ENOMEM;
    list_init(&sock->more->bound->accepts);
    return 0;
}

void sock_bound_uncharge(struct sock *sock)
{
    if (!sock->more->bound)
        return;
    quota_uncharge(sock_quota(sock), QUOTA_KERNEL, sock->more->bound->charged);
    sock->more->bound->charged = 0;
}

void sock_bound_drop(struct sock *sock)
{
    if (!sock->more->bound)
        return;
    assert(list_is_empty(&sock->more->bound->accepts));
    sock_bound_uncharge(sock);
    sock_own_more(sock)->bound = mem_free(sock->more->bound);
}

static enum policy_protocol protocol_of(const struct sock *sock)
{
    return sock->more->dgram ? POLICY_UDP : POLICY_TCP;
}

struct policy_answer sock_bound_judge_peer(const struct sock *sock, const struct sockaddr *peer)
{
    const struct sock_bound *bound = sock->more->bound;
    struct sockaddr_storage asked;

    asock_endpoint_to(&bound->asked, &asked);
    return policy_judge_listen(session_view(sock->session), protocol_of(sock),
                               (const struct sockaddr *)&asked, bound->is_dual, peer);
}

bool sock_bound_is_reserved(const struct sock *sock)
{
    const struct sock_bound *bound = sock->more->bound;
    struct sockaddr_storage local;

    asock_endpoint_to(&bound->local, &local);
    return policy_is_reserved(session_view(sock->session), protocol_of(sock),
                              (const struct sockaddr *)&local, bound->is_dual);
}

struct policy_answer sock_bound_judge(const struct sock *sock)
{
    struct policy_answer answer = sock_bound_judge_peer(sock, NULL);

    if (answer.is_allowed && sock->more->bound->asked.port == 0 && sock_bound_is_reserved(sock))
        answer = (struct policy_answer){.reason = "this port is reserved for another client"};
    return answer;
}

struct policy_answer sock_origin_judge(const struct sock *sock)
{
    struct sockaddr_storage asked, peer;

    asock_endpoint_to(&sock->more->origin->asked, &asked);
    asock_endpoint_to(&sock->remote, &peer);
    return policy_judge_listen(session_view(sock->session), POLICY_TCP,
                               (const struct sockaddr *)&asked, sock->more->origin->is_dual,
                               (const struct sockaddr *)&peer);
}

/* Each connection of the backlog may have as many bytes waiting as a new socket's buffer takes. */
static uint64_t held_by_backlog(const struct sock *sock, uint32_t backlog)
{
    const struct netsock_options *options = sock->more->options;
    uint64_t each = sock->worker->buffers.receive_start;

    if (options && options->set & UINT32_C(1) << OPTION_RECEIVE_BUFFER)
        each = 2 * (uint64_t)options->values[OPTION_RECEIVE_BUFFER];
    if (each < KERNEL_BUFFER_MIN)
        each = KERNEL_BUFFER_MIN;
    if (sock->worker->buffers.receive_most != 0 && each > sock->worker->buffers.receive_most)
        each = sock->worker->buffers.receive_most;
    return each * backlog;
}

int sock_bound_charge(struct sock *sock, uint32_t backlog)
{
    struct sock_bound *bound = sock->more->bound;
    uint64_t bytes = held_by_backlog(sock, backlog);

    if (bytes > bound->charged &&
        quota_charge(sock_quota(sock), QUOTA_KERNEL, bytes - bound->charged) < 0)
        return -ENOBUFS;
    if (bytes < bound->charged)
        quota_uncharge(sock_quota(sock), QUOTA_KERNEL, bound->charged - bytes);
    bound->charged = bytes;
    bound->backlog = backlog;
    return 0;
}

struct sock_origin *sock_own_origin(struct sock *sock)
{
    struct sock_more *more = sock_own_more(sock);

    if (more && !more->origin)
        more->origin = mem_zalloc(1, sizeof(*more->origin));
    return more ? more->origin : NULL;
}

int sock_inherit(struct sock *sock, const struct sock *listener)
{
    const uint32_t own = UINT32_C(1) << OPTION_REUSE_ADDRESS | UINT32_C(1) << OPTION_DUAL_MODE;

    struct sock_origin *origin = sock_own_origin(sock);

    if (!origin)
        return -ENOMEM;
    origin->asked = listener->more->bound->asked;
    origin->is_dual = listener->more->bound->is_dual;
    if (!listener->more->options)
        return 0;
    if (!sock_own_options(sock))
        return -ENOMEM;
    *sock->more->options = *listener->more->options;
    sock->more->options->set &= ~own;
    return 0;
}

void sock_run_accepts(struct sock *sock)
{
    struct list *accepts = &sock->more->bound->accepts;
    unsigned int budget = TURN_SOCKET_STEPS;
    struct op *op;

    if (sock->session->has_ended)
        return;
    while ((op = list_first(accepts, struct op, node))) {
        if (budget == 0 ||
            (budget < TURN_SOCKET_STEPS && share_step_is_over(&sock->worker->shares))) {
            sock->wants_read = true; /* the watcher fires in the next turn */
            break;
        }
        budget--;
        if (op->class->step(op) == 0)
            break;
    }
    if (list_is_empty(accepts))
        sock->wants_read = false;
    sock_update_watch(sock);
}

void sock_queue_accept(struct sock *sock, struct op *op, uint32_t timeout_ms)
{
    sock_hold_op(sock, op, timeout_ms);
    list_append(&sock->more->bound->accepts, &op->node);
    if (!sock->wants_read && !list_is_linked(&sock->node))
        sock_run_accepts(sock);
}

void sock_end_accepts(struct sock *sock, uint32_t error, const char *text)
{
    struct op *op;

    while (sock->more->bound && (op = list_first(&sock->more->bound->accepts, struct op, node))) {
        op->text = text;
        complete(op, error);
    }
}

bool sock_bound_judge_again(struct sock *sock)
{
    struct policy_answer answer;

    if (!sock->more->bound || sock->state == SOCK_KILLED)
        return false;
    answer = sock_bound_judge(sock);
    if (answer.is_allowed) {
        dgram_judge_groups(sock);
        return false;
    }
    sock_audit_listen_denied(sock, NULL, &answer);
    sock_end_accepts(sock, ERR_ACCESS_DENIED, answer.reason);
    if (sock->more->dgram)
        dgram_end(sock, ERR_ACCESS_DENIED);
    sock->wants_read = sock->wants_write = false;
    list_remove(&sock->node);
    netsock_close(&sock->ns, sock->worker);
    sock_uncharge_buffers(sock);
    sock_bound_drop(sock);
    sock_move(sock, SOCK_FAILED);
    return true;
}
