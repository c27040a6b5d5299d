/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SOCK_LEND_H
#define ASOCKD_SOCK_LEND_H

/*
 * A connected socket goes to its client, whose descriptor of it travels with the completion of CONNECT. Held: the daemon
 * keeps its own, and ends the connection for both. Given: it closes its own once the other one has left.
 */
#include <stdbool.h>
#include <stdint.h>

struct lending;
struct op;
struct fd_pass;
struct session;
struct sock;

/* For a connect that may lend; charged to its session. ERR_NO_BUFFER_SPACE, with a text: also where the client fetches none. */
int lending_new(struct op *op, struct lending **ret);
struct lending *lending_free(
    struct lending *l); /* of one that nobody sends; accepts NULL, returns it */

/* It is connected, and its descriptor about to be sent. */
void sock_lend(struct sock *sock, struct lending *l, bool is_given);
void sock_end_lent_ops(
    struct sock *sock); /* what was queued behind the connect: INVALID_ARGUMENT */
/* For the reply. NULL: the socket has gone already, and nothing is sent. */
struct fd_pass *lending_fd_pass(struct lending *l);
/* The same, which is the transport's from here on. */
struct fd_pass *lending_send(struct lending *l);

/* Before its descriptor is closed: it does not leave any more. */
void sock_lend_no_more(struct sock *sock);
/* What moved over one that is lent; else what is in it already. */
void sock_count_bytes(struct sock *sock);
/* The client has said that its stream is whole: by shutdown(2), or now by CLOSE. */
bool sock_lent_is_whole(const struct sock *sock);

#define SOCK_LENT_TEXT "its descriptor was lent to the client: use that"
#define SOCK_GIVEN_TEXT "given to the client"

#endif
