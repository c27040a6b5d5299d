/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_CLIENT_FD_H
#define ASOCKD_CLIENT_FD_H

/*
 * A client's socket, and the descriptors that the client may send. The kernel closes those when the
 * bytes that came with them are read, or the socket is closed, and it does so in the daemon's
 * thread: the last close of a TCP socket of the client's own waits for its linger time, that of a
 * memfd frees all of its memory.
 *
 * Since Linux 6.16 nobody can send any: the option is off at the listener, from which a socket has
 * it. On an older kernel, and of a client that connected before the daemon could turn it off, the
 * wait is interrupted.
 */
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

/* Of a listener: what it accepts inherits that. An older kernel knows no such option. */
void client_fd_refuse_descriptors(int fd);
/* Can none have come, ever? */
bool client_fd_refuses_descriptors(int fd);

/* recv() without waiting, which drops the descriptors that come. refuses: what is said above. */
ssize_t client_fd_recv(int fd, void *to, size_t len, bool refuses);
/* The same, but the first descriptor is kept, if one has come. */
ssize_t client_fd_recv_taking(int fd, void *to, size_t len, int *ret_taken);
void client_fd_close(int fd);

#endif
