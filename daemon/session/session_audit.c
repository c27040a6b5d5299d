/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/session/session_audit.h"

#include "daemon/audit/monitor.h"
#include "daemon/audit/recent.h"
#include "daemon/core/quota.h"
#include "daemon/session/session.h"
#include "daemon/session/sharing.h"
#include "daemon/session/sock_policy.h"
#include "proto/errors.h"

static struct audit_entry entry_of(const struct session *s, const char *host)
{
    return (struct audit_entry){
        .event = AUDIT_RESOLVE,
        .identity = session_identity(s),
        .pid = s->identity.pid,
        .sharer = s->sharing.sharer ? s->sharing.sharer->id : 0,
        .quota = quota_person(s->quota),
        .session = s->id,
        .listener = s->listener,
        .name = s->name,
        .host = host,
    };
}

bool session_audit_begin(struct session *s, struct sock_audit *a, const char *host)
{
    struct audit *audit = s->worker->audit;
    enum policy_audit mode = audit_mode(audit, policy_view_settings(session_view(s))->audit);
    struct audit_entry known;

    a->is_on = mode != POLICY_AUDIT_NO;
    a->is_watched = monitor_is_watched(s->worker->monitor);
    a->started = s->worker->clock();
    if (mode != POLICY_AUDIT_REQUIRED)
        return true;
    known = entry_of(s, host);
    return audit_reserve(audit, &known, &a->record) == 0;
}

void session_audit_resolved(struct session *s, struct sock_audit *a, const char *host,
                            uint32_t error, const char *reason, const struct connect_report *report)
{
    struct audit_entry entry = entry_of(s, host);

    if (!a->is_on && !a->is_watched && error != ERR_ACCESS_DENIED)
        return;
    entry.rule = a->rule;
    entry.is_learned = a->is_learned;
    entry.error = error;
    entry.report = report;
    entry.duration_ms = s->worker->clock() - a->started;
    if (error != ERR_ACCESS_DENIED) {
        monitor_tell(s->worker->monitor, "resolve", &entry);
        if (a->is_on)
            audit_tell(s->worker->audit, &entry, a->record);
        a->is_on = false;
        a->record = NULL;
        return;
    }
    a->record = audit_cancel(a->record);
    entry.event = AUDIT_DENY;
    entry.remote = &a->remote;
    entry.reason = reason;
    recent_note(s->worker->recent, &entry, "resolve");
    monitor_tell(s->worker->monitor, "deny", &entry);
    if (a->is_on)
        audit_deny(s->worker->audit, &entry);
    a->is_on = false;
}
