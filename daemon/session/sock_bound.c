/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/session/sock_bound.h"

#include <errno.h>

#include "base/alloc.h"
#include "daemon/core/quota.h"
#include "daemon/net/tcp.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "proto/endpoint.h"
#include "proto/errors.h"

int sock_bound_new(struct sock *sock)
{
    if (quota_charge(sock->quota, QUOTA_MEMORY, MEMORY_BOUND) < 0)
        return -EDQUOT;
    sock->bound = mem_zalloc(1, sizeof(*sock->bound));
    if (sock->bound)
        return 0;
    quota_uncharge(sock->quota, QUOTA_MEMORY, MEMORY_BOUND);
    return -ENOMEM;
}

void sock_bound_drop(struct sock *sock)
{
    if (!sock->bound)
        return;
    sock->bound = mem_free(sock->bound);
    quota_uncharge(sock->quota, QUOTA_MEMORY, MEMORY_BOUND);
}

struct policy_answer sock_bound_judge(const struct sock *sock)
{
    const struct sock_bound *bound = sock->bound;
    struct sockaddr_storage asked, local;
    struct policy_answer answer;

    asock_endpoint_to(&bound->asked, &asked);
    asock_endpoint_to(&bound->local, &local);
    answer = policy_judge_listen(sock->session->view, (const struct sockaddr *)&asked,
                                 bound->is_dual, NULL);
    if (answer.is_allowed && bound->asked.port == 0 &&
        policy_is_reserved(sock->session->view, (const struct sockaddr *)&local, bound->is_dual))
        answer = (struct policy_answer){.reason = "this port is reserved for another client"};
    return answer;
}

bool sock_bound_judge_again(struct sock *sock)
{
    if (!sock->bound || sock->state == SOCK_KILLED || sock_bound_judge(sock).is_allowed)
        return false;
    netsock_close(&sock->ns, sock->worker);
    sock_bound_drop(sock);
    sock_move(sock, SOCK_FAILED);
    return true;
}
