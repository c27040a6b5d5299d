/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/session/session_monitor.h"

#include <errno.h>
#include <stdbool.h>

#include "base/alloc.h"
#include "daemon/core/probes.h"
#include "daemon/session/session.h"
#include "daemon/session/sharing.h"
#include "proto/errors.h"

/* Events are reported in a step of its share, as rows are. */
static void on_news(struct task *task)
{
    struct session *s = container_of(task, struct session_monitor, news)->session;

    s->must_pump = true;
    share_wake(&s->share);
}

int session_monitor_join(struct session *s)
{
    struct session_monitor *m;
    int r;

    if (s->monitor)
        return 0;
    if (!s->worker->monitor)
        return -EOPNOTSUPP;
    m = mem_zalloc(1, sizeof(*m));
    if (!m)
        return -ENOMEM;
    m->session = s;
    task_init(&m->news, on_news);
    m->reader.news = &m->news;
    r = monitor_join(s->worker->monitor, &m->reader);
    if (r < 0) {
        mem_free(m);
        return r;
    }
    s->monitor = m;
    return 0;
}

void session_monitor_leave(struct session *s)
{
    struct session_monitor *m = s->monitor;

    if (!m)
        return;
    task_deinit(&m->news);
    monitor_leave(s->worker->monitor, &m->reader);
    s->monitor = mem_free(m);
}

static struct audit_entry entry_of(const struct session *s)
{
    return (struct audit_entry){
        .event = AUDIT_LOST, /* none of a socket */
        .identity = session_identity(s),
        .pid = s->identity.pid,
        .session = s->id,
        .listener = s->listener,
        .name = s->name,
    };
}

void session_monitor_tell_begin(struct session *s)
{
    struct audit_entry entry;

    PROBE3(session_begin, s->id, s->identity.pid, s->identity.uid);
    if (!monitor_is_watched(s->worker->monitor))
        return;
    entry = entry_of(s);
    monitor_tell(s->worker->monitor, "session", &entry);
}

void session_monitor_tell_end(struct session *s, uint32_t error, const char *text)
{
    struct audit_entry entry;

    PROBE3(session_end, s->id, error, text);
    if (!monitor_is_watched(s->worker->monitor))
        return;
    entry = entry_of(s);
    entry.error = error;
    entry.reason = text;
    entry.duration_ms = s->worker->clock() - s->created;
    entry.has_ended = true;
    monitor_tell(s->worker->monitor, "session_end", &entry);
}

void session_monitor_tell_limit(struct session *s, uint64_t sock, uint32_t error, const char *text)
{
    struct audit_entry entry;

    if (!monitor_is_watched(s->worker->monitor))
        return;
    entry = entry_of(s);
    entry.socket = sock;
    entry.error = error;
    entry.reason = text;
    monitor_tell(s->worker->monitor, "limit", &entry);
}
