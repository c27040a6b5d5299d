/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SOCK_LEND_H
#define ASOCKD_SOCK_LEND_H

/*
 * Lends a connected socket to its client: a descriptor of it is sent with the completion of
 * CONNECT.
 *   Held: the daemon keeps its own descriptor, and ends the connection for both.
 *   Given: the daemon closes its own descriptor when the other one has been sent.
 */
#include <stdbool.h>
#include <stdint.h>

struct deadline;
struct lending;
struct op;
struct fd_pass;
struct session;
struct sock;

/*
 * A lending for a connect that may lend, charged to its session. It may have to wait until the
 * client has fetched descriptors that were sent before; then the class's step is run. NULL: no
 * memory.
 */
struct lending *lending_new(struct op *op);
bool lending_waits(const struct lending *l);
/* Looks whether any has been fetched. */
void lending_on_look(struct deadline *deadline);
/* For one that was not passed to the transport. Accepts NULL; returns NULL. */
struct lending *lending_free(struct lending *l);

/* The socket has connected and its descriptor will be sent: moves it to SOCK_LENT. */
void sock_lend(struct sock *sock, struct lending *l, bool is_given);
/* Ends the ops that were queued behind the connect with INVALID_ARGUMENT. */
void sock_end_lent_ops(struct sock *sock);
/* The descriptors for the reply. NULL: the socket has gone, and nothing is sent. */
struct fd_pass *lending_fd_pass(struct lending *l);
/* The same; the transport owns them from now on. */
struct fd_pass *lending_send(struct lending *l);

/*
 * From one process to the next. The place in the session's output from where its descriptor goes
 * with that; false: it does not.
 */
bool sock_lending_at(const struct sock *sock, uint32_t *ret_at);
/* It is in SOCK_LENT or SOCK_LINGERING, and has its descriptor, unless its client alone has it. */
void sock_lent_restore(struct sock *sock, bool is_given);
/* Its descriptor still goes with the output. -ENOMEM; -EINVAL: no frame can begin there. */
int sock_lending_restore(struct sock *sock, uint32_t at);
/* Of a connect in progress, which waits for those; NULL: no memory. */
struct lending *lending_restore(struct op *op);
/* Likewise of a socket whose reply has no room in the output yet. */
struct lending *lending_restore_of(struct sock *sock);

/* Call it before the socket's descriptor is closed: it is not sent any more. */
void sock_lend_no_more(struct sock *sock);
/*
 * If the socket is lent, updates its byte counts from the kernel, and notes whether both sides have
 * ended.
 */
void sock_count_bytes(struct sock *sock);
/* The client has declared its stream complete: by shutdown(2), or now by CLOSE. */
bool sock_lent_is_whole(const struct sock *sock);

#define SOCK_LENT_TEXT "the client has the socket's descriptor and must use that"
#define SOCK_GIVEN_TEXT "given to the client"

#endif
