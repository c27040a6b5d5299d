/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_ASSOCIATE_H
#define GATEWAY_ASSOCIATE_H

/*
 * SOCKS5's UDP ASSOCIATE (RFC 1928, section 7): datagrams of a program through the daemon, for as
 * long as the TCP connection that asked for it lasts.
 */
#include "gateway/client.h"

struct associate;

/* Answers the request. What is wrong has been answered, too. */
void associate_begin(struct client *client);
/* Accepts NULL; returns it. Ops that are in flight complete later, as the client's. */
struct associate *associate_end(struct associate *associate);
/* The session has ended, and no op completes any more. */
void associate_free_flows(struct gateway *gateway);

#endif
