/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SERVER_SHARING_H
#define ASOCKD_SERVER_SHARING_H

/*
 * The listeners that SHARE makes (session/sharing.h), with the process that makes and removes them
 * (maker.h).
 */
#include "daemon/server/listener.h"
#include "daemon/server/maker.h"
#include "daemon/session/sharing.h"

struct shared_listeners {
    struct sharing sharing;
    struct listeners *listeners;
    struct maker maker;
};

/*
 * has_maker: the maker process has started. After shared_listeners_wait() it starts later, and
 * shared_listeners_begin() says whether it did.
 */
void shared_listeners_init(struct shared_listeners *shared, struct listeners *ls, bool has_maker);
void shared_listeners_wait(struct shared_listeners *shared);
void shared_listeners_begin(struct shared_listeners *shared, bool has_maker);
/* No session may be left. */
void shared_listeners_deinit(struct shared_listeners *shared);

#endif
