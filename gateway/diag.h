/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_DIAG_H
#define GATEWAY_DIAG_H

/*
 * Which user has a socket of this network namespace: sock_diag(7), which needs no privileges. The
 * kernel has put its answer into the queue when the question's send(2) returns, so nothing waits.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct sockaddr_storage;

struct diag {
    int fd;
    uint32_t number; /* of the last question */
};

/* 0 or a negative errno. */
int diag_open(struct diag *ret);
void diag_close(struct diag *diag);

/*
 * The user of the socket with the address `own` that talks to `peer`, as this process's user
 * namespace knows the user: by the protocol, a connected socket (IPPROTO_TCP) or the one that would
 * receive from there (IPPROTO_UDP). -ENOENT: no process has such a socket, or the kernel has no
 * answers for that protocol. Or another negative errno.
 */
int diag_user(struct diag *diag, uint8_t protocol, const struct sockaddr_storage *own,
              const struct sockaddr_storage *peer, uid_t *ret);

#endif
