/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SESSION_SOCKETS_H
#define ASOCKD_SESSION_SOCKETS_H

/* The sockets of a session one by one, while any of them may go, and new ones come, between two. */
#include <stdint.h>

struct session;
struct sock;

#define SESSION_PLACE_LINGERING (UINT64_C(1) << 32) /* and a serial; slots come first */

/* The first one from *place on, which is set to it; NULL: there is none. */
struct sock *session_sock_from(const struct session *s, uint64_t *place);

#endif
