/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SOCK_CLOSE_H
#define ASOCKD_SOCK_CLOSE_H

#include <stdint.h>

struct op;
struct sock;

/*
 * What sock_close.c does when a closing socket has an event, or its queue of sends becomes empty.
 */
void sock_close_event(struct sock *sock);
void sock_linger_input(struct sock *sock);
void sock_close_continue(struct sock *sock);

/* The CLOSE that waits for a lingering socket; NULL: none. */
struct op *sock_close_op(const struct sock *sock);
void sock_set_close_op(struct sock *sock, struct op *op);

/* The memory that a closing socket is charged once its id is free. */
uint32_t sock_ending_memory(const struct sock *sock);

/*
 * A close with a linger time that goes on in another process: when it is given up, by the worker's
 * clock. The restored socket has its state, and no id; it begins when sock_linger_resume() is
 * called, and may be gone when that returns. -ENOMEM.
 */
uint64_t sock_linger_until(const struct sock *sock);
int sock_linger_restore(struct sock *sock, uint64_t until, uint32_t memory);
void sock_linger_resume(struct sock *sock);

/* The same of a draining socket, in SOCK_OPEN when it is restored: nothing may be left of it. */
struct drain_past {
    uint64_t until;   /* then it is closed */
    uint32_t drained; /* bytes of input that were dropped */
    uint32_t charged; /* bytes of memory */
};
void sock_drain_save(const struct sock *sock, struct drain_past *ret);
int sock_drain_restore(struct sock *sock, const struct drain_past *past);
void sock_drain_resume(struct sock *sock);

#endif
