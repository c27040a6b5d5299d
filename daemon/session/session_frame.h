/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SESSION_FRAME_H
#define ASOCKD_SESSION_FRAME_H

/*
 * Replies that wait for room, as whole frames; another process gets them in this form
 * (daemon/state/). And the last frame of all.
 */
#include <stddef.h>
#include <stdint.h>

struct lending;
struct op;
struct reply;
struct session;

/*
 * The whole frame; bytes, 0: there is no room in cap, or descriptors go with it that are not of a
 * lent socket: such a reply never waits, because a request is read only when there is room for one.
 */
size_t session_encode_reply(const struct op *op, uint8_t *out, size_t cap);
/* A frame that another process has made: behind those that wait. -ENOMEM. */
int session_add_frame(struct session *s, const void *frame, size_t len);
/* Which of the replies that wait for room the descriptor goes with, from 1; 0: with none. */
uint32_t session_reply_of(const struct session *s, const struct lending *lending);
/* The op of that reply, a frame with which nothing goes so far; NULL: there is no such frame. */
struct op *session_frame_without(struct session *s, uint32_t number);

/* Finds room also where output waits. */
void session_send_last(struct session *s, const struct reply *reply, const char *text);

#endif
