/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STATE_LENT_H
#define ASOCKD_STATE_LENT_H

/* Lent sockets, as parts of their records. */
#include "daemon/state/restore.h"

struct sock;

/* What a socket's record refers to. */
struct lent_room {
    Asockd__State__Lent lent;
    Asockd__State__Travel travel;
};

/* NULL: it is not lent. */
Asockd__State__Lent *lent_save(struct state_writer *out, struct lent_room *room,
                               const struct sock *sock);

/* Which of its session's replies its descriptor goes with; 0: with none. It has a lending. */
uint32_t lent_reply(const struct sock *sock);

/* Can such a socket be lent, or not lent? */
bool lent_fits(const struct sock *sock, const Asockd__State__Socket *from);
/* The daemon has one, too. */
bool lent_has_descriptor(const Asockd__State__Lent *from);
/* As the others of restore.h. The socket has its descriptor. from NULL: it is not lent. */
int lent_restore(struct state_restorer *r, struct sock *sock, const Asockd__State__Lent *from);

#endif
