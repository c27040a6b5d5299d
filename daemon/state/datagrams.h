/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STATE_DATAGRAMS_H
#define ASOCKD_STATE_DATAGRAMS_H

/* What a datagram socket has beside a stream's, and its ops, as parts of their records. */
#include "daemon/state/restore.h"

struct op;
struct sock;

/* Memory for a socket's record. */
struct datagrams_room {
    Asockd__State__Datagrams record;
    Asockd__State__Endpoint peer, *parts, **at;
};

/* What a send's record refers to. */
struct datagram_room {
    Asockd__State__Datagram record;
    Asockd__State__Endpoint to, source;
};

/* room: for datagrams_free_room(), once the record was added. -ENOMEM. */
int datagrams_save(const struct sock *sock, struct datagrams_room *room, Asockd__State__Socket *to);
void datagrams_free_room(struct datagrams_room *room);
void datagrams_save_send(const struct op *op, struct datagram_room *room, Asockd__State__Op *to);

/*
 * As the others of restore.h. The socket becomes one of datagrams, if the record says so; it has
 * its local address, if it is bound.
 */
int datagrams_restore(struct state_restorer *r, struct sock *sock,
                      const Asockd__State__Socket *from);
/* The descriptor of such a socket; as verify.h. */
int datagrams_verify(const struct sock *sock, int fd, uint64_t cookie);
/* It has its descriptor. */
void datagrams_adopted(struct sock *sock);
/* Can such a socket have this op there? */
bool datagrams_is_in_place(const struct sock *sock, const Asockd__State__Op *from);
/* A send has its bytes, and a receive its length. */
int datagrams_restore_op(struct state_restorer *r, struct op *op, const Asockd__State__Op *from);

#endif
