/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_TAKE_OVER_LINK_H
#define ASOCKD_TAKE_OVER_LINK_H

/*
 * What two daemons say to each other once TAKE_OVER has completed, on the same connection:
 *
 *     old                              new
 *     STATE, with the memfd        ->
 *     DESCRIPTORS, with up to 253  ->
 *                                  <-  NEXT
 *     ... until all are there ...
 *                                  <-  READY, or FAILED
 *     YOURS, or FAILED             ->
 *
 * The old one goes on with everything unless YOURS has left, and says FAILED before it does; the
 * new one touches nothing before YOURS has come, or the old one's end without a FAILED. The
 * transfer has a deadline, and so has READY, behind it: how long the state takes to be written and
 * read depends on its size.
 */
#include <stdint.h>

/* For all descriptors, and for READY behind them; while it lasts clients wait. */
#define TAKE_OVER_MS 5000u
/* For the old one to write everything down. */
#define TAKE_OVER_SAVE_MS 30000u
/* SCM_MAX_FD: the kernel takes no more with one message. */
#define LINK_DESCRIPTORS_MAX 253u

enum link_kind {
    LINK_STATE = 1,       /* number: of all descriptors that follow */
    LINK_DESCRIPTORS = 2, /* number: of those that come with it */
    LINK_NEXT = 3,
    LINK_READY = 4,
    LINK_FAILED = 5,
    LINK_YOURS = 6,
};

struct link_message {
    uint32_t kind, number;
};

/*
 * until: by the monotonic clock, in milliseconds. 0, -ETIMEDOUT, -EPIPE: the other one has gone,
 * other -errno.
 */
int link_send(int fd, enum link_kind kind, uint32_t number, const int *descriptors,
              unsigned int count, uint64_t until);
/*
 * One message, and the descriptors with it: at most LINK_DESCRIPTORS_MAX, close-on-exec, the
 * caller's. -EMFILE: there was no room for all of them, and none is there; -EPROTO: it is no
 * message.
 */
int link_receive(int fd, struct link_message *ret, int *ret_descriptors, unsigned int *ret_count,
                 uint64_t until);
/*
 * The next message of a SOCK_SEQPACKET socket that has SO_PEEK_OFF, which keeps it: the descriptors
 * are duplicates. -EAGAIN, -EPIPE: there are no more.
 */
int link_peek(int fd, struct link_message *ret, int *ret_descriptors, unsigned int *ret_count);
/* Takes all messages out and closes what comes with them. */
void link_empty(int fd);
/* So many bytes of what comes before all this. */
int link_read(int fd, void *to, unsigned int bytes, uint64_t until);

#endif
