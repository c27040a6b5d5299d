/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_UNREAD_H
#define ASOCKD_UNREAD_H

/*
 * What the other end of a transport has not read yet. The kernel says how much that is, and not
 * what.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct transport;

/* A place in what was written: of what is counted, `before` were written in front of it. */
struct unread_mark {
    uint64_t at; /* in transport->charged */
    uint32_t before;
};

/* What the kernel charges at least for a message of so many bytes. */
uint32_t unread_charge(size_t len);
/*
 * How many of `count` descriptors that were written, at most `each` with a message, may be unread:
 * never fewer than are. It may be more; but if the other end goes on reading, each is soon known to
 * be read.
 */
uint32_t unread_most(const struct transport *t, struct unread_mark *mark, uint32_t count,
                     uint32_t each);
/* True: everything that was written has been read, or the other end is gone. */
bool unread_is_nothing(int fd);

#endif
