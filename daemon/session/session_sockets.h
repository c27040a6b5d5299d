/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SESSION_SOCKETS_H
#define ASOCKD_SESSION_SOCKETS_H

/* The sockets of a session one by one, while any of them may go, and new ones come, between two. */
#include <stdint.h>

struct session;
struct sock;

#define SESSION_PLACE_LINGERING (UINT64_C(1) << 32) /* and a serial; slots come first */

/*
 * Its connects in progress, and those of sessions that came by listeners of its own, are judged by
 * the rules of now, in steps of each session's share. Once they are, the ops in session->restricts
 * end.
 */
void session_judge_connects(struct session *s);
void session_judge_step(struct session *s);

/* The first one from *place on, which is set to it; NULL: there is none. */
struct sock *session_sock_from(const struct session *s, uint64_t *place);

#endif
