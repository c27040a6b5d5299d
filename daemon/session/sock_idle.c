/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/session/sock_idle.h"

#include "daemon/policy/policy.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_policy.h"
#include "proto/codec.h"

#define MS_PER_SECOND 1000u

/* 0: the policy says nothing. */
static uint64_t setting(const struct sock *sock, enum policy_limit limit)
{
    const struct policy_limits *limits = &policy_view_settings(session_view(sock->session))->limits;

    return limits->set & 1u << limit ? limits->value[limit] : 0;
}

static void on_idle(struct deadline *deadline)
{
    struct sock *sock = container_of(deadline, struct sock, idle.deadline);
    uint64_t idle_for = sock->worker->clock() - sock->idle.active;
    uint64_t most = MS_PER_SECOND * setting(sock, POLICY_LIMIT_IDLE_TIMEOUT);

    if (most == 0)
        return;
    if (idle_for < most) {
        worker_set_deadline(sock->worker, deadline, most - idle_for);
        return;
    }
    sock->is_idle = true;
    sock_kill(sock);
}

void sock_idle_init(struct sock_idle *idle)
{
    deadline_init(&idle->deadline, on_idle);
}

void sock_idle_deinit(struct sock_idle *idle)
{
    deadline_deinit(&idle->deadline);
}

/* Where the client has not said itself what it wants. It cannot fail in a way that would matter: the connection is up. */
static void keep_alive(struct sock *sock, uint64_t seconds)
{
    const uint32_t own = UINT32_C(1) << OPTION_KEEP_ALIVE | UINT32_C(1) << OPTION_KEEP_ALIVE_TIME;

    if (seconds == 0 || (sock->options && sock->options->set & own))
        return;
    netsock_set_option(&sock->ns, OPTION_KEEP_ALIVE_TIME, (int32_t)seconds);
    netsock_set_option(&sock->ns, OPTION_KEEP_ALIVE, 1);
}

void sock_idle_begin(struct sock *sock)
{
    uint64_t seconds = setting(sock, POLICY_LIMIT_IDLE_TIMEOUT);

    keep_alive(sock, setting(sock, POLICY_LIMIT_KEEP_ALIVE));
    sock->idle.active = sock->worker->clock();
    if (seconds > 0)
        worker_set_deadline(sock->worker, &sock->idle.deadline, MS_PER_SECOND * seconds);
}

void sock_idle_end(struct sock *sock)
{
    deadline_unset(&sock->idle.deadline);
}
