/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_TRANSPARENT_H
#define GATEWAY_TRANSPARENT_H

/*
 * The network of a command that does not know of a gateway: name server, connections, refusals.
 * They go through the gateway's session.
 */
#include "gateway/gateway.h"
#include "gateway/network.h"
#include "gateway/publish.h"

struct transparent;

/*
 * Takes the gateway and, if it succeeds, the network. 0 or a negative errno; the gateway is freed
 * then, too.
 */
int transparent_new(struct gateway *gateway, const struct network *network,
                    struct transparent **ret);
/*
 * From now on connections of the published port reach the command, whose network has to be reached
 * (network_reach_inside()). The port stays its caller's, who frees it after the transparent. At
 * most TRANSPARENT_PUBLISH_MAX.
 */
#define TRANSPARENT_PUBLISH_MAX 16
void transparent_publish(struct transparent *transparent, struct publish *publish);
/* The command has ended: as gateway_drain(). */
void transparent_drain(struct transparent *transparent, double seconds);
/* Ends everything. Accepts NULL. */
void transparent_free(struct transparent *transparent);

#endif
