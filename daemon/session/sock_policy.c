/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <netinet/in.h>

#include "daemon/policy/policy.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_bound.h"
#include "daemon/session/sock_policy.h"

static bool is_up(const struct sock *sock)
{
    return sock->session && sock->ns.fd >= 0 &&
           (sock->state == SOCK_CONNECTED || sock->state == SOCK_LINGERING ||
            sock->state == SOCK_LENT);
}

/*
 * After a reload each view is replaced when it is first needed, or by the reload's own steps
 * (server/reload.c).
 */
struct policy_view *session_view(const struct session *s)
{
    struct session *first = (struct session *)s;

    while (first->sharing.sharer)
        first = first->sharing.sharer;
    if (policy_view_has(first->view, s->worker->policy))
        return s->view;
    if (policy_looks_at_groups(s->worker->policy))
        identity_read_groups(&first->identity, first->transport.fd);
    policy_view_replace(first->view, s->worker->policy, &first->identity, first->listener);
    identity_drop_groups(&first->identity);
    return s->view;
}

bool sock_may_set(const struct sock *sock, uint32_t option)
{
    uint8_t options = policy_view_settings(session_view(sock->session))->egress.options;

    if (option == OPTION_TRAFFIC_CLASS)
        return options & POLICY_TRAFFIC_CLASS;
    if (option == OPTION_BROADCAST)
        return options & POLICY_BROADCAST;
    return option != OPTION_HOP_LIMIT || options & POLICY_HOP_LIMIT;
}

bool sock_may_have_options(const struct sock *sock)
{
    for (uint32_t option = 1; sock->more->options && option <= NETSOCK_OPTIONS; option++)
        if (sock->more->options->set & UINT32_C(1) << option && !sock_may_set(sock, option))
            return false;
    return true;
}

uint8_t sock_traffic_class(const struct sock *sock)
{
    const struct netsock_options *options = sock->more->options;

    if (!options || !(options->set & UINT32_C(1) << OPTION_TRAFFIC_CLASS))
        return 0;
    return (uint8_t)options->values[OPTION_TRAFFIC_CLASS];
}

bool sock_dual_mode(const struct sock *sock)
{
    const struct netsock_options *options = sock->more->options;

    if (!options || !(options->set & UINT32_C(1) << OPTION_DUAL_MODE))
        return sock->family == FAMILY_ANY;
    return options->values[OPTION_DUAL_MODE] != 0;
}

bool sock_may_lend(const struct sock *sock, bool give, const struct policy_answer *answer)
{
    return !sock->session->sharing.may_not_lend &&
           answer->lends & (give ? POLICY_LEND_GIVEN : POLICY_LEND);
}

void sock_deny_lending(const struct sock *sock, struct policy_answer *answer)
{
    answer->is_allowed = answer->is_learned = false;
    answer->reason =
        sock->session->sharing.may_not_lend
            ? "the session that shares its rights does not share the right to lend"
            : "the rule for this address lacks the flag for lending (+lend or +lend-given)";
}

struct policy_answer sock_judge(const struct sock *sock)
{
    struct policy_question question = {.protocol = sock->more->dgram ? POLICY_UDP : POLICY_TCP,
                                       .host = sock->host,
                                       .port = sock->port,
                                       .traffic_class = sock_traffic_class(sock)};
    struct policy_answer answer = {.is_allowed = true};
    struct sockaddr_storage addr;
    struct endpoint remote = {0};
    socklen_t len;

    if (sock->more->bound && sock->session && sock->state != SOCK_KILLED)
        return sock_bound_judge(sock);
    if (!is_up(sock))
        return answer;
    if (sock->state == SOCK_LENT && netsock_use(&sock->ns) == NETSOCK_IS_REAIMED) {
        answer.is_allowed = false;
        answer.reason =
            "the client has made the lent socket listen, or connected it to another address";
        return answer;
    }
    if (sock->more->origin)
        return sock_origin_judge(sock);
    /* A connection that was reset has no peer: nothing can be sent over it. */
    if (netsock_remote(&sock->ns, &remote) < 0 || netsock_sockaddr(&remote, &addr, &len) != 0)
        return answer;
    if (sock->host)
        answer = policy_judge(session_view(sock->session), &question);
    if (!answer.is_allowed)
        return answer;
    question.addr = (const struct sockaddr *)&addr;
    answer = policy_judge(session_view(sock->session), &question);
    if (sock->state == SOCK_LENT && !sock_may_lend(sock, sock->is_given, &answer))
        sock_deny_lending(sock, &answer);
    return answer;
}
