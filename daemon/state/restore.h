/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STATE_RESTORE_H
#define ASOCKD_STATE_RESTORE_H

/* Shared by restore*.c. All return 0, or -errno with r->what. */
#include "daemon/state/counters.h"
#include "daemon/state/state.h"
#include "daemon/state/verify.h"

struct sock;

int restore_fail(struct state_restorer *r, const char *what); /* -EBADMSG */
/*
 * What one session needs is not there, or something else. -ENODATA: that session alone is lost;
 * -EBADMSG: all of it.
 */
int restore_miss(struct state_restorer *r, const char *what);
/*
 * The descriptor that a record names. No other record can name it too. As restore_miss(), if it has
 * not come.
 */
int restore_claim(struct state_restorer *r, uint32_t number, int *ret);
/* It has come, but what it is for has not: state_discard(). */
void restore_discard(struct state_restorer *r, uint32_t number);
/* It ends when it is ours: its client hears why. */
void restore_give_up(struct state_restorer *r, struct session *s, const char *what);

/* ---- restore_session.c ---- */

/* -ENODATA: there is none to make, and its descriptors are discarded. */
int restore_session(struct state_restorer *r, const Asockd__State__Session *from,
                    struct session **ret);

/* ---- restore_socket.c ---- */

/* -ENODATA: *ret has no connection, and its session was given up; its ops are passed over. */
int restore_socket(struct state_restorer *r, struct session *s, const Asockd__State__Socket *from,
                   struct sock **ret);
/* All ops of the socket have been restored. */
int restore_socket_end(struct state_restorer *r, struct sock *sock,
                       const Asockd__State__Socket *from);
/* of: the record of its socket. */
int restore_op(struct state_restorer *r, struct sock *sock, const Asockd__State__Socket *of,
               const Asockd__State__Op *from);
/* false: not an endpoint */
bool restore_endpoint(const Asockd__State__Endpoint *from, struct endpoint *ret);

#endif
