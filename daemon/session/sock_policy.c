/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <netinet/in.h>

#include "daemon/policy/policy.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"

static bool is_up(const struct sock *sock)
{
    return sock->session && sock->ns.fd >= 0 &&
           (sock->state == SOCK_CONNECTED || sock->state == SOCK_LINGERING);
}

struct policy_answer sock_judge(const struct sock *sock)
{
    struct policy_question question = {.host = sock->host, .port = sock->port};
    struct policy_answer answer = {.is_allowed = true};
    struct sockaddr_storage addr;
    struct endpoint remote = {0};
    socklen_t len;

    /* One that was reset has no peer any more: nothing goes over it. */
    if (!is_up(sock) || netsock_remote(&sock->ns, &remote) < 0 ||
        netsock_sockaddr(&remote, &addr, &len) != 0)
        return answer;
    if (sock->host)
        answer = policy_judge(sock->session->view, &question);
    if (!answer.is_allowed)
        return answer;
    question.addr = (const struct sockaddr *)&addr;
    return policy_judge(sock->session->view, &question);
}
