/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_CORE_SOCKET_H
#define ASOCK_LIB_CORE_SOCKET_H

/* What a socket has waiting, where it waits itself, and its id. */
#include "client-lib/core/objects.h"

asock_socket *asock_socket_make(asock_context *context, int family, bool is_datagram);
/*
 * With an id, or waiting for one; refs, which are 1, are the caller's to count. -ENOTCONN, -EMFILE,
 * -ENOMEM.
 */
int asock_socket_enter(asock_context *context, int family, bool is_datagram, asock_socket **ret);
void asock_socket_hold(asock_socket *socket);
void asock_socket_unhold(asock_socket *socket);
void asock_socket_use(asock_socket *socket);
void asock_socket_unuse(asock_socket *socket); /* the last one closes it */
/* Looks at it when the next frame is made; does nothing for one that has nothing to say. */
void asock_socket_kick(asock_socket *socket);
void asock_socket_put(asock_socket *socket, enum place place);
void asock_socket_uncount(asock_socket *socket); /* it does not count as open any more */
void asock_sockets_give_ids(asock_context *context);
void asock_socket_closed(asock_socket *socket);                 /* for the daemon it is gone */
void asock_socket_refuse(asock_socket *socket, uint32_t error); /* OPEN failed */

#endif
