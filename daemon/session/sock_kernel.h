/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SOCK_KERNEL_H
#define ASOCKD_SOCK_KERNEL_H

#include <stdint.h>

#include "daemon/net/tcp.h"

struct sock;

/*
 * The buffers in the kernel of the connection that is to be made. -ENOBUFS: there is no room. They
 * are given back when the connection has gone; at any time, also twice.
 */
int sock_charge_buffers(struct sock *sock);
void sock_uncharge_buffers(struct sock *sock);
/* The size of a new socket's buffers, where it is not the kernel's to choose. -errno. */
int sock_fix_buffers(const struct sock *sock, struct netsock *ns);
/* apply() sets it in the kernel, once it is charged for. -ENOBUFS, other -errno. */
typedef int (*sock_apply_fn)(struct sock *sock, uint32_t option, int32_t value);
int sock_set_option(struct sock *sock, uint32_t option, int32_t value, sock_apply_fn apply);

#endif
