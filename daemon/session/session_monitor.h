/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SESSION_MONITOR_H
#define ASOCKD_SESSION_MONITOR_H

/* A session that watches what happens: from its first MONITOR until it ends. */
#include <stdint.h>

#include "daemon/audit/monitor.h"

struct session;

struct session_monitor {
    struct session *session;
    struct monitor_reader reader;
    struct task news;
    bool has_begun; /* its first MONITOR was answered */
};

/* s->monitor, made if there is none. -EDQUOT, -ENOMEM, -EOPNOTSUPP: MONITOR is not available. */
int session_monitor_join(struct session *s);
void session_monitor_leave(struct session *s); /* also where it does not watch */

/* Events of the session itself. */
void session_monitor_tell_begin(struct session *s);
void session_monitor_tell_end(struct session *s, uint32_t error, const char *text);
/* A limit that an op ran into. */
void session_monitor_tell_limit(struct session *s, uint64_t sock, uint32_t error, const char *text);

#endif
