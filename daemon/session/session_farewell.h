/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SESSION_FAREWELL_H
#define ASOCKD_SESSION_FAREWELL_H

/* How a session that has ended parts from its client. */
#include <ev.h>
#include <stdbool.h>

struct deadline;
struct session;

/*
 * Closes the connection; later where a last frame is to be read in peace (has_last_word), or descriptors are
 * on their way.
 */
void session_leave_transport(struct session *s, bool has_last_word);

/* Of session->unread and session->farewell_io. */
void session_on_unread(struct deadline *deadline);
void session_on_farewell(struct ev_loop *loop, struct ev_io *io, int events);

#endif
