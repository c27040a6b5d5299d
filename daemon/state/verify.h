/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STATE_VERIFY_H
#define ASOCKD_STATE_VERIFY_H

/* A descriptor that came with a state is what the state says, before anything is done with it. */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/identity/identity.h"
#include "proto/codec.h"

/* All: 0, or -EBADMSG: it is not; -errno. Each is made close-on-exec by whoever receives it, and non-blocking here. */

/* A Unix stream socket that listens at this path. */
int verify_listener(int fd, uint64_t cookie, const char *path);
/* A connection that this client has opened. */
int verify_client(int fd, uint64_t cookie, const struct identity *identity);
/* A TCP connection to, or from, there; one that was reset is nobody's any more. */
int verify_connection(int fd, uint64_t cookie, const struct endpoint *remote);
/* The process with this number, or one that has ended. */
int verify_process(int fd, pid_t pid);
/* A regular file; empty, and locked: it is the lock of a directory. */
int verify_lock(int fd);

#endif
