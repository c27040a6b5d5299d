/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SOCK_POLICY_H
#define ASOCKD_SOCK_POLICY_H

/*
 * What policy says about a session, about the options that it controls (traffic class and hop
 * limit), and about lending.
 */
#include <stdbool.h>
#include <stdint.h>

struct policy_answer;
struct policy_view;
struct session;
struct sock;

/* By the policy that is in force now. */
struct policy_view *session_view(const struct session *s);

bool sock_may_set(const struct sock *sock, uint32_t option);
/* The same for all options that were set, after a reload. */
bool sock_may_have_options(const struct sock *sock);
/* Policy allows the connection. Does it also allow lending the socket to the client? */
bool sock_may_lend(const struct sock *sock, bool give, const struct policy_answer *answer);
void sock_deny_lending(const struct sock *sock, struct policy_answer *answer);
uint8_t sock_traffic_class(const struct sock *sock); /* 0: none was set */
bool sock_dual_mode(const struct sock *sock);        /* would it take IPv4 on an IPv6 address? */

#endif
