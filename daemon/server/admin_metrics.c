/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's metrics, for monitoring systems: a row per sample. Each row describes itself
 * completely, so that a new metric needs no new asockctl. Names of metrics do not change. The
 * values of labels come from enums, and of rules from their files, never from a client.
 */
#include "daemon/server/admin_metrics.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "daemon/audit/audit.h"
#include "daemon/audit/rule_counts.h"
#include "daemon/core/loop.h"
#include "daemon/core/quota.h"
#include "daemon/policy/policy.h"
#include "daemon/server/admin_record.h"
#include "daemon/server/reload.h"
#include "daemon/session/session.h"
#include "proto/codec.h"
#include "proto/errors.h"

#define SAMPLES_MAX 4096u /* per metric */

struct sample {
    const char *label; /* NULL: none */
    uint64_t value;
    const struct histogram *histogram; /* NULL: not a histogram */
};

struct metric {
    const char *name, *type, *unit, *label, *help;
    /*
     * Fills in sample number `number`; false: there is none. NULL: the metric is the counter at
     * offset in struct stats.
     */
    bool (*take)(const struct worker *w, unsigned int number, struct sample *ret);
    size_t offset;
    unsigned int samples;
    uint64_t per; /* the value is divided by this to get the unit; 0: by 1 */
};

static bool take_build(const struct worker *w, unsigned int number, struct sample *ret)
{
    (void)w, (void)number;
    *ret = (struct sample){.label = PACKAGE_VERSION, .value = 1};
    return true;
}

static bool take_uptime(const struct worker *w, unsigned int number, struct sample *ret)
{
    uint64_t now = w->clock();

    (void)number;
    ret->value = now > w->started ? now - w->started : 0;
    return true;
}

/* ---- gauges ---- */

static bool take_sessions(const struct worker *w, unsigned int number, struct sample *ret)
{
    (void)number;
    list_for_each (&w->sessions, it)
        ret->value++;
    return true;
}

#define GAUGE(name, expression)                                                                    \
    static bool name(const struct worker *w, unsigned int number, struct sample *ret)              \
    {                                                                                              \
        (void)number;                                                                              \
        ret->value = (expression);                                                                 \
        return true;                                                                               \
    }

GAUGE(take_sockets, worker_sockets(w))
GAUGE(take_sockets_max, w->fds_max)
GAUGE(take_draining, w->drain_count)
GAUGE(take_buffers, w->buffer_count)
GAUGE(take_shared_listeners, w->shared_listener_count)
GAUGE(take_policy_files, policy_file_count(w->policy))
GAUGE(take_policy_rules, policy_rule_count(w->policy))
GAUGE(take_policy_invalid, policy_is_invalid(w->policy))
GAUGE(take_reload_error, w->reload && w->reload->error[0])
GAUGE(take_log_lost, asock_log_lost())

static bool take_policy_problems(const struct worker *w, unsigned int number, struct sample *ret)
{
    char first[POLICY_PROBLEM_MAX];

    (void)number;
    ret->value = policy_problems(w->policy, first);
    return true;
}

static bool take_quota(const struct worker *w, unsigned int number, struct sample *ret)
{
    ret->label = quota_resource_name((enum quota_resource)number);
    ret->value = quota_usage(w->quota, (enum quota_resource)number).used;
    return true;
}

static bool take_quota_limit(const struct worker *w, unsigned int number, struct sample *ret)
{
    ret->label = quota_resource_name((enum quota_resource)number);
    ret->value = quota_usage(w->quota, (enum quota_resource)number).most;
    return ret->value != QUOTA_NONE;
}

static bool take_quota_refusals(const struct worker *w, unsigned int number, struct sample *ret)
{
    ret->label = quota_resource_name((enum quota_resource)number);
    ret->value = quota_refusals(w->quota, (enum quota_resource)number);
    return true;
}

static bool take_audit(const struct worker *w, unsigned int number, struct sample *ret)
{
    struct audit_stats stats;

    if (!w->audit)
        return false;
    stats = audit_stats(w->audit);
    ret->label = (const char *const[]){"recorded", "dropped", "refused"}[number];
    ret->value = (const uint64_t[]){stats.entries, stats.dropped, stats.refused}[number];
    return true;
}

static bool take_audit_queued(const struct worker *w, unsigned int number, struct sample *ret)
{
    (void)number;
    if (!w->audit)
        return false;
    ret->value = audit_stats(w->audit).queued;
    return true;
}

/* ---- counters and histograms ---- */

static bool take_verb(const struct worker *w, unsigned int number, struct sample *ret)
{
    ret->label = number == 0 ? "unknown" : asock_codec_verb_name(number);
    ret->value = w->stats.verbs[number];
    return ret->label != NULL;
}

static bool take_result(const struct worker *w, unsigned int number, struct sample *ret)
{
    ret->label = asock_error_to_name(number);
    ret->value = w->stats.results[number];
    return true;
}

/* Named by administrators, who write files; their number has a bound. */
static bool take_rule(const struct worker *w, unsigned int number, struct sample *ret)
{
    return rule_counts_at(w->rule_counts, number, &ret->label, &ret->value);
}

#define HISTOGRAM(name, member)                                                                    \
    static bool name(const struct worker *w, unsigned int number, struct sample *ret)              \
    {                                                                                              \
        (void)number;                                                                              \
        ret->histogram = &w->member;                                                               \
        return true;                                                                               \
    }

HISTOGRAM(take_connects, stats.connects)
HISTOGRAM(take_lookups, stats.lookups)
HISTOGRAM(take_turns, turns)
HISTOGRAM(take_waits, shares.waits)

#define COUNTER(name, member, help)                                                                \
    {                                                                                              \
        name, "counter", "", "", help, NULL, offsetof(struct stats, member), 1, 0                  \
    }

static const struct metric metrics[] = {
    {"build", "info", "", "version", "The version of asockd.", take_build, 0, 1, 0},
    {"uptime_seconds", "gauge", "seconds", "", "Time since the daemon started.", take_uptime, 0, 1,
     1000},
    {"sessions", "gauge", "", "", "Sessions of clients and administrators.", take_sessions, 0, 1,
     0},
    {"sockets", "gauge", "", "", "Open network sockets.", take_sockets, 0, 1, 0},
    {"sockets_limit", "gauge", "", "", "Maximum number of network sockets.", take_sockets_max, 0, 1,
     0},
    {"sockets_draining", "gauge", "", "", "Closed sockets whose data is still being sent.",
     take_draining, 0, 1, 0},
    {"shared_buffers", "gauge", "", "", "Shared memory buffers.", take_buffers, 0, 1, 0},
    {"shared_listeners", "gauge", "", "", "Listeners through which sessions share their rights.",
     take_shared_listeners, 0, 1, 0},
    {"quota_used", "gauge", "", "resource", "Use of a resource by all clients.", take_quota, 0,
     QUOTA_RESOURCES, 0},
    {"quota_limit", "gauge", "", "resource", "Limit on a resource for all clients.",
     take_quota_limit, 0, QUOTA_RESOURCES, 0},
    {"quota_refusals", "counter", "", "resource",
     "Requests for more of a resource than was available.", take_quota_refusals, 0, QUOTA_RESOURCES,
     0},
    COUNTER("sessions_accepted", sessions, "Sessions that were accepted."),
    COUNTER("sockets_opened", sockets, "Sockets that were opened."),
    {"requests", "counter", "", "verb", "Requests from clients.", take_verb, 0, VERBS_MAX, 0},
    {"results", "counter", "", "result", "Operations that completed.", take_result, 0, ERR_COUNT,
     0},
    {"rule_connects", "counter", "", "rule",
     "Connect requests by the rule that allowed or denied them, since the policy came into force.",
     take_rule, 0, RULE_COUNTS_MAX, 0},
    COUNTER("connects_denied", connects_denied, "Connect requests that the policy denied."),
    COUNTER("listens_denied", listens_denied, "Requests to listen that the policy denied."),
    COUNTER("accepts_refused", accepts_refused, "Incoming connections that the policy denied."),
    COUNTER("resolves", resolves, "Names that clients resolved without connecting."),
    COUNTER("resolves_denied", resolves_denied,
            "Names that the policy did not allow clients to resolve."),
    COUNTER("protocol_errors", protocol_errors, "Sessions that violated the protocol."),
    COUNTER("accept_stalls", accept_stalls,
            "Number of times that no descriptor was free to accept a client."),
    {"network_received_bytes", "counter", "bytes", "", "Bytes received from the network.", NULL,
     offsetof(struct stats, bytes_in), 1, 0},
    {"network_sent_bytes", "counter", "bytes", "", "Bytes sent to the network.", NULL,
     offsetof(struct stats, bytes_out), 1, 0},
    {"connect_duration_seconds", "histogram", "seconds", "",
     "Time from request to connection, for connect requests that succeeded.", take_connects, 0, 1,
     0},
    {"lookup_duration_seconds", "histogram", "seconds", "",
     "Time from a name query for one address family to its answer.", take_lookups, 0, 1, 0},
    {"turn_duration_seconds", "histogram", "seconds", "",
     "Time spent working between two polls of the event loop.", take_turns, 0, 1, 0},
    {"queue_duration_seconds", "histogram", "seconds", "",
     "Time that a session with pending work waited for the daemon; one wait in 16 is measured.",
     take_waits, 0, 1, 0},
    {"policy_files", "gauge", "", "", "Policy files in force.", take_policy_files, 0, 1, 0},
    {"policy_rules", "gauge", "", "", "Policy rules in force.", take_policy_rules, 0, 1, 0},
    {"policy_invalid", "gauge", "", "", "1 if the policy is invalid, so that everything is denied.",
     take_policy_invalid, 0, 1, 0},
    {"policy_problems", "gauge", "", "", "Mistakes in policy files.", take_policy_problems, 0, 1,
     0},
    COUNTER("reloads", reloads, "Reloads that succeeded."),
    COUNTER("reloads_failed", reloads_failed, "Reloads that failed."),
    {"reload_error", "gauge", "", "", "1 if the last reload failed.", take_reload_error, 0, 1, 0},
    {"audit_entries", "counter", "", "outcome",
     "Audit entries; refused: connect requests denied because a required entry could not be "
     "recorded.",
     take_audit, 0, 3, 0},
    {"audit_queued", "gauge", "", "", "Audit entries waiting to be written.", take_audit_queued, 0,
     1, 0},
    {"log_lines_lost", "counter", "", "",
     "Log lines that were dropped because they could not be "
     "written.",
     take_log_lost, 0, 1, 0},
};

#define METRICS (sizeof(metrics) / sizeof(metrics[0]))

/* "100:3 250:4 ... +Inf:9": bounds in microseconds, each with the number of durations up to it. */
static void add_histogram(struct record *record, const struct histogram *h)
{
    char text[32 * (HISTOGRAM_BOUNDS + 1)];
    uint64_t sum = 0;
    size_t n = 0;

    for (unsigned int i = 0; i < HISTOGRAM_BOUNDS; i++) {
        sum += h->counts[i];
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%" PRIu32 ":%" PRIu64 " ",
                              histogram_bounds_us[i], sum);
    }
    sum += h->counts[HISTOGRAM_BOUNDS];
    snprintf(text + n, sizeof(text) - n, "+Inf:%" PRIu64, sum);
    record_format(record, "buckets", "%s", text);
    record_number(record, "sum_us", h->sum_us);
}

static void fill(struct record *record, const struct metric *metric, const struct sample *sample)
{
    record_text(record, "metric", metric->name);
    record_text(record, "type", metric->type);
    record_text(record, "unit", metric->unit);
    record_text(record, "help", metric->help);
    if (sample->label) {
        record_text(record, "label", metric->label);
        record_text(record, "of", sample->label);
    }
    if (sample->histogram) {
        add_histogram(record, sample->histogram);
        return;
    }
    record_number(record, "value", sample->value);
    record_number(record, "per", metric->per ? metric->per : 1);
}

static bool take(const struct worker *w, const struct metric *metric, unsigned int number,
                 struct sample *ret)
{
    *ret = (struct sample){0};
    if (metric->take)
        return metric->take(w, number, ret);
    memcpy(&ret->value, (const char *)&w->stats + metric->offset, sizeof(ret->value));
    return true;
}

/* The position encodes metric and sample. Samples that do not exist are skipped. */
long admin_metrics(struct session *s, struct inspect_cursor *cursor, uint8_t *out, size_t cap)
{
    if (s->kind != LISTENER_CONTROL)
        return 0;
    for (; cursor->place / SAMPLES_MAX < METRICS; cursor->place++) {
        const struct metric *metric = &metrics[cursor->place / SAMPLES_MAX];
        unsigned int number = (unsigned int)(cursor->place % SAMPLES_MAX);
        struct record record;
        struct sample sample;

        if (number >= metric->samples) {
            cursor->place |= SAMPLES_MAX - 1;
            continue;
        }
        if (!take(s->worker, metric, number, &sample))
            continue;
        record_init(&record);
        fill(&record, metric, &sample);
        return record_encode(&record, out, cap);
    }
    return 0;
}
