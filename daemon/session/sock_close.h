/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SOCK_CLOSE_H
#define ASOCKD_SOCK_CLOSE_H

#include <stdint.h>

struct sock;

/* sock_close.c's share of an event, and of an empty queue, of a socket that closes. */
void sock_close_event(struct sock *sock);
void sock_linger_input(struct sock *sock);
void sock_close_continue(struct sock *sock);

/* What it is charged as memory, once its id is free. */
uint32_t sock_ending_memory(const struct sock *sock);

#endif
