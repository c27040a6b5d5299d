/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STATE_VERIFY_H
#define ASOCKD_STATE_VERIFY_H

/*
 * Checks that a descriptor is what the state says, before it is used. All return 0, -EBADMSG if it
 * is something else, or another -errno. The receiver has made each descriptor close-on-exec; these
 * make it non-blocking, but for a lent one.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/identity/identity.h"
#include "proto/codec.h"

/* A Unix stream socket that listens at this path. */
int verify_listener(int fd, uint64_t cookie, const char *path);
/* A connection that this client has opened. */
int verify_client(int fd, uint64_t cookie, const struct identity *identity);
/* A TCP socket at this address, which listens or does not. */
int verify_bound(int fd, uint64_t cookie, const struct endpoint *local, bool listens);
/* A TCP connection with this peer, or one that was reset and has no peer any more. */
int verify_connection(int fd, uint64_t cookie, const struct endpoint *remote);
/*
 * A TCP socket that was lent. Its holder may have dissolved it, connected it elsewhere or made it
 * listen. What belongs to the open socket, and not to a descriptor, is the holder's: it is not made
 * non-blocking.
 */
int verify_lent(int fd, uint64_t cookie);
/*
 * A UDP socket of this family, at this local address, with this peer; NULL: at any address, without
 * a peer. Somebody may have taken its peer from it.
 */
int verify_datagrams(int fd, uint64_t cookie, int family, const struct endpoint *local,
                     const struct endpoint *peer);
/* The process with this number, or one that has ended. */
int verify_process(int fd, pid_t pid);
/* A regular file; empty, and locked: it is the lock of a directory. */
int verify_lock(int fd);

#endif
