/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/audit/entry.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "daemon/audit/connect_report.h"
#include "daemon/core/limits.h"
#include "daemon/identity/identity.h"
#include "proto/codec.h"
#include "proto/errors.h"

/* Long enough for the parts that have a bound; a longer unit's name is cut in the message alone. */
#define MESSAGE_MAX 1024u

struct text {
    char *data;
    size_t len, cap;
    bool is_json;
    bool is_full; /* something did not fit */
};

/* The ids of these events. They never change: catalogs and filters of administrators use them. */
static const char *const message_ids[] = {
    [AUDIT_CONNECT] = "9fc9581989f641e29d307868a84e3ee9",
    [AUDIT_RESOLVE] = "5b1a4d6e0c2f4b8fa3d97e61c4088b25",
    [AUDIT_LISTEN] = "7c0f3b5e90a14d0c8b0f6d3d1f5a2e47",
    [AUDIT_ACCEPT] = "e2d5b9a4c6f84e21a7391c05d8be6f13",
    [AUDIT_DENY] = "cf7894db884e434f9f251b35fa29c8ec",
    [AUDIT_CLOSE] = "4cfea5dc56a5464c8c1922cf46b35735",
    [AUDIT_LOST] = "28992f61a3e44891a31f23f792ddd3bc",
};

static const char *const event_names[] = {
    [AUDIT_CONNECT] = "connect", [AUDIT_RESOLVE] = "resolve", [AUDIT_DENY] = "deny",
    [AUDIT_LISTEN] = "listen",   [AUDIT_ACCEPT] = "accept",   [AUDIT_CLOSE] = "close",
    [AUDIT_LOST] = "lost",
};

/* syslog's numbers. */
static const unsigned int priorities[] = {
    [AUDIT_CONNECT] = 6, [AUDIT_RESOLVE] = 6, [AUDIT_LISTEN] = 6, [AUDIT_ACCEPT] = 6,
    [AUDIT_DENY] = 5,    [AUDIT_CLOSE] = 6,   [AUDIT_LOST] = 4,
};

/* ---- texts ---- */

static void add(struct text *t, const void *data, size_t len)
{
    if (len > t->cap - t->len) {
        t->is_full = true;
        return;
    }
    memcpy(t->data + t->len, data, len);
    t->len += len;
}

static void add_string(struct text *t, const char *string)
{
    add(t, string, strlen(string));
}

/* What is not UTF-8 becomes the text \xNN: JSON has no bytes. */
static void add_escaped(struct text *t, const char *value)
{
    char piece[TEXT_JSON_MAX];

    while (*value) {
        value += asock_text_to_json(value, TEXT_TO_NUL, piece);
        add_string(t, piece);
    }
}

/*
 * A newline in a value would end it, and start a field of the client's: such a value has its length
 * in front.
 */
static void add_native(struct text *t, const char *value)
{
    size_t len = strlen(value);
    uint8_t size[8];

    if (!memchr(value, '\n', len)) {
        add(t, "=", 1);
    } else {
        for (size_t i = 0; i < sizeof(size); i++)
            size[i] = (uint8_t)((uint64_t)len >> (8 * i));
        add(t, "\n", 1);
        add(t, size, sizeof(size));
    }
    add(t, value, len);
    add(t, "\n", 1);
}

static void add_field(struct text *t, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    if (t->is_json) {
        add(t, ",\"", 2);
        add_string(t, name);
        add(t, "\":\"", 3);
        add_escaped(t, value);
        add(t, "\"", 1);
    } else {
        add_string(t, name);
        add_native(t, value);
    }
}

static void add_number(struct text *t, const char *name, uint64_t number)
{
    char digits[24];

    snprintf(digits, sizeof(digits), "%" PRIu64, number);
    if (t->is_json) {
        add(t, ",\"", 2);
        add_string(t, name);
        add(t, "\":", 2);
        add_string(t, digits);
    } else {
        add_string(t, name);
        add_native(t, digits);
    }
}

/* ---- messages ---- */

static const char *endpoint_text(const struct endpoint *endpoint,
                                 char out[static INET6_ADDRSTRLEN + 12])
{
    out[0] = '\0';
    if (!endpoint || endpoint->address_len == 0)
        return out;
    inet_ntop(endpoint->address_len == 4 ? AF_INET : AF_INET6, endpoint->address, out,
              INET6_ADDRSTRLEN);
    if (endpoint->scope_id)
        snprintf(out + strlen(out), 12, "%%%u", (unsigned int)endpoint->scope_id);
    return out;
}

static const char *address_of(const struct audit_entry *e, char out[static INET6_ADDRSTRLEN + 12])
{
    return endpoint_text(e->remote, out);
}

static void describe_client(const struct audit_entry *e, bool with_pid, char *out, size_t cap)
{
    const struct identity *identity = e->identity;
    char pid[24] = "", uid[24] = "unknown";

    if (!identity) {
        snprintf(out, cap, "clients");
        return;
    }
    if (identity->uid != IDENTITY_ID_UNKNOWN)
        snprintf(uid, sizeof(uid), "%u", (unsigned int)identity->uid);
    if (with_pid && e->pid > 0)
        snprintf(pid, sizeof(pid), ", pid %d", (int)e->pid);
    if (e->is_uid_only || !identity->unit[0])
        snprintf(out, cap, "uid %s%s", uid, pid);
    else
        snprintf(out, cap, "%s (uid %s%s)", identity->unit, uid, pid);
}

/* "listening on 127.0.0.1 port 80", "a connection from 192.0.2.1 on …" */
static void describe_listening(const struct audit_entry *e, char *out, size_t cap)
{
    char local[INET6_ADDRSTRLEN + 12], peer[INET6_ADDRSTRLEN + 12];

    endpoint_text(e->local, local);
    address_of(e, peer);
    if (peer[0])
        snprintf(out, cap, "a connection from %s on %s port %u", peer, local, e->local->port);
    else
        snprintf(out, cap, "listening on %s port %u", local, e->local->port);
}

static void describe_destination(const struct audit_entry *e, char *out, size_t cap)
{
    char address[INET6_ADDRSTRLEN + 12];

    char port[16] = "";

    if (e->local) {
        describe_listening(e, out, cap);
        return;
    }
    address_of(e, address);
    if (e->port)
        snprintf(port, sizeof(port), " port %u", e->port);
    if (e->host && address[0])
        snprintf(out, cap, "%s (%s)%s", e->host, address, port);
    else if (e->host || address[0])
        snprintf(out, cap, "%s%s", e->host ? e->host : address, port);
    else
        snprintf(out, cap, "further destinations");
}

void audit_entry_describe(const struct audit_entry *entry, char *out, size_t cap)
{
    char client[IDENTITY_UNIT_MAX + 64], destination[CODEC_HOST_MAX + INET6_ADDRSTRLEN + 64];

    describe_client(entry, false, client, sizeof(client));
    describe_destination(entry, destination, sizeof(destination));
    snprintf(out, cap, entry->local ? "%s, %s" : "%s to %s", client, destination);
}

static const char *denial_of(const struct audit_entry *e, const char *to)
{
    if (!e->local)
        return "denied access to";
    return to[0] == 'l' ? "not allowed to start" : "denied"; /* "listening", "a connection" */
}

static void make_close_message(const struct audit_entry *e, const char *client, const char *to,
                               char out[static MESSAGE_MAX])
{
    const char *why = e->reason ? e->reason : e->error ? asock_error_to_text(e->error) : NULL;

    snprintf(out, MESSAGE_MAX,
             "%s between %s and %s ended after %" PRIu64 ".%03u s, %" PRIu64 " bytes in, %" PRIu64
             " out%s%s",
             e->is_datagram ? "traffic" : "connection", client, to, e->duration_ms / 1000,
             (unsigned int)(e->duration_ms % 1000), e->bytes_in, e->bytes_out, why ? ": " : "",
             why ? why : "");
}

static void make_message(const struct audit_entry *e, char out[static MESSAGE_MAX])
{
    char client[IDENTITY_UNIT_MAX + 64], to[CODEC_HOST_MAX + INET6_ADDRSTRLEN + 64];
    const char *error = e->error ? asock_error_to_text(e->error) : NULL;

    describe_client(e, true, client, sizeof(client));
    describe_destination(e, to, sizeof(to));
    switch (e->event) {
    case AUDIT_CONNECT:
        snprintf(out, MESSAGE_MAX, error ? "%s failed to connect to %s: %s" : "%s connected to %s",
                 client, to, error);
        break;
    case AUDIT_RESOLVE:
        snprintf(out, MESSAGE_MAX, error ? "%s failed to resolve %s: %s" : "%s resolved %s", client,
                 e->host, error);
        break;
    case AUDIT_LISTEN:
        snprintf(out, MESSAGE_MAX, "%s is %s", client, to);
        break;
    case AUDIT_ACCEPT:
        snprintf(out, MESSAGE_MAX, "%s accepted %s", client, to);
        break;
    case AUDIT_DENY:
        snprintf(out, MESSAGE_MAX, "%s was %s %s%s%s%s%s%s", client, denial_of(e, to), to,
                 e->reason ? ": " : "", e->reason ? e->reason : "", e->rule && *e->rule ? " (" : "",
                 e->rule ? e->rule : "", e->rule && *e->rule ? ")" : "");
        break;
    case AUDIT_CLOSE:
        make_close_message(e, client, to, out);
        break;
    case AUDIT_LOST:
        snprintf(out, MESSAGE_MAX, "%" PRIu64 " audit entries were lost", e->count);
        break;
    }
}

/* ---- entries ---- */

static void add_id(struct text *t, const char *name, uint32_t id)
{
    if (id != IDENTITY_ID_UNKNOWN)
        add_number(t, name, id);
}

static void add_client(struct text *t, const struct audit_entry *e)
{
    const struct identity *identity = e->identity;

    add_field(t, "ASOCK_LISTENER", e->listener);
    if (!identity)
        return;
    add_id(t, "ASOCK_UID", identity->uid);
    if (e->is_uid_only)
        return;
    add_id(t, "ASOCK_GID", identity->gid);
    add_field(t, "ASOCK_UNIT", identity->unit);
    add_field(t, "ASOCK_USER_UNIT", identity->user_unit);
    add_field(t, "ASOCK_CGROUP", identity->cgroup);
}

static void add_key(struct text *t, const struct audit_entry *e)
{
    char address[INET6_ADDRSTRLEN + 12];

    add_number(t, "PRIORITY", priorities[e->event]);
    add_field(t, "MESSAGE_ID", message_ids[e->event]);
    add_field(t, "SYSLOG_IDENTIFIER", "asockd");
    add_field(t, "ASOCK_EVENT", event_names[e->event]);
    add_client(t, e);
    if (e->is_datagram)
        add_field(t, "ASOCK_PROTOCOL", "udp");
    add_field(t, "ASOCK_HOST", e->host);
    add_field(t, "ASOCK_ADDRESS", address_of(e, address));
    if (e->port)
        add_number(t, "ASOCK_PORT", e->port);
    if (e->local && e->local->address_len > 0) {
        add_field(t, "ASOCK_LOCAL_ADDRESS", endpoint_text(e->local, address));
        add_number(t, "ASOCK_LOCAL_PORT", e->local->port);
    }
    add_field(t, "ASOCK_RULE", e->rule);
    add_field(t, "ASOCK_REASON", e->reason);
    if (e->is_learned)
        add_number(t, "ASOCK_LEARNED", 1);
    add_field(t, "ASOCK_LENT", e->lent);
    if (e->error)
        add_field(t, "ASOCK_ERROR", asock_error_to_name(e->error));
}

static uint64_t time_usec(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void add_report(struct text *t, const struct connect_report *report)
{
    char texts[REPORT_TEXT_MAX];

    connect_report_write_lookups(report, false, texts);
    add_field(t, "ASOCK_LOOKUPS", texts);
    connect_report_write_attempts(report, false, texts);
    add_field(t, "ASOCK_ATTEMPTS", texts);
    if (report->further)
        add_number(t, "ASOCK_FURTHER_ATTEMPTS", report->further);
    if (report->untried)
        add_number(t, "ASOCK_UNTRIED", report->untried);
}

static void add_event(struct text *t, const struct audit_entry *e)
{
    if (e->session)
        add_number(t, "ASOCK_SESSION", e->session);
    if (e->socket)
        add_number(t, "ASOCK_SOCKET", e->socket);
    if (e->pid > 0 && !e->is_uid_only)
        add_number(t, "ASOCK_PID", (uint64_t)e->pid);
    if (e->sharer)
        add_number(t, "ASOCK_SHARER", e->sharer);
    add_field(t, "ASOCK_CLIENT_NAME", e->name);
    if (e->event == AUDIT_CLOSE) {
        add_number(t, "ASOCK_BYTES_IN", e->bytes_in);
        add_number(t, "ASOCK_BYTES_OUT", e->bytes_out);
    }
    if (e->event == AUDIT_CLOSE || e->event == AUDIT_CONNECT || e->event == AUDIT_RESOLVE)
        add_number(t, "ASOCK_DURATION_MS", e->duration_ms);
    if (e->report)
        add_report(t, e->report);
    if (e->count)
        add_number(t, "ASOCK_COUNT", e->count);
}

static struct text begin(enum audit_format format, char *out, size_t cap)
{
    struct text t = {.data = out, .cap = cap, .is_json = format == AUDIT_JSON};

    /* Every field of a line has a comma in front: the time comes first, behind the brace. */
    if (t.is_json)
        add(&t, "{", 1);
    return t;
}

/* The time and the message come first, for people. */
static void add_head(struct text *t, const char *message)
{
    size_t comma = t->len;

    add_number(t, "ASOCK_TIME_USEC", time_usec());
    if (t->is_json && !t->is_full) {
        memmove(t->data + comma, t->data + comma + 1, t->len - comma - 1);
        t->len--;
    }
    add_field(t, "MESSAGE", message);
}

static size_t end(struct text *t)
{
    if (t->is_json)
        add(t, "}\n", 2);
    return t->is_full ? 0 : t->len;
}

size_t audit_entry_write(const struct audit_entry *entry, enum audit_format format, char *out,
                         size_t cap)
{
    struct text t = begin(format, out, cap);
    char message[MESSAGE_MAX];

    make_message(entry, message);
    add_head(&t, message);
    add_key(&t, entry);
    add_event(&t, entry);
    return end(&t);
}

size_t audit_entry_write_key(const struct audit_entry *entry, enum audit_format format, char *out,
                             size_t cap)
{
    struct text t = {.data = out, .cap = cap, .is_json = format == AUDIT_JSON};

    add_key(&t, entry);
    return t.is_full ? 0 : t.len;
}

size_t audit_entry_write_summary(const char *key, size_t key_len, const char *description,
                                 uint64_t count, enum audit_format format, char *out, size_t cap)
{
    struct text t = begin(format, out, cap);
    char message[MESSAGE_MAX];

    snprintf(message, sizeof(message), "denied %" PRIu64 " more times within %u s: %s", count,
             AUDIT_PERIOD_MS / 1000, description);
    add_head(&t, message);
    add(&t, key, key_len);
    add_number(&t, "ASOCK_COUNT", count);
    return end(&t);
}
