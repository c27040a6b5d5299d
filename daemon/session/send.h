/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SEND_H
#define ASOCKD_SEND_H

/*
 * The engine of the sending side of a stream: it hands the bytes of ops to the kernel. The verb has
 * checked the request; sock->sends has the ops in their order, SHUTDOWNs of the sending side and a
 * DISCONNECT among them. What datagrams share with it is at the end.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct op;
struct session;
struct sock;

/*
 * Begins a SEND, whose class and total are set here. data: what has arrived with its frame, in the
 * session's input, len bytes of it; total: of the whole op; more than len: pieces follow, until
 * send_continue() has had the last one. An error: the op must end with it.
 */
int send_begin(struct op *op, const uint8_t *data, uint32_t len, uint64_t total, bool has_pieces,
               uint32_t timeout_ms);
/*
 * The same of one whose bytes are op->slices; `end` is the end of its frame in the session's input.
 */
void send_begin_reference(struct op *op, const uint8_t *end, uint32_t timeout_ms);
/* A piece has arrived of a chain, which may end. error: the client ends it here with that. */
void send_continue(struct op *op, const uint8_t *data, uint32_t len, bool is_last, uint32_t error);

/* Appends op to the queue, arms its deadline, and lets the queue run. */
void send_queue(struct sock *sock, struct op *op, uint32_t timeout_ms);
/*
 * The same; it leaves with those behind it in the session's input, or when there are many. bytes:
 * of it.
 */
void send_wait_for_more(struct op *op, uint64_t bytes, uint32_t timeout_ms);
/*
 * The socket may be writable: the queue runs until it waits, or has had its share. Of datagrams
 * too.
 */
void send_run(struct sock *sock);
/* What waits for more sends from the session's input leaves. */
void send_batch_end(struct session *s);

/* Hands over what the op holds: 1 ended, 0 waits. Of a SEND, and of a CONNECT's data. */
int send_step(struct op *op);
/* An op that another process had (daemon/state/): its class. */
void send_restore(struct op *op);

/* A send's chunks as the kernel wants them, STEP_BYTES at most; how many. */
int send_gather(const struct op *op, struct iovec *iov, int cap, uint64_t *ret_bytes);
/* The kernel has taken so many bytes: counted. */
void send_took(struct op *op, uint64_t bytes);

#endif
