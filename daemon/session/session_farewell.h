/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SESSION_FAREWELL_H
#define ASOCKD_SESSION_FAREWELL_H

/* How a session that has ended parts from its client. */
#include <ev.h>
#include <stdbool.h>

struct deadline;
struct session;

/*
 * For a client that has still to read what lies in the buffers of a session that the daemon has
 * ended.
 */
#define BUFFERS_KEPT_MS 10000u

/*
 * Closes the connection and releases the buffers; later where a last frame is to be read in peace
 * (has_last_word), or descriptors are on their way.
 */
void session_leave_transport(struct session *s, bool has_last_word);
void session_farewell_end(struct session *s); /* now, whatever the client has read */

/*
 * It has ended, but for its connection: descriptors may be on their way to its client. The kernel
 * counts them, of lent sockets, too.
 */
bool session_has_unread(const struct session *s);

/* A step of it: what the client has written is discarded. */
void session_discard(struct session *s);

/* What the client had not made room for when the session ended. */
void session_write_rest(struct session *s);

/* Of session->unread and session->farewell_io. */
void session_on_unread(struct deadline *deadline);
void session_on_farewell(struct ev_loop *loop, struct ev_io *io, int events);

#endif
