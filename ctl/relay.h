/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_RELAY_H
#define CTL_RELAY_H

/*
 * Copies standard input to a connected socket, and the socket to standard output, until both have
 * ended.
 */
#include <asock/asock.h>

#include <stdbool.h>
#include <stdint.h>

enum relay_place {
    RELAY_NOWHERE, /* nothing failed */
    RELAY_STDIN,
    RELAY_STDOUT,
    RELAY_SENDING,
    RELAY_RECEIVING,
    RELAY_ITSELF, /* a call that was refused */
};

struct relay_result {
    enum relay_place place; /* of the first failure */
    int error;              /* SENDING, RECEIVING: enum asock_error; otherwise an errno */
    uint64_t bytes_in;      /* from the network */
    uint64_t bytes_out;     /* that the daemon's kernel has taken */
};

struct relay;

struct relay_manner {
    bool exit_on_close; /* the peer's end of stream ends both directions */
    bool keep_open;     /* the end of standard input is not passed on */
};

/* Takes over standard input and output. 0, -ENOMEM. */
int relay_new(asock_context *context, asock_socket *socket, const struct relay_manner *manner,
              struct relay **ret);

/*
 * The socket is closed afterwards, by RST when standard input was not read to its end: half a
 * stream must not look like a whole one.
 */
void relay_run(struct relay *relay, struct relay_result *ret);

/*
 * The whole relay over a lent socket; blocks until it ends. Takes fd. Closes the socket afterwards,
 * as above.
 */
void relay_lent(asock_context *context, asock_socket *socket, int fd,
                const struct relay_manner *manner, struct relay_result *ret);

/* Releases the library's objects, except the buffers. Accepts NULL. */
void relay_release(struct relay *relay);
/*
 * Frees the rest, after the context is gone: until then an op that the daemon never answered used
 * the buffers.
 */
struct relay *relay_free(struct relay *relay);

#endif
