/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/session/sock_idle.h"

#include "base/alloc.h"
#include "daemon/core/limits.h"
#include "daemon/policy/policy.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_bound.h"
#include "daemon/session/sock_policy.h"
#include "proto/codec.h"

#define MS_PER_SECOND 1000u
#define MALLOC_MORE 16u /* what malloc() may add to each */

_Static_assert(sizeof(struct sock) + sizeof(struct sock_more) + sizeof(struct sock_idle) +
                       sizeof(struct netsock_options) + sizeof(struct sock_origin) +
                       CODEC_HOST_MAX + 1 + 6 * MALLOC_MORE <=
                   MEMORY_SOCKET_ALONE,
               "a socket's grant has room for all that it may have");

/* The value of a limit; 0: the policy does not set it. */
static uint64_t setting(const struct sock *sock, enum policy_limit limit)
{
    const struct policy_limits *limits = &policy_view_settings(session_view(sock->session))->limits;

    return limits->set & 1u << limit ? limits->value[limit] : 0;
}

static void on_idle(struct deadline *deadline)
{
    struct sock *sock = container_of(deadline, struct sock_idle, deadline)->sock;
    uint64_t idle_for = sock->worker->clock() - sock->more->idle->active;
    uint64_t most = MS_PER_SECOND * setting(sock, POLICY_LIMIT_IDLE_TIMEOUT);

    if (most == 0)
        return;
    if (idle_for < most) {
        worker_set_deadline(sock->worker, deadline, most - idle_for);
        return;
    }
    sock_kill(sock, KILLER_IDLENESS);
}

/*
 * Sets KeepAlive= unless the client has set the option. Errors are ignored: the connection works
 * without it.
 */
static void keep_alive(struct sock *sock, uint64_t seconds)
{
    const uint32_t own = UINT32_C(1) << OPTION_KEEP_ALIVE | UINT32_C(1) << OPTION_KEEP_ALIVE_TIME;

    if (seconds == 0 || (sock->more->options && sock->more->options->set & own))
        return;
    netsock_set_option(&sock->ns, OPTION_KEEP_ALIVE_TIME, (int32_t)seconds);
    netsock_set_option(&sock->ns, OPTION_KEEP_ALIVE, 1);
}

static void watch(struct sock *sock, uint64_t active, uint64_t ms)
{
    struct sock_more *more = sock_own_more(sock);
    struct sock_idle *idle = more ? mem_zalloc(1, sizeof(*idle)) : NULL;

    if (!idle)
        return;
    more->idle = idle;
    idle->sock = sock;
    idle->active = active;
    deadline_init(&idle->deadline, on_idle);
    worker_set_deadline(sock->worker, &idle->deadline, ms);
}

void sock_idle_begin(struct sock *sock)
{
    uint64_t seconds;

    if (sock->more->dgram)
        return; /* the socket's kind does not have the option */
    seconds = setting(sock, POLICY_LIMIT_IDLE_TIMEOUT);
    keep_alive(sock, setting(sock, POLICY_LIMIT_KEEP_ALIVE));
    if (seconds > 0 && !sock->more->idle)
        watch(sock, sock->worker->clock(), MS_PER_SECOND * seconds);
}

/* A look that comes too early finds out how much time is left. */
void sock_idle_restore(struct sock *sock, uint64_t active)
{
    if (active > 0 && setting(sock, POLICY_LIMIT_IDLE_TIMEOUT) > 0)
        watch(sock, active, 0);
}

void sock_idle_end(struct sock *sock)
{
    if (!sock->more->idle)
        return;
    deadline_deinit(&sock->more->idle->deadline);
    sock_own_more(sock)->idle = mem_free(sock->more->idle);
}
