/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SOCK_POLICY_H
#define ASOCKD_SOCK_POLICY_H

/* Options that policy has a word on: traffic class and hop limit; and what one comes to. */
#include <stdbool.h>
#include <stdint.h>

struct sock;

bool sock_may_set(const struct sock *sock, uint32_t option);
/* The same of all that were set, a reload later. */
bool sock_may_have_options(const struct sock *sock);
uint8_t sock_traffic_class(const struct sock *sock); /* 0: none was set */
bool sock_dual_mode(const struct sock *sock);        /* would it take IPv4 on an IPv6 address? */

#endif
