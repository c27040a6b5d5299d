/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_SPLICE_H
#define GATEWAY_SPLICE_H

/*
 * Moves bytes between a program and a connection that the daemon has lent: copies little, and moves
 * more by splice(2). A direction has a pipe, or memory, only while that contains bytes. The daemon
 * keeps the connection too, and ends it with the session.
 */
#include "gateway/client.h"

struct spliced;

/* Takes fd. The protocol's answer is sent to the program before the stream. */
void splice_begin(struct client *client, int fd);
/* reset: the peer gets RST, even if the daemon has died. Accepts NULL; returns it. */
struct spliced *splice_free(struct spliced *spliced, bool reset);
/* Bytes from the program that were not written to the connection yet. Accepts NULL. */
size_t splice_pending(const struct spliced *spliced);
/* Continues both directions; call it when a side can be read or written. */
void splice_step(struct client *client);
/* Watches for what both directions wait for. false: the kernel has no room for that. */
bool splice_watch(struct client *client);

#endif
