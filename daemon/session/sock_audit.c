/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/session/sock_audit.h"

#include <stdio.h>
#include <string.h>

#include "daemon/audit/monitor.h"
#include "daemon/audit/recent.h"
#include "daemon/audit/rule_counts.h"
#include "daemon/core/quota.h"
#include "daemon/net/tcp.h"
#include "daemon/session/session.h"
#include "daemon/session/sharing.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_bound.h"
#include "daemon/session/sock_lend.h"
#include "daemon/session/sock_policy.h"
#include "proto/errors.h"

static struct audit_entry entry_of(const struct sock *sock, enum audit_event event)
{
    const struct session *s = sock->session;

    return (struct audit_entry){
        .event = event,
        .identity = session_identity(s),
        .pid = s->identity.pid,
        .sharer = s->sharing.sharer ? s->sharing.sharer->id : 0,
        .quota = quota_person(s->quota),
        .session = s->id,
        .socket = sock->serial,
        .listener = s->listener,
        .name = s->name,
        .host = sock->host,
        .port = sock->port,
        .is_datagram = sock->more->dgram != NULL,
    };
}

static uint64_t since(const struct sock *sock, uint64_t then)
{
    return sock->worker->clock() - then;
}

static struct audit_entry entry_of_connect(const struct sock *sock, const struct sock_audit *a,
                                           enum audit_event event, uint64_t now)
{
    struct audit_entry entry = entry_of(sock, event);

    entry.remote = &a->remote;
    entry.rule = a->rule;
    entry.lent = a->lent;
    entry.is_learned = a->is_learned;
    entry.duration_ms = now - a->started;
    return entry;
}

bool sock_audit_begin(struct sock *sock, struct sock_audit *a)
{
    struct audit *audit = sock->worker->audit;
    const struct session *s = sock->session;
    enum policy_audit mode = audit_mode(audit, policy_view_settings(session_view(s))->audit);
    struct audit_entry known;

    a->is_on = mode != POLICY_AUDIT_NO;
    a->is_open = true;
    a->is_watched = monitor_is_watched(sock->worker->monitor);
    a->started = sock->worker->clock();
    if (mode != POLICY_AUDIT_REQUIRED)
        return true;
    known = entry_of(sock, AUDIT_CONNECT);
    return audit_reserve(audit, &known, &a->record) == 0;
}

/* Every connect has one written: without printf() that costs next to nothing. */
static void write_rule(const struct policy_answer *answer, char out[static AUDIT_RULE_MAX])
{
    char digits[16];
    size_t len = answer->file ? strlen(answer->file) : 0, n = sizeof(digits);
    unsigned int line = answer->line;

    out[0] = '\0';
    if (!answer->file)
        return;
    do
        digits[--n] = (char)('0' + line % 10);
    while ((line /= 10) > 0);
    digits[--n] = ':';
    if (len > AUDIT_RULE_MAX - 1 - (sizeof(digits) - n))
        len = AUDIT_RULE_MAX - 1 - (sizeof(digits) - n);
    memcpy(out, answer->file, len);
    memcpy(out + len, digits + n, sizeof(digits) - n);
    out[len + sizeof(digits) - n] = '\0';
}

void sock_audit_judged(struct sock_audit *a, const struct policy_answer *answer,
                       const struct sockaddr *addr)
{
    write_rule(answer, a->rule);
    a->is_denied = !answer->is_allowed;
    a->is_learned = answer->is_learned;
    if (addr)
        netsock_endpoint(addr, &a->remote);
}

void sock_audit_connected(struct sock *sock, struct sock_audit *a, const struct endpoint *remote,
                          const struct connect_report *report)
{
    struct audit_entry entry;

    if (remote->address_len > 0)
        a->remote = *remote; /* else it was reset before it could be asked */
    a->is_open = false;
    rule_counts_add(sock->worker->rule_counts, a->rule);
    sock->remote = a->remote;
    sock->owes_end = true;
    sock->connected = sock->worker->clock();
    entry = entry_of_connect(sock, a, AUDIT_CONNECT, sock->connected);
    entry.report = report;
    monitor_tell(sock->worker->monitor, "connect", &entry);
    if (!a->is_on)
        return;
    audit_tell(sock->worker->audit, &entry, a->record);
    a->record = NULL;
    a->is_on = false;
    sock->is_audited = true;
}

void sock_audit_failed(struct sock *sock, struct sock_audit *a, uint32_t error,
                       const struct connect_report *report)
{
    struct audit_entry entry;

    if (!a->is_open)
        return;
    a->is_open = false;
    rule_counts_add(sock->worker->rule_counts, a->rule);
    entry = entry_of_connect(sock, a, AUDIT_CONNECT, sock->worker->clock());
    entry.report = report;
    entry.error = error;
    monitor_tell(sock->worker->monitor, "connect", &entry);
    if (!a->is_on)
        return;
    audit_tell(sock->worker->audit, &entry, a->record);
    a->record = NULL;
    a->is_on = false;
}

void sock_audit_denied(struct sock *sock, struct sock_audit *a, const char *reason,
                       const struct connect_report *report)
{
    struct audit_entry entry;

    a->record = audit_cancel(a->record);
    if (!a->is_open)
        return;
    a->is_open = false;
    rule_counts_add(sock->worker->rule_counts, a->rule);
    entry = entry_of_connect(sock, a, AUDIT_DENY, sock->worker->clock());
    entry.report = report;
    entry.error = ERR_ACCESS_DENIED;
    entry.reason = reason;
    recent_note(sock->worker->recent, &entry, "connect");
    monitor_tell(sock->worker->monitor, "deny", &entry);
    if (a->is_on)
        audit_deny(sock->worker->audit, &entry);
    a->is_on = false;
}

void sock_audit_listen_denied(struct sock *sock, const struct endpoint *peer,
                              const struct policy_answer *answer)
{
    struct audit *audit = sock->worker->audit;
    struct audit_entry entry = entry_of(sock, AUDIT_DENY);
    char rule[AUDIT_RULE_MAX];

    entry.port = 0;
    entry.local = &sock->more->bound->local;
    entry.remote = peer;
    entry.error = ERR_ACCESS_DENIED;
    entry.reason = answer->reason;
    if (answer->file) {
        snprintf(rule, sizeof(rule), "%s:%u", answer->file, answer->line);
        entry.rule = rule;
    }
    recent_note(sock->worker->recent, &entry, peer ? "accept" : "bind");
    monitor_tell(sock->worker->monitor, "deny", &entry);
    if (audit_mode(audit, policy_view_settings(session_view(sock->session))->audit) !=
        POLICY_AUDIT_NO)
        audit_deny(audit, &entry);
}

void sock_audit_drop(struct sock_audit *a)
{
    a->record = audit_cancel(a->record);
    a->is_on = false;
}

static void tell_local(struct sock *sock, struct sock_audit *a, struct audit_entry *entry)
{
    audit_tell(sock->worker->audit, entry, a->record);
    a->record = NULL;
    a->is_on = false;
}

void sock_audit_listen(struct sock *sock, struct sock_audit *a)
{
    struct audit_entry entry;

    if (!a->is_open)
        return;
    a->is_open = false;
    entry = entry_of(sock, AUDIT_LISTEN);
    entry.port = 0;
    entry.local = &sock->more->bound->local;
    monitor_tell(sock->worker->monitor, "listen", &entry);
    if (a->is_on)
        tell_local(sock, a, &entry);
}

void sock_audit_accepted(struct sock *sock, struct sock_audit *a,
                         const struct policy_answer *answer, const struct endpoint *local)
{
    struct audit_entry entry;
    char rule[AUDIT_RULE_MAX];

    sock->owes_end = true;
    sock->connected = sock->worker->clock();
    entry = entry_of(sock, AUDIT_ACCEPT);
    entry.remote = &sock->remote;
    entry.local = local;
    snprintf(rule, sizeof(rule), "%s:%u", answer->file, answer->line);
    entry.rule = rule;
    monitor_tell(sock->worker->monitor, "accept", &entry);
    if (!a->is_on)
        return;
    sock->is_audited = true;
    tell_local(sock, a, &entry);
}

/* Why, where the client did not ask for it. */
static const char *reason_of(const struct sock *sock)
{
    if (sock->worker->is_stopping)
        return "the daemon is stopping";
    return sock->session->has_ended ? "its session has ended" : NULL;
}

/* A connection that was lost ended with that, whoever closed it afterwards. */
static uint32_t error_of(const struct sock *sock, uint32_t error)
{
    if (error != ERR_SUCCESS && error != ERR_OPERATION_ABORTED)
        return error;
    if (sock->lost_error)
        return sock->lost_error;
    if (sock->receive_error)
        return sock->receive_error;
    return sock->worker->is_stopping ? (uint32_t)ERR_CONNECTION_ABORTED : error;
}

void sock_audit_close(struct sock *sock, uint32_t error, const char *reason)
{
    struct audit_entry entry;

    if (!sock->owes_end)
        return;
    sock->owes_end = false;
    if (!sock->is_audited && !monitor_is_watched(sock->worker->monitor))
        return;
    sock_count_bytes(sock);
    entry = entry_of(sock, AUDIT_CLOSE);
    entry.remote = &sock->remote;
    entry.error = error_of(sock, error);
    entry.reason = reason ? reason : reason_of(sock);
    entry.bytes_in = sock->bytes_in;
    entry.bytes_out = sock->bytes_out;
    entry.duration_ms = since(sock, sock->connected);
    monitor_tell(sock->worker->monitor, "close", &entry);
    if (sock->is_audited)
        audit_tell(sock->worker->audit, &entry, NULL);
    sock->is_audited = false;
}
