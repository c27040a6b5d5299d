/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SESSION_AUDIT_H
#define ASOCKD_SESSION_AUDIT_H

/* Records a name that a session resolves in the audit: once, with how that ended. */
#include "daemon/session/sock_audit.h"

struct connect_report;
struct session;

/* Before anybody is asked. False: it has to be recorded, and cannot be. */
bool session_audit_begin(struct session *s, struct sock_audit *a, const char *host);
/* reason: of a denial. report: has the lookups and nothing else. */
void session_audit_resolved(struct session *s, struct sock_audit *a, const char *host,
                            uint32_t error, const char *reason,
                            const struct connect_report *report);

#endif
