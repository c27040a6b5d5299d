/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SESSION_FRAME_H
#define ASOCKD_SESSION_FRAME_H

/*
 * Replies that wait for room, as whole frames; another process gets them in this form
 * (daemon/state/). And the last frame of all.
 */
#include <stddef.h>
#include <stdint.h>

struct op;
struct reply;
struct session;

/*
 * The whole frame, of an op that carries no descriptor. Bytes; 0: it does, or there is no room in
 * cap.
 */
size_t session_encode_reply(const struct op *op, uint8_t *out, size_t cap);
/* A frame that another process has made: behind those that wait. -ENOMEM. */
int session_add_frame(struct session *s, const void *frame, size_t len);

/* Finds room also where output waits. */
void session_send_last(struct session *s, const struct reply *reply, const char *text);

#endif
