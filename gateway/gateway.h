/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

/*
 * A proxy for programs that know proxies: SOCKS5, SOCKS4a and HTTP on local sockets, everything
 * through one session with asockd. An ordinary program on libasock: it runs with the rights of
 * whoever started it.
 *
 * One thread; a call that opens a session waits for the daemon, everything else is driven by the
 * loop.
 */
#include <asock/asock.h>

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct gateway;
struct sockaddr_storage;

struct gateway_config {
    /*
     * A new session, named and restricted as it has to be. 0, or a negative errno after a
     * complaint.
     */
    int (*open)(void *userdata, asock_context **ret);
    void *userdata;
    /*
     * A program of another user was refused at a TCP port, so often until now. user: as in
     * gateway/guard.h.
     */
    void (*refused)(void *userdata, uid_t user, unsigned long long count);
    bool serves_any_user;  /* at TCP ports */
    int answer_timeout_ms; /* for the daemon's answers */
    unsigned int blocks;   /* of shared memory at most (gateway/blocks.h); 0: BLOCKS_MAX */
};

/* Opens the first session. 0 or a negative errno. */
int gateway_new(struct ev_loop *loop, const struct gateway_config *config, struct gateway **ret);

/*
 * A Unix socket with mode 0600. -EEXIST: the path exists and is not a socket; -EADDRINUSE: a
 * program listens there. A socket without a listener is replaced.
 */
int gateway_listen_unix(struct gateway *gateway, const char *path);

/*
 * At a loopback address of IPv4 or IPv6. Port 0: any; *ret_port (may be NULL) is the one it has.
 * Every user of the host can connect to it, and is served as in gateway/guard.h: connections of
 * others are reset. -EINVAL: it is not a loopback address. -EOPNOTSUPP: the kernel does not say
 * which user a connection belongs to, and serves_any_user is not set.
 */
int gateway_listen_tcp(struct gateway *gateway, const struct sockaddr_storage *address,
                       uint16_t *ret_port);

/*
 * The programs have ended: runs the loop until what they have sent is with asockd, but not longer
 * than that. No connection is accepted any more, and of one that a program still has only what it
 * has sent by now counts.
 */
void gateway_drain(struct gateway *gateway, double seconds);

/* Ends all connections and removes its Unix sockets. Accepts NULL. */
void gateway_free(struct gateway *gateway);

#endif
