/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Saves and restores counters by name. A name that this version does not know is ignored. */
#include "daemon/state/counters.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "base/log.h"
#include "daemon/audit/audit.h"

static const struct {
    const char *name;
    size_t offset, count;
} known[] = {
#define ONE(field)                                                                                 \
    {                                                                                              \
#field, offsetof(struct stats, field), 1                                                   \
    }
    ONE(turns),
    ONE(sessions),
    ONE(sockets),
    ONE(requests),
    ONE(ops_done),
    ONE(ops_failed),
    ONE(connects_denied),
    ONE(listens_denied),
    ONE(accepts_refused),
    ONE(resolves),
    ONE(resolves_denied),
    ONE(protocol_errors),
    ONE(policies),
    ONE(reloads),
    ONE(reloads_failed),
    ONE(accept_stalls),
    ONE(bytes_in),
    ONE(bytes_out),
#undef ONE
    {"verbs", offsetof(struct stats, verbs), VERBS_MAX},
    {"results", offsetof(struct stats, results), ERR_COUNT},
    {"connect_times", offsetof(struct stats, connects.counts), HISTOGRAM_BOUNDS + 1},
    {"connect_us", offsetof(struct stats, connects.sum_us), 1},
    {"lookup_times", offsetof(struct stats, lookups.counts), HISTOGRAM_BOUNDS + 1},
    {"lookup_us", offsetof(struct stats, lookups.sum_us), 1},
};

#define KNOWN (sizeof(known) / sizeof(known[0]))

#define MORE 7u

static_assert(KNOWN + MORE <= STATE_COUNTERS, "room for all of them");

static void save(struct state_counters *room, Asockd__State__Daemon *to, const char *name,
                 const uint64_t *values, size_t count)
{
    Asockd__State__Counter *c = &room->counters[to->n_counters];

    asockd__state__counter__init(c);
    c->name = (char *)(uintptr_t)name;
    c->values = (uint64_t *)(uintptr_t)values;
    c->n_values = count;
    room->at[to->n_counters++] = c;
    to->counters = room->at;
}

void state_save_counters(const struct stats *stats, struct state_counters *room,
                         Asockd__State__Daemon *to)
{
    for (size_t i = 0; i < KNOWN; i++)
        save(room, to, known[i].name,
             (const uint64_t *)(const void *)((const char *)stats + known[i].offset),
             known[i].count);
}

/* ---- what the worker's objects count ---- */

/* Each with its sum behind it. */
static void save_histogram(struct state_counters *room, Asockd__State__Daemon *to,
                           const char *times, const char *sum, const struct histogram *h)
{
    save(room, to, times, h->counts, HISTOGRAM_BOUNDS + 1);
    save(room, to, sum, &h->sum_us, 1);
}

void state_save_more_counters(const struct worker *w, struct state_counters *room,
                              Asockd__State__Daemon *to)
{
    save_histogram(room, to, "turn_times", "turn_us", &w->turns);
    save_histogram(room, to, "wait_times", "wait_us", &w->shares.waits);
    for (enum quota_resource r = 0; r < QUOTA_RESOURCES; r++)
        room->refusals[r] = quota_refusals(w->quota, r);
    save(room, to, "quota_refusals", room->refusals, QUOTA_RESOURCES);
    room->log_lost = asock_log_lost();
    save(room, to, "log_lost", &room->log_lost, 1);
    if (w->audit) {
        struct audit_stats stats = audit_stats(w->audit);

        room->audit[0] = stats.entries;
        room->audit[1] = stats.dropped;
        room->audit[2] = stats.refused;
        save(room, to, "audit", room->audit, STATE_AUDIT_COUNTS);
    }
}

static bool is_named(const Asockd__State__Counter *c, const char *name, size_t count)
{
    return strcmp(c->name, name) == 0 && c->n_values >= count;
}

static void add(uint64_t *to, size_t count, const Asockd__State__Counter *c)
{
    for (size_t i = 0; i < count && i < c->n_values; i++)
        to[i] += c->values[i];
}

/* This process has counted a little of its own already: its start may have been slow. */
static void restore_more(struct worker *w, const Asockd__State__Counter *c)
{
    if (is_named(c, "turn_times", 0))
        add(w->turns.counts, HISTOGRAM_BOUNDS + 1, c);
    else if (is_named(c, "turn_us", 0))
        add(&w->turns.sum_us, 1, c);
    else if (is_named(c, "wait_times", 0))
        add(w->shares.waits.counts, HISTOGRAM_BOUNDS + 1, c);
    else if (is_named(c, "wait_us", 0))
        add(&w->shares.waits.sum_us, 1, c);
    else if (is_named(c, "quota_refusals", 0))
        for (enum quota_resource r = 0; r < QUOTA_RESOURCES && r < c->n_values; r++)
            quota_add_refusals(w->quota, r, c->values[r]);
    else if (is_named(c, "log_lost", 1))
        asock_log_add_lost(c->values[0]);
    else if (w->audit && is_named(c, "audit", STATE_AUDIT_COUNTS))
        audit_add_stats(w->audit, c->values[0], c->values[1], c->values[2]);
}

/* ---- in the next process ---- */

static void restore(struct stats *stats, const Asockd__State__Counter *c)
{
    for (size_t i = 0; i < KNOWN; i++) {
        size_t count = c->n_values < known[i].count ? c->n_values : known[i].count;

        if (count > 0 && strcmp(known[i].name, c->name) == 0)
            memcpy((char *)stats + known[i].offset, c->values, count * sizeof(uint64_t));
    }
}

void state_restore_counters(struct worker *w, const Asockd__State__Daemon *from)
{
    for (size_t i = 0; i < from->n_counters; i++) {
        restore(&w->stats, from->counters[i]);
        restore_more(w, from->counters[i]);
    }
}
