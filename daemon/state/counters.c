/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Saves and restores counters by name. A name that this version does not know is ignored. */
#include "daemon/state/counters.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

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

static_assert(KNOWN <= STATE_COUNTERS, "room for all of them");

void state_save_counters(const struct stats *stats, struct state_counters *room,
                         Asockd__State__Daemon *to)
{
    for (size_t i = 0; i < KNOWN; i++) {
        Asockd__State__Counter *c = &room->counters[i];

        asockd__state__counter__init(c);
        c->name = (char *)(uintptr_t)known[i].name;
        c->values = (uint64_t *)(uintptr_t)((const char *)stats + known[i].offset);
        c->n_values = known[i].count;
        room->at[i] = c;
    }
    to->counters = room->at;
    to->n_counters = KNOWN;
}

static void restore(struct stats *stats, const Asockd__State__Counter *c)
{
    for (size_t i = 0; i < KNOWN; i++) {
        size_t count = c->n_values < known[i].count ? c->n_values : known[i].count;

        if (count > 0 && strcmp(known[i].name, c->name) == 0)
            memcpy((char *)stats + known[i].offset, c->values, count * sizeof(uint64_t));
    }
}

void state_restore_counters(struct stats *stats, const Asockd__State__Daemon *from)
{
    for (size_t i = 0; i < from->n_counters; i++)
        restore(stats, from->counters[i]);
}
