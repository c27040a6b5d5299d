/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: an entry is written into a record, queued, and flushed at the end of the turn.
 * Failures: the queue is full, or nothing could take entries, or there is no memory: the entry is dropped,
 * counted, and the number told as an entry as soon as there is room.
 *
 * Entries that have to be recorded may use the whole queue, others half of it: who connects more
 * than the journal takes locks out his like, not them.
 */
#include "daemon/audit/audit.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/audit/denials.h"
#include "daemon/audit/sink.h"

struct audit {
    struct worker *worker;
    enum policy_audit mode;
    struct audit_sink *sink;
    struct task flush;
    struct deadline loss;    /* is there room to tell it now? */
    struct deadline summary; /* of the denials */
    uint64_t entries, dropped, refused;
    uint64_t untold;    /* of those dropped */
    uint64_t sink_lost; /* what the sink has given up, as far as it is counted here */
    struct audit_denials denials;
};

static bool has_room(const struct audit_sink_state *state, unsigned int share)
{
    return !state->is_absent && state->count < AUDIT_QUEUE_ENTRIES / share &&
           state->bytes < AUDIT_QUEUE_BYTES / share;
}

/* Told to the log once, and by an entry, a second later at the earliest: not one by one. */
static void drop(struct audit *audit, uint64_t count)
{
    struct audit_sink_state state = audit->sink->ops->state(audit->sink);

    if (audit->untold == 0) {
        worker_set_deadline(audit->worker, &audit->loss, AUDIT_RETRY_MS);
        log_notice("audit: entries are lost: %s", state.is_absent ? "no journal" : "too many wait");
    }
    audit->dropped += count;
    audit->untold += count;
}

static void put(struct audit *audit, struct audit_record *record)
{
    audit->entries++;
    audit->sink->ops->put(audit->sink, record);
    worker_flush_later(audit->worker, &audit->flush);
}

/* In a record of its size, if there is room. len 0: it could not be written. */
static bool put_text(struct audit *audit, const char *text, size_t len)
{
    struct audit_sink_state state = audit->sink->ops->state(audit->sink);
    struct audit_record *record = NULL;

    if (len > 0 && has_room(&state, 2))
        record = mem_alloc(sizeof(*record) + len);
    if (!record)
        return false;
    list_init(&record->node);
    record->len = record->cap = (uint32_t)len;
    memcpy(record->data, text, len);
    put(audit, record);
    return true;
}

static bool put_entry(struct audit *audit, const struct audit_entry *entry)
{
    struct audit_sink_state state = audit->sink->ops->state(audit->sink);
    char text[AUDIT_ENTRY_MAX];

    /* Not worth the writing where it has no place anyway. */
    if (!has_room(&state, 2))
        return false;
    return put_text(audit, text,
                    audit_entry_write(entry, audit->sink->ops->format, text, sizeof(text)));
}

/* What the sink gave up after it had taken it. */
static struct audit_sink_state look(struct audit *audit)
{
    struct audit_sink_state state = audit->sink->ops->state(audit->sink);

    if (state.lost > audit->sink_lost) {
        drop(audit, state.lost - audit->sink_lost);
        audit->sink_lost = state.lost;
    }
    return state;
}

static void tell_loss(struct audit *audit)
{
    struct audit_entry entry = {.event = AUDIT_LOST};

    look(audit);
    entry.count = audit->untold;
    if (audit->untold > 0 && put_entry(audit, &entry))
        audit->untold = 0;
    if (audit->untold > 0)
        worker_set_deadline(audit->worker, &audit->loss, AUDIT_RETRY_MS);
}

static void on_loss(struct deadline *deadline)
{
    tell_loss(container_of(deadline, struct audit, loss));
}

static void on_flush(struct task *task)
{
    struct audit *audit = container_of(task, struct audit, flush);

    audit->sink->ops->flush(audit->sink);
    look(audit);
}

/* ---- denials ---- */

static void tell_summaries(struct audit *audit, uint64_t now)
{
    char text[AUDIT_ENTRY_MAX];
    size_t len;

    while ((len = audit_denials_next(&audit->denials, now, text, sizeof(text))) > 0) {
        if (!put_text(audit, text, len))
            drop(audit, 1);
    }
}

static void watch_denials(struct audit *audit)
{
    uint64_t now = audit->worker->clock(), due = audit_denials_due(&audit->denials);

    if (due != UINT64_MAX && !wheel_timer_is_set(&audit->summary.timer))
        worker_set_deadline(audit->worker, &audit->summary, due > now ? due - now : 0);
}

static void on_summary(struct deadline *deadline)
{
    struct audit *audit = container_of(deadline, struct audit, summary);

    tell_summaries(audit, audit->worker->clock());
    watch_denials(audit);
}

void audit_deny(struct audit *audit, const struct audit_entry *entry)
{
    struct audit_entry told = *entry;

    tell_summaries(audit, audit->worker->clock());
    if (audit_denials_take(&audit->denials, &told, audit->worker->clock()))
        audit_tell(audit, &told, NULL);
    watch_denials(audit);
}

/* ---- entries ---- */

int audit_reserve(struct audit *audit, const struct audit_entry *known, struct audit_record **ret)
{
    struct audit_sink_state state = look(audit);
    char text[AUDIT_ENTRY_MAX];
    struct audit_record *record;
    size_t cap;

    if (!has_room(&state, 1) || state.stuck_ms > AUDIT_STUCK_MS) {
        audit->refused++;
        return -EAGAIN;
    }
    cap = AUDIT_OUTCOME_MAX +
          audit_entry_write(known, audit->sink->ops->format, text, sizeof(text));
    record = mem_alloc(sizeof(*record) + cap);
    if (!record) {
        audit->refused++;
        return -ENOMEM;
    }
    list_init(&record->node);
    record->cap = (uint32_t)cap;
    *ret = record;
    return 0;
}

struct audit_record *audit_cancel(struct audit_record *record)
{
    return mem_free(record);
}

/* In the place that was kept for it. */
static void fill_record(struct audit *audit, const struct audit_entry *entry,
                        struct audit_record *record)
{
    size_t len = audit_entry_write(entry, audit->sink->ops->format, record->data, record->cap);
    struct audit_record *less;

    assert(len > 0);
    less = mem_realloc(record, sizeof(*record) + len);
    if (less)
        record = less;
    list_init(&record->node); /* may have moved; it was in no list */
    record->len = record->cap = (uint32_t)len;
    put(audit, record);
}

void audit_tell(struct audit *audit, const struct audit_entry *entry, struct audit_record *record)
{
    look(audit);
    if (record)
        fill_record(audit, entry, record);
    else if (!put_entry(audit, entry))
        drop(audit, 1);
}

void audit_set_mode(struct audit *audit, enum policy_audit mode)
{
    audit->mode = mode;
}

enum policy_audit audit_mode(const struct audit *audit, enum policy_audit setting)
{
    if (!audit)
        return POLICY_AUDIT_NO;
    return setting == POLICY_AUDIT_UNSET ? audit->mode : setting;
}

struct audit_stats audit_stats(struct audit *audit)
{
    struct audit_sink_state state = look(audit);

    return (struct audit_stats){
        .entries = audit->entries,
        .queued = state.count,
        .dropped = audit->dropped,
        .refused = audit->refused,
    };
}

void audit_stop(struct audit *audit)
{
    tell_summaries(audit, UINT64_MAX);
    tell_loss(audit);
}

bool audit_is_idle(struct audit *audit)
{
    struct audit_sink_state state = look(audit);

    return state.count == 0;
}

/* ---- life ---- */

int audit_new(struct worker *w, const struct audit_config *config, struct audit **ret)
{
    struct audit *audit = mem_zalloc(1, sizeof(*audit));
    const char *why;
    int r;

    if (!audit)
        return -ENOMEM;
    if (config->file) {
        r = audit_file_new(config->file, &audit->sink, &why);
    } else {
        r = audit_journal_new(w, config->journal, &audit->sink);
        why = strerror(-r);
    }
    if (r < 0) {
        log_error("audit: %s: %s", config->file ? config->file : config->journal, why);
        mem_free(audit);
        return r;
    }
    audit->worker = w;
    audit->mode = config->mode;
    audit_denials_init(&audit->denials, audit->sink->ops->format);
    task_init(&audit->flush, on_flush);
    deadline_init(&audit->loss, on_loss);
    deadline_init(&audit->summary, on_summary);
    *ret = audit;
    return 0;
}

struct audit *audit_free(struct audit *audit)
{
    struct audit_sink_state state;

    if (!audit)
        return NULL;
    state = look(audit);
    if (state.count + audit->untold > 0)
        log_warning("audit: %llu entries are lost with this stop",
                    (unsigned long long)(state.count + audit->untold));
    task_deinit(&audit->flush);
    deadline_deinit(&audit->loss);
    deadline_deinit(&audit->summary);
    audit_denials_deinit(&audit->denials);
    audit->sink->ops->free(audit->sink);
    return mem_free(audit);
}
