/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/audit/connect_report.h"

#include <assert.h>
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/core/quota.h"
#include "proto/errors.h"

/*
 * New reports are compared with as many as were used last: most connections of a client are made
 * alike.
 */
#define REPORTS_COMPARED 8u
/* An attempt's time is worth a word from here on. */
#define SLOW_MS 100u

void connect_report_init(struct connect_report *report)
{
    memset(report, 0, sizeof(*report));
}

static void set_server(struct endpoint *to, const union resolver_address *server)
{
    bool is_ipv4 = server->any.sa_family == AF_INET;

    to->address_len = is_ipv4 ? 4 : 16;
    to->port = ntohs(is_ipv4 ? server->in.sin_port : server->in6.sin6_port);
    if (is_ipv4)
        memcpy(to->address, &server->in.sin_addr, 4);
    else
        memcpy(to->address, &server->in6.sin6_addr, 16);
}

void connect_report_answered(struct report_lookup *lookup, uint32_t ms,
                             const struct resolver_result *result)
{
    memset(lookup, 0, sizeof(*lookup));
    lookup->outcome = result->error == ERR_SUCCESS ? REPORT_OK : REPORT_FAILED;
    lookup->error = (uint16_t)result->error;
    lookup->source = (uint8_t)result->source;
    lookup->ms = ms;
    if (result->source == RESOLVER_SERVER)
        set_server(&lookup->server, &result->server);
}

void connect_report_attempt(struct connect_report *report, const struct report_attempt *attempt)
{
    if (report->attempt_count < REPORT_ATTEMPTS_MAX) {
        report->attempts[report->attempt_count++] = *attempt;
        return;
    }
    report->further++;
    /* Which one has won matters most. */
    if (attempt->outcome == REPORT_OK)
        report->attempts[REPORT_ATTEMPTS_MAX - 1] = *attempt;
}

/* ---- texts ---- */

struct text {
    char *out;
    size_t len, cap;
};

static void __attribute__((format(printf, 2, 3))) add(struct text *t, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(t->out + t->len, t->cap - t->len, format, args);
    va_end(args);
    if (n > 0)
        t->len += (size_t)n < t->cap - t->len ? (size_t)n : t->cap - t->len - 1;
}

static void add_address(struct text *t, const struct endpoint *endpoint)
{
    char address[INET6_ADDRSTRLEN] = "";

    inet_ntop(endpoint->address_len == 4 ? AF_INET : AF_INET6, endpoint->address, address,
              sizeof(address));
    add(t, "%s", address);
    if (endpoint->scope_id)
        add(t, "%%%u", (unsigned int)endpoint->scope_id);
}

static const char *result_name(unsigned int outcome, unsigned int error)
{
    switch (outcome) {
    case REPORT_OK:
        return asock_error_to_name(ERR_SUCCESS);
    case REPORT_FAILED:
        return asock_error_to_name(error);
    case REPORT_DENIED:
        return "denied";
    case REPORT_GIVEN_UP:
        return "given-up";
    default:
        return "running";
    }
}

static void add_server(struct text *t, const struct endpoint *server)
{
    add(t, server->address_len == 16 ? " [" : " ");
    add_address(t, server);
    add(t, server->address_len == 16 ? "]:%u" : ":%u", server->port);
}

void connect_report_write_lookups(const struct connect_report *report, bool for_client,
                                  char out[static REPORT_TEXT_MAX])
{
    static const char *const sources[] = {"nobody", "literal", "hosts", "cache", "server"};
    struct text t = {.out = out, .cap = REPORT_TEXT_MAX};

    out[0] = '\0';
    for (unsigned int i = 0; i < REPORT_LOOKUPS; i++) {
        const struct report_lookup *lookup = &report->lookups[i];

        if (lookup->outcome == REPORT_WAITS)
            continue;
        add(&t, "%sIPv%d %s", t.len > 0 ? ", " : "", i == 0 ? 4 : 6, sources[lookup->source]);
        if (lookup->server.address_len > 0 && !for_client)
            add_server(&t, &lookup->server);
        add(&t, " %s %" PRIu32, result_name(lookup->outcome, lookup->error), lookup->ms);
    }
}

void connect_report_write_attempts(const struct connect_report *report, bool for_client,
                                   char out[static REPORT_TEXT_MAX])
{
    struct text t = {.out = out, .cap = REPORT_TEXT_MAX};

    out[0] = '\0';
    for (uint32_t i = 0; i < report->attempt_count; i++) {
        const struct report_attempt *attempt = &report->attempts[i];

        add(&t, "%s", t.len > 0 ? ", " : "");
        if (for_client && attempt->outcome == REPORT_DENIED)
            add(&t, "hidden");
        else
            add_address(&t, &attempt->address);
        add(&t, " %s %" PRIu32, result_name(attempt->outcome, attempt->error), attempt->ms);
    }
}

static void add_time(struct text *t, uint32_t ms)
{
    if (ms >= SLOW_MS)
        add(t, " after %" PRIu32 ".%" PRIu32 " s", ms / 1000, ms % 1000 / 100);
}

static void add_attempt_reason(struct text *t, const struct report_attempt *attempt, uint32_t error)
{
    add_address(t, &attempt->address);
    if (attempt->outcome == REPORT_FAILED)
        error = attempt->error;
    add(t, ": %s", asock_error_to_text(error));
    add_time(t, attempt->ms);
}

static void add_lookup_reason(struct text *t, const struct connect_report *report, uint32_t error)
{
    static const char *const sources[] = {"no name server has answered", "the host is an address",
                                          "according to the hosts file", "according to the cache",
                                          "according to a name server"};
    const struct report_lookup *last = NULL;

    for (unsigned int i = 0; i < REPORT_LOOKUPS; i++)
        if (report->lookups[i].outcome != REPORT_WAITS &&
            (!last || report->lookups[i].ms >= last->ms))
            last = &report->lookups[i];
    if (!last)
        return;
    if (last->outcome == REPORT_FAILED)
        error = last->error;
    add(t, "%s", asock_error_to_text(error));
    add_time(t, last->ms);
    add(t, " (%s)", sources[last->source]);
}

void connect_report_write_reason(const struct connect_report *report, uint32_t error,
                                 char out[static REPORT_REASON_MAX])
{
    struct text t = {.out = out, .cap = REPORT_REASON_MAX};
    uint32_t more = report->further + report->untried, denied = 0;

    out[0] = '\0';
    for (uint32_t i = 0; i < report->attempt_count; i++) {
        if (report->attempts[i].outcome == REPORT_DENIED) {
            denied++;
            continue;
        }
        add(&t, "%s", t.len > 0 ? "; " : "");
        add_attempt_reason(&t, &report->attempts[i], error);
    }
    if (report->attempt_count == 0)
        add_lookup_reason(&t, report, error);
    if (denied > 0)
        add(&t, "%s%" PRIu32 " denied by policy", t.len > 0 ? "; " : "", denied);
    if (report->attempt_count > 0 && more > 0)
        add(&t, "; %" PRIu32 " more %s", more, more == 1 ? "address" : "addresses");
}

/* ---- what sockets keep ---- */

struct kept_report {
    struct list node; /* of its session */
    struct quota *quota;
    uint32_t refs;
    uint32_t size;  /* of data */
    uint8_t data[]; /* the part of a connect_report that is used, packed */
};

struct packed {
    uint8_t bytes[sizeof(struct connect_report) + REPORT_LOOKUPS]; /* an outcome stands twice */
    uint32_t size;
};

static void pack(struct packed *p, const void *data, size_t len)
{
    assert(len <= sizeof(p->bytes) - p->size);
    memcpy(p->bytes + p->size, data, len);
    p->size += (uint32_t)len;
}

static void pack_report(struct packed *p, const struct connect_report *report)
{
    p->size = 0;
    pack(p, report, offsetof(struct connect_report, lookups));
    for (unsigned int i = 0; i < REPORT_LOOKUPS; i++) {
        pack(p, &report->lookups[i].outcome, 1);
        if (report->lookups[i].outcome != REPORT_WAITS)
            pack(p, &report->lookups[i], sizeof(report->lookups[i]));
    }
    for (uint32_t i = 0; i < report->attempt_count; i++) {
        struct report_attempt attempt = report->attempts[i];

        if (attempt.outcome == REPORT_OK)
            memset(&attempt.address, 0, sizeof(attempt.address)); /* the socket has it */
        pack(p, &attempt, sizeof(attempt));
    }
    pack(p, report->rule, strlen(report->rule) + 1);
}

static size_t take(const struct kept_report *kept, size_t at, void *out, size_t len)
{
    memcpy(out, kept->data + at, len);
    return at + len;
}

void connect_report_open(const struct kept_report *kept, const struct endpoint *connected,
                         struct connect_report *ret)
{
    size_t at;

    connect_report_init(ret);
    at = take(kept, 0, ret, offsetof(struct connect_report, lookups));
    for (unsigned int i = 0; i < REPORT_LOOKUPS; i++) {
        at = take(kept, at, &ret->lookups[i].outcome, 1);
        if (ret->lookups[i].outcome != REPORT_WAITS)
            at = take(kept, at, &ret->lookups[i], sizeof(ret->lookups[i]));
    }
    for (uint32_t i = 0; i < ret->attempt_count; i++) {
        at = take(kept, at, &ret->attempts[i], sizeof(ret->attempts[i]));
        if (ret->attempts[i].outcome == REPORT_OK)
            ret->attempts[i].address = *connected;
    }
    take(kept, at, ret->rule, kept->size - at);
}

static struct kept_report *find_equal(struct list *kept, const struct quota *quota,
                                      const struct packed *p)
{
    unsigned int n = 0;

    list_for_each (kept, it) {
        struct kept_report *report = container_of(it, struct kept_report, node);

        if (n++ == REPORTS_COMPARED)
            return NULL;
        if (report->quota == quota && report->size == p->size &&
            memcmp(report->data, p->bytes, p->size) == 0)
            return report;
    }
    return NULL;
}

static struct kept_report *new_kept(struct quota *quota, const struct packed *p)
{
    size_t size = sizeof(struct kept_report) + p->size;
    struct kept_report *report;

    if (quota_charge(quota, QUOTA_MEMORY, size) < 0)
        return NULL;
    report = mem_alloc(size);
    if (!report) {
        quota_uncharge(quota, QUOTA_MEMORY, size);
        return NULL;
    }
    list_init(&report->node);
    report->quota = quota ? quota_ref(quota) : NULL;
    report->refs = 0;
    report->size = p->size;
    memcpy(report->data, p->bytes, p->size);
    return report;
}

struct kept_report *connect_report_keep(struct list *kept, struct quota *quota,
                                        const struct connect_report *report)
{
    struct packed p;
    struct kept_report *found;

    pack_report(&p, report);
    found = find_equal(kept, quota, &p);
    if (!found)
        found = new_kept(quota, &p);
    if (!found)
        return NULL;
    found->refs++;
    list_remove(&found->node);
    list_prepend(kept, &found->node);
    return found;
}

struct kept_report *connect_report_drop(struct kept_report *report)
{
    struct quota *quota;

    if (!report || --report->refs > 0)
        return NULL;
    quota = report->quota;
    list_remove(&report->node);
    quota_uncharge(quota, QUOTA_MEMORY, sizeof(*report) + report->size);
    mem_free(report);
    quota_unref(quota);
    return NULL;
}

void connect_report_forget(struct list *kept)
{
    while (!list_is_empty(kept))
        list_remove(kept->next);
}
