/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SOCK_SEND_H
#define ASOCKD_SOCK_SEND_H

/* What sends hand to the kernel. */
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct op;
struct session;
struct sock;

/* Bytes that leave together: what the kernel makes of them stays in the processor's cache. */
#define SOCK_BATCH_MAX (256u * 1024u)
/* The sends at the front of the queue, with one call; like a step. There is one at least. */
int sock_send_step(struct sock *sock);
/* What waits for more sends from the session's input leaves. */
void sock_batch_end(struct session *s);
/* A send's chunks as the kernel wants them, STEP_BYTES at most; how many. It has taken bytes of them; of any send. */
int sock_gather(const struct op *op, struct iovec *iov, int cap, uint64_t *ret_bytes);
void sock_drop_taken(struct op *op, size_t bytes);
void sock_took(struct op *op, uint64_t bytes);
/* What -errno of a send means; remembers what the kernel tells only once. */
uint32_t sock_send_error(struct sock *sock, ssize_t err);

#endif
