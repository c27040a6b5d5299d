/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_EPOLL_H
#define ASOCK_TESTS_SIM_EPOLL_H

/* The daemon's own epoll, for what has hung up; and the library's, for its connection. */
#include "tests/sim/kernel.h"

#define EPOLL_ITEMS 256
struct epoll_item {
    struct kfile *file;
    void *data;
    uint32_t events; /* EPOLLONESHOT, or what the library waits for */
    bool is_armed;
};
struct epoll_file {
    struct epoll_item items[EPOLL_ITEMS];
    unsigned int count;
};

/* The next one that is ready, and, if it is the daemon's, was not reported yet; NULL: none. */
struct epoll_item *epoll_next(const struct kfile *epoll);
void epoll_forget(const struct kfile *file); /* it is closed */

#endif
