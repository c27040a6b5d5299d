/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SESSION_QUOTA_H
#define ASOCKD_SESSION_QUOTA_H

#include <stdint.h>

#include "daemon/session/session.h"

struct limits;
struct quota;

/* What Hello asks that there be at least. */
struct ask {
    uint32_t sockets, ops;
    uint64_t send_window, queued_max;
};

/*
 * The session's place in the tree, and what it is promised at once. -EDQUOT comes with a text;
 * after it there can be no session.
 */
int session_quota_enter(struct session *s, const struct session_config *config,
                        char ret_why[static SESSION_WHY_MAX]);
/* The place of its user among those of a listener, referred to; NULL: no memory. */
struct quota *session_quota_user(const struct identity *identity, struct quota *listener);
/*
 * A client of that listener got no session. What it took is its user's time: a user who has none
 * there, and whom others left no room for, owes nothing.
 */
void session_quota_refused(struct worker *w, struct quota *listener,
                           const struct identity *identity, uint64_t ns);
void session_quota_least(const struct session *s, struct limits *ret);
/* To what it may be raised, however much others have. */
void session_quota_ceilings(const struct session *s, struct limits *ret);
/*
 * The grant is what was asked for at least, or as much of it as there is room for: -EDQUOT (or
 * -ENOMEM, nothing has changed) and a text. What is over a ceiling is not asked for. It never
 * shrinks.
 */
int session_quota_raise(struct session *s, const struct ask *wanted,
                        char ret_why[static SESSION_WHY_MAX]);
/*
 * What an earlier process had granted, at least as much as it has now; while quota_force() is on.
 * -ENOMEM.
 */
int session_quota_restore(struct session *s, const struct limits *granted);
void session_quota_said_hello(struct session *s);
/* It has ended: what lingers stays charged, a client it is no more. */
void session_quota_end(struct session *s);
void session_quota_leave(struct session *s);

#endif
