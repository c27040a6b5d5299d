/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: an entry is written into a record, queued, and flushed at the end of the turn.
 * Failures: the queue is full, or nothing could take entries, or there is no memory: the entry is
 * dropped, counted, and an entry with their number follows as soon as there is room.
 *
 * Whose an entry is has half of what others leave of the queue; half of that is for entries that
 * need not be recorded: who connects more than the journal takes locks out himself, and not where
 * he has to be recorded.
 */
#include "daemon/audit/audit.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/core/quota.h"
#include "daemon/audit/denials.h"
#include "daemon/audit/record.h"
#include "daemon/audit/sink.h"

struct audit {
    struct worker *worker;
    enum policy_audit mode;
    struct audit_sink *sink;
    struct task flush;
    struct deadline loss;    /* is there room to tell it now? */
    struct deadline summary; /* of the denials */
    struct deadline look;    /* at what has been taken */
    uint64_t entries, dropped, refused;
    uint64_t untold;    /* of those dropped */
    uint64_t sink_lost; /* what the sink has given up, as far as it is counted here */
    struct audit_denials denials;
};

/* For anybody's. */
static bool has_room(const struct audit_sink_state *state)
{
    return !state->is_absent && state->count < AUDIT_QUEUE_ENTRIES &&
           state->bytes < AUDIT_QUEUE_BYTES;
}

/* Reported in the log once, and by one entry, a second later at the earliest. */
static void drop(struct audit *audit, uint64_t count)
{
    struct audit_sink_state state = audit->sink->ops->state(audit->sink);

    if (audit->untold == 0) {
        worker_set_deadline(audit->worker, &audit->loss, AUDIT_RETRY_MS);
        log_notice("audit: entries are being lost: %s",
                   state.is_absent ? "the journal's socket does not exist"
                                   : "too many entries are waiting to be written");
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
static bool put_text(struct audit *audit, struct quota *quota, const char *text, size_t len)
{
    struct audit_sink_state state = audit->sink->ops->state(audit->sink);
    struct audit_record *record;

    if (len == 0 || !has_room(&state) || audit_record_new(quota, len, 2, &record) < 0)
        return false;
    record->len = (uint32_t)len;
    memcpy(record->data, text, len);
    put(audit, record);
    return true;
}

static bool put_entry(struct audit *audit, const struct audit_entry *entry)
{
    struct audit_sink_state state = audit->sink->ops->state(audit->sink);
    char text[AUDIT_ENTRY_MAX];

    /* Not worth the writing where it has no place anyway. */
    if (!has_room(&state) || quota_room(entry->quota, QUOTA_AUDIT) == 0)
        return false;
    return put_text(audit, entry->quota, text,
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

/* Not while nothing is taken: the loss after it would be reported again. */
static void tell_loss(struct audit *audit, bool is_last)
{
    struct audit_entry entry = {.event = AUDIT_LOST};
    struct audit_sink_state state = look(audit);
    bool is_taken = is_last || state.stuck_ms < AUDIT_RETRY_MS;

    entry.count = audit->untold;
    if (audit->untold > 0 && is_taken && put_entry(audit, &entry))
        audit->untold = 0;
    if (audit->untold > 0)
        worker_set_deadline(audit->worker, &audit->loss, AUDIT_RETRY_MS);
}

static void on_loss(struct deadline *deadline)
{
    tell_loss(container_of(deadline, struct audit, loss), false);
}

/* What has been taken is not charged any more, though nothing else happens. */
static void look_again(struct audit *audit)
{
    if (look(audit).count > 0 && !deadline_is_set(&audit->look))
        worker_set_deadline(audit->worker, &audit->look, AUDIT_LOOK_MS);
}

static void on_flush(struct task *task)
{
    struct audit *audit = container_of(task, struct audit, flush);

    audit->sink->ops->flush(audit->sink);
    look_again(audit);
}

static void on_look(struct deadline *deadline)
{
    look_again(container_of(deadline, struct audit, look));
}

/* ---- denials ---- */

static void tell_summaries(struct audit *audit, uint64_t now)
{
    char text[AUDIT_ENTRY_MAX];
    size_t len;

    while ((len = audit_denials_next(&audit->denials, now, text, sizeof(text))) > 0) {
        if (!put_text(audit, NULL, text, len))
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
    size_t cap;
    int r;

    if (!has_room(&state) || state.stuck_ms > AUDIT_STUCK_MS) {
        audit->refused++;
        return -EAGAIN;
    }
    cap = AUDIT_OUTCOME_MAX +
          audit_entry_write(known, audit->sink->ops->format, text, sizeof(text));
    r = audit_record_new(known->quota, cap, 1, ret);
    if (r < 0)
        audit->refused++;
    return r == -EDQUOT ? -EAGAIN : r;
}

struct audit_record *audit_cancel(struct audit_record *record)
{
    return audit_record_free(record);
}

/* In the place that was kept for it. */
static void fill_record(struct audit *audit, const struct audit_entry *entry,
                        struct audit_record *record)
{
    size_t len = audit_entry_write(entry, audit->sink->ops->format, record->data, record->cap);

    assert(len > 0);
    record = audit_record_trim(record, len);
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

void audit_add_stats(struct audit *audit, uint64_t entries, uint64_t dropped, uint64_t refused)
{
    audit->entries += entries;
    audit->dropped += dropped;
    audit->refused += refused;
}

const struct audit_denials *audit_denials(const struct audit *audit)
{
    return &audit->denials;
}

int audit_restore_denial(struct audit *audit, const struct audit_denial_past *past)
{
    struct worker *w = audit->worker;
    struct quota *quota;
    char key[16];
    int r;

    snprintf(key, sizeof(key), "%u", (unsigned int)past->user);
    quota = quota_child(w->quota, QUOTA_USER, key);
    if (!quota)
        return -ENOMEM;
    r = audit_denials_restore(&audit->denials, quota, past, w->clock());
    quota_unref(quota);
    watch_denials(audit);
    return r == -EINVAL ? 0 : r;
}

void audit_stop(struct audit *audit)
{
    tell_summaries(audit, UINT64_MAX);
    tell_loss(audit, true);
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
    deadline_init(&audit->look, on_look);
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
        log_warning("audit: %llu entries could not be recorded before asockd stopped",
                    (unsigned long long)(state.count + audit->untold));
    task_deinit(&audit->flush);
    deadline_deinit(&audit->loss);
    deadline_deinit(&audit->summary);
    deadline_deinit(&audit->look);
    audit_denials_deinit(&audit->denials);
    audit->sink->ops->free(audit->sink);
    return mem_free(audit);
}
