/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SESSION_END_H
#define ASOCKD_SESSION_END_H

/* The end of a session, beside session_end() itself. */
struct session;
struct worker;

/*
 * Kills its sockets, in steps, then ends it: their owner hears what ended them first. It reads no
 * more.
 */
void session_kill(struct session *s);
/* Of one that has ended: all steps of it that are left, at once. */
void session_close_rest(struct session *s);
/* The same: its closes that go on are given up. */
void session_end_lingering(struct session *s);

/*
 * The daemon stops: every session ends; then, when its patience does, what is left of them and of
 * sockets.
 */
void session_end_all(struct worker *w);
void session_end_what_is_left(struct worker *w);

/* Steps of its share: what it has is killed, or closed, until the step is over. */
void session_kill_step(struct session *s);
void session_close_step(struct session *s); /* of one that has ended */

#endif
