/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_SPLICE_H
#define GATEWAY_SPLICE_H

/*
 * Bytes between a program and a connection that the daemon has lent: splice(2) both ways, through a pipe that a
 * direction has only while something is in it. The daemon keeps the connection too, and ends it with the session.
 */
#include "gateway/client.h"

struct spliced;

/* Takes fd. First the protocol's answer goes to the program, then the stream. */
void splice_begin(struct client *client, int fd);
/* reset: the peer gets RST, also when there is no daemon any more. Accepts NULL; returns it. */
struct spliced *splice_free(struct spliced *spliced, bool reset);
/* Bytes of the program that the network has not taken yet. Accepts NULL. */
size_t splice_pending(const struct spliced *spliced);
/* Something may go on: the program's side or the network's can be read, or written. */
void splice_step(struct client *client);
/* Watches for what both directions wait for. false: the kernel has no room for that. */
bool splice_watch(struct client *client);

#endif
