/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/audit/monitor.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "daemon/audit/connect_report.h"
#include "daemon/core/quota.h"
#include "daemon/identity/identity.h"
#include "proto/codec.h"
#include "proto/errors.h"

/*
 * A record that fits into a reply (INSPECT_RECORD_MAX): the longest texts and their names come to
 * 3200 bytes.
 */
#define EVENT_MAX 3584u
/* Of a text that quotes files, which may hold anything. */
#define QUOTED_MAX 512u
#define EVENT_FIELDS_MAX 28u

struct monitor {
    struct worker *worker;
    struct list readers;
    uint8_t *ring;         /* NULL: no reader */
    uint64_t begin, end;   /* bytes of all events before the oldest one, and of all */
    uint64_t oldest, next; /* numbers of events */
};

struct monitor *monitor_new(struct worker *w)
{
    struct monitor *monitor = mem_zalloc(1, sizeof(*monitor));

    if (!monitor)
        return NULL;
    monitor->worker = w;
    list_init(&monitor->readers);
    return monitor;
}

struct monitor *monitor_free(struct monitor *monitor)
{
    if (!monitor)
        return NULL;
    assert(list_is_empty(&monitor->readers) && !monitor->ring);
    return mem_free(monitor);
}

static int get_ring(struct monitor *monitor)
{
    struct quota *quota = monitor->worker->quota;

    if (quota_charge(quota, QUOTA_MEMORY, MONITOR_RING) < 0)
        return -EDQUOT;
    monitor->ring = mem_alloc(MONITOR_RING);
    if (monitor->ring)
        return 0;
    quota_uncharge(quota, QUOTA_MEMORY, MONITOR_RING);
    return -ENOMEM;
}

int monitor_join(struct monitor *monitor, struct monitor_reader *reader)
{
    if (!monitor->ring) {
        int r = get_ring(monitor);

        if (r < 0)
            return r;
        monitor->begin = monitor->end;
        monitor->oldest = monitor->next;
    }
    reader->at = monitor->end;
    reader->number = monitor->next;
    reader->missed = 0;
    list_append(&monitor->readers, &reader->node);
    return 0;
}

void monitor_leave(struct monitor *monitor, struct monitor_reader *reader)
{
    list_remove(&reader->node);
    if (!list_is_empty(&monitor->readers))
        return;
    monitor->ring = mem_free(monitor->ring);
    quota_uncharge(monitor->worker->quota, QUOTA_MEMORY, MONITOR_RING);
}

bool monitor_is_watched(const struct monitor *monitor)
{
    return monitor && monitor->ring;
}

/* ---- the ring ---- */

static void copy_in(struct monitor *monitor, uint64_t at, const void *data, size_t len)
{
    size_t place = at % MONITOR_RING,
           first = MONITOR_RING - place < len ? MONITOR_RING - place : len;

    memcpy(monitor->ring + place, data, first);
    memcpy(monitor->ring, (const uint8_t *)data + first, len - first);
}

static void copy_out(const struct monitor *monitor, uint64_t at, void *data, size_t len)
{
    size_t place = at % MONITOR_RING,
           first = MONITOR_RING - place < len ? MONITOR_RING - place : len;

    memcpy(data, monitor->ring + place, first);
    memcpy((uint8_t *)data + first, monitor->ring, len - first);
}

static void append(struct monitor *monitor, const uint8_t *record, uint32_t len)
{
    while (monitor->end + sizeof(len) + len - monitor->begin > MONITOR_RING) {
        uint32_t oldest;

        copy_out(monitor, monitor->begin, &oldest, sizeof(oldest));
        monitor->begin += sizeof(oldest) + oldest;
        monitor->oldest++;
    }
    copy_in(monitor, monitor->end, &len, sizeof(len));
    copy_in(monitor, monitor->end + sizeof(len), record, len);
    monitor->end += sizeof(len) + len;
    monitor->next++;
}

/* ---- events ---- */

struct event {
    struct field fields[EVENT_FIELDS_MAX];
    size_t count;
};

static void add_text(struct event *event, const char *name, const char *text)
{
    if (!text || !*text)
        return;
    assert(event->count < EVENT_FIELDS_MAX);
    event->fields[event->count++] = (struct field){.name = name, .text = text};
}

static void add_number(struct event *event, const char *name, uint64_t number)
{
    assert(event->count < EVENT_FIELDS_MAX);
    event->fields[event->count++] = (struct field){
        .name = name, .number = number > INT64_MAX ? INT64_MAX : (int64_t)number};
}

static void add_id(struct event *event, const char *name, uint64_t id)
{
    if (id)
        add_number(event, name, id);
}

static void add_client(struct event *event, const struct audit_entry *e)
{
    const struct identity *identity = e->identity;

    add_id(event, "session", e->session);
    add_id(event, "id", e->socket);
    if (!identity)
        return;
    add_id(event, "pid", (uint64_t)e->pid);
    if (identity->uid != IDENTITY_ID_UNKNOWN)
        add_number(event, "uid", identity->uid);
    add_text(event, "unit", identity->unit);
    add_text(event, "user_unit", identity->user_unit);
    add_text(event, "command", identity->comm);
    add_text(event, "listener", e->listener);
    add_text(event, "name", e->name);
}

/* "address:port", as in a row of LIST. port is used if the endpoint has none. */
static const char *write_endpoint(const struct endpoint *endpoint, uint16_t port, char *out,
                                  size_t cap)
{
    char address[INET6_ADDRSTRLEN], scope[16] = "";

    if (!endpoint || endpoint->address_len == 0)
        return NULL;
    inet_ntop(endpoint->address_len == 4 ? AF_INET : AF_INET6, endpoint->address, address,
              sizeof(address));
    if (endpoint->scope_id)
        snprintf(scope, sizeof(scope), "%%%u", (unsigned int)endpoint->scope_id);
    snprintf(out, cap, endpoint->address_len == 4 ? "%s%s:%u" : "[%s%s]:%u", address, scope,
             endpoint->port ? endpoint->port : port);
    return out;
}

/* Texts that are composed for one event. */
struct texts {
    char remote[INET6_ADDRSTRLEN + 32], local[INET6_ADDRSTRLEN + 32];
    char rule[QUOTED_MAX + 1], reason[QUOTED_MAX + 1];
    char lookups[REPORT_TEXT_MAX], attempts[REPORT_TEXT_MAX];
};

static const char *write_quoted(const char *text, char out[static QUOTED_MAX + 1])
{
    snprintf(out, QUOTED_MAX + 1, "%s", text ? text : "");
    if (asock_codec_text_is_valid(out, strlen(out)))
        return out;
    for (char *c = out; *c; c++)
        if (*c < ' ' || *c > '~')
            *c = '?';
    return out;
}

static void add_what(struct event *event, const struct audit_entry *e, struct texts *texts)
{
    add_text(event, "host", e->host);
    add_text(event, "remote",
             write_endpoint(e->remote, e->port, texts->remote, sizeof(texts->remote)));
    add_text(event, "local", write_endpoint(e->local, 0, texts->local, sizeof(texts->local)));
    add_id(event, "port", e->port ? e->port : e->local ? e->local->port : 0);
    add_text(event, "rule", write_quoted(e->rule, texts->rule));
    add_text(event, "lent", e->lent);
    if (e->error)
        add_text(event, "error", asock_error_to_name(e->error));
    add_text(event, "reason", write_quoted(e->reason, texts->reason));
    if (e->event == AUDIT_CLOSE) {
        add_number(event, "bytes_in", e->bytes_in);
        add_number(event, "bytes_out", e->bytes_out);
    }
    if (e->duration_ms || e->has_ended || e->event == AUDIT_CLOSE || e->event == AUDIT_CONNECT ||
        e->event == AUDIT_RESOLVE)
        add_number(event, "duration_ms", e->duration_ms);
}

static void add_report(struct event *event, const struct connect_report *report,
                       struct texts *texts)
{
    connect_report_write_lookups(report, false, texts->lookups);
    add_text(event, "lookups", texts->lookups);
    connect_report_write_attempts(report, false, texts->attempts);
    add_text(event, "attempts", texts->attempts);
    add_id(event, "further", report->further);
    add_id(event, "untried", report->untried);
}

static uint64_t time_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

void monitor_tell(struct monitor *monitor, const char *name, const struct audit_entry *entry)
{
    struct texts texts;
    uint8_t record[EVENT_MAX];
    struct event event;
    long n;

    if (!monitor_is_watched(monitor))
        return;
    event.count = 0;
    add_number(&event, "time_ms", time_ms());
    add_text(&event, "event", name);
    add_client(&event, entry);
    add_what(&event, entry, &texts);
    if (entry->report)
        add_report(&event, entry->report, &texts);
    n = asock_codec_encode_record(event.fields, event.count, record, sizeof(record));
    if (n <= 0)
        return;
    append(monitor, record, (uint32_t)n);
    list_for_each (&monitor->readers, it) {
        struct monitor_reader *reader = container_of(it, struct monitor_reader, node);

        worker_defer(monitor->worker, reader->news);
    }
}

/* ---- readers ---- */

static long tell_missed(uint64_t count, uint8_t *out, size_t cap)
{
    struct event event = {.count = 0};

    add_number(&event, "time_ms", time_ms());
    add_text(&event, "event", "missed");
    add_number(&event, "count", count);
    return asock_codec_encode_record(event.fields, event.count, out, cap);
}

long monitor_next(struct monitor *monitor, struct monitor_reader *reader, uint8_t *out, size_t cap)
{
    uint32_t len;

    if (reader->at < monitor->begin) {
        reader->missed += monitor->oldest - reader->number;
        reader->number = monitor->oldest;
        reader->at = monitor->begin;
    }
    if (reader->missed > 0) {
        long n = tell_missed(reader->missed, out, cap);

        reader->missed = 0;
        return n;
    }
    if (reader->at == monitor->end)
        return 0;
    copy_out(monitor, reader->at, &len, sizeof(len));
    if (len > cap)
        return -EMSGSIZE;
    copy_out(monitor, reader->at + sizeof(len), out, len);
    reader->at += sizeof(len) + len;
    reader->number++;
    return (long)len;
}

void monitor_put_back(struct monitor_reader *reader, const struct monitor_reader *before)
{
    reader->at = before->at;
    reader->number = before->number;
    reader->missed = before->missed;
}
