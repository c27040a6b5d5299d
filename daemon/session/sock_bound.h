/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SOCK_BOUND_H
#define ASOCKD_SOCK_BOUND_H

/* What a socket with a local address of the client's has: few do, so it is allocated apart, and charged. */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/policy/listen.h"
#include "proto/codec.h"

struct op;
struct sock;

#define MEMORY_BOUND 256u /* of one; as malloc() rounds it up, and more */

struct sock_bound {
    struct endpoint asked; /* by the client; its port may be 0 */
    struct endpoint local; /* given */
    bool is_dual;          /* IPv6, and takes IPv4 as well */
};

/* Charged to the socket's quota. -EDQUOT, -ENOMEM. */
int sock_bound_new(struct sock *sock);
void sock_bound_drop(struct sock *sock); /* if it has one */

/* What policy says of it now. */
struct policy_answer sock_bound_judge(const struct sock *sock);
/* The same after a change of policy: what may not be any more ends, with ERR_ACCESS_DENIED. True: it did. */
bool sock_bound_judge_again(struct sock *sock);

#endif
