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

/* Nothing can be made before shared_listeners_begin(). */
void shared_listeners_init(struct shared_listeners *shared, struct listeners *ls);
/* The maker process takes dir; once an earlier daemon has ended, whose directory it was. */
void shared_listeners_open(struct shared_listeners *shared, const char *dir);
/* What sessions have by now is kept there; nothing else is. */
void shared_listeners_begin(struct shared_listeners *shared);
/* The sessions of an earlier daemon are this one's: what they have ends with it. */
void shared_listeners_own(struct shared_listeners *shared);
/* No session may be left. */
void shared_listeners_deinit(struct shared_listeners *shared);

#endif
