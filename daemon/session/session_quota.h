/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SESSION_QUOTA_H
#define ASOCKD_SESSION_QUOTA_H

#include <stdint.h>

#include "daemon/session/session.h"

struct limits;
struct quota;

/* What Hello asks for; 0: nothing. */
struct ask {
    uint32_t sockets, ops;
    uint64_t send_window, queued_max;
};

/*
 * The session's place in the tree, and what it is promised. Each -EDQUOT comes with a
 * text; after it the session has less than the least, and must end.
 */
int session_quota_enter(struct session *s, const struct session_config *config,
                        char ret_why[static SESSION_WHY_MAX]);
int session_quota_grant(struct session *s, const struct ask *ask,
                        char ret_why[static SESSION_WHY_MAX], struct limits *ret);
void session_quota_said_hello(struct session *s);
/* It has ended: what lingers stays charged, a client it is no more. */
void session_quota_end(struct session *s);
void session_quota_leave(struct session *s);

#endif
