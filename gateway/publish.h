/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_PUBLISH_H
#define GATEWAY_PUBLISH_H

/*
 * A port that asockd listens at for a program in the command's network: each connection that is
 * accepted there gets one to a port of the program's localhost, and the gateway relays between
 * both.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "gateway/gateway.h"
#include "gateway/network.h"

struct publish;

struct publish_config {
    const struct sockaddr *address; /* to listen at; port 0: a free one */
    socklen_t address_len;
    uint16_t port;         /* of the program */
    int answer_timeout_ms; /* for the daemon's answers */
    /*
     * It has ended while the gateway runs, and does not come back: why, an enum asock_error and the
     * daemon's text.
     */
    void (*ended)(void *userdata, int error, const char *text);
    void *userdata;
};

/*
 * Listens; waits for the daemon. Returns an enum asock_error, with the daemon's text in text.
 * Nothing is accepted before publish_start().
 */
int publish_new(struct gateway *gateway, const struct publish_config *config, struct publish **ret,
                char *text, size_t text_size);
/* The port that it listens at. */
uint16_t publish_port(const struct publish *publish);
/* network: the one that the program is in, which can be reached (network_reach_inside()). */
void publish_start(struct publish *publish, const struct network *network);
/* The session has ended, with every op: it listens again when there is another session. */
void publish_lost(struct publish *publish);
/* Accepts no more. */
void publish_end(struct publish *publish);
/*
 * Before the session ends, of one that was started: it lets go of ops and sockets. Its memory
 * stays.
 */
void publish_stop(struct publish *publish);
/* After the session has ended. Accepts NULL. */
void publish_free(struct publish *publish);

#endif
