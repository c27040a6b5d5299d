/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STATE_RESTORE_H
#define ASOCKD_STATE_RESTORE_H

/* Shared by restore*.c. All return 0, or -errno with r->what. */
#include "daemon/state/counters.h"
#include "daemon/state/state.h"
#include "daemon/state/verify.h"

struct sock;

int restore_fail(struct state_restorer *r, const char *what); /* -EBADMSG */
/* The descriptor that a record names. No other record can name it too. */
int restore_claim(struct state_restorer *r, uint32_t number, int *ret);

/* ---- restore_session.c ---- */

int restore_session(struct state_restorer *r, const Asockd__State__Session *from,
                    struct session **ret);

/* ---- restore_socket.c ---- */

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
