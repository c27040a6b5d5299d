/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_GUARD_H
#define GATEWAY_GUARD_H

/*
 * Whom a port at a loopback address serves: this process's user, the ids that /etc/subuid gives to
 * that user, and root, who could take it all the same.
 */
#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct guard;
struct sockaddr_storage;

/* The kernel does not say who: a socket that is closed already, or is in another network. */
#define GUARD_UNKNOWN ((uid_t)-1)
/* More users than are counted one by one. */
#define GUARD_OTHERS ((uid_t)-2)

/*
 * `refused` is called at once for the first refusal of a user, and if there are more, once a minute
 * and in the end, with the number of all of them. at: where a connection can be tried.
 * -EOPNOTSUPP: here the kernel does not say which user a connection belongs to.
 */
int guard_new(struct ev_loop *loop, const struct sockaddr_storage *at,
              void (*refused)(void *userdata, uid_t user, unsigned long long count), void *userdata,
              struct guard **ret);
struct guard *guard_free(struct guard *guard); /* accepts NULL; returns it */

/*
 * Does the socket at the other end belong to such a user? It has the address `peer` and talks to
 * `own`. *ret_user: to whom.
 */
bool guard_admits(struct guard *guard, uint8_t protocol, const struct sockaddr_storage *peer,
                  const struct sockaddr_storage *own, uid_t *ret_user);
/* It was refused. */
void guard_count(struct guard *guard, uid_t user);

/* Of an accepted connection: admitted, or counted. */
bool guard_accepts(struct guard *guard, int fd, const struct sockaddr_storage *peer,
                   const struct sockaddr_storage *own);

#endif
