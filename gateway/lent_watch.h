/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_LENT_WATCH_H
#define GATEWAY_LENT_WATCH_H

/*
 * Watches sockets that the daemon has lent, in an epoll of their own. The daemon has each of them
 * as well, so that close() does not take them out of an epoll; libev would hear of sockets that it
 * does not know any more, and make a new one for all. Here they are taken out one by one. And of
 * one that nothing else is wanted of the kernel still tells that it is over.
 */
#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

struct lent_watch;

struct lent_socket {
    int fd;
    bool is_watched;
    uint32_t events;
    /* EPOLLIN and so on: what the kernel has found. */
    void (*tell)(struct lent_socket *socket, uint32_t found);
};

int lent_watch_new(struct ev_loop *loop, struct lent_watch **ret); /* -errno */
struct lent_watch *lent_watch_free(struct lent_watch *watch);      /* accepts NULL, returns it */

/*
 * events: EPOLLIN, EPOLLOUT, both, or 0 for its end alone (EPOLLERR, EPOLLHUP). false: the kernel
 * has no room for it.
 */
bool lent_watch_set(struct lent_watch *watch, struct lent_socket *socket, uint32_t events);
/* Stops its reports. To be called before its close. */
void lent_watch_unset(struct lent_watch *watch, struct lent_socket *socket);

#endif
