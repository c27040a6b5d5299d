/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/sim/watch.h"

#include <string.h>

#include "daemon/core/loop.h"
#include "daemon/session/session.h"
#include "proto/codec.h"
#include "proto/errors.h"
#include "proto/frame.h"
#include "tests/sim/daemon.h"
#include "tests/sim/raw_state.h"
#include "tests/sim/steps.h"

#define SESSIONS_MAX 512

struct walk_seen {
    uint64_t before[SESSIONS_MAX], told[SESSIONS_MAX];
    unsigned int before_count, told_count;
};

struct watcher {
    uint64_t from; /* sessions with this number or later have begun while it watched */
    uint64_t begun[SESSIONS_MAX], ended[SESSIONS_MAX];
    unsigned int begun_count, ended_count;
    uint64_t time_ms;
    bool has_missed;
};

bool watch_is_ask(uint32_t verb)
{
    return verb == VERB_LIST || verb == VERB_SESSIONS || verb == VERB_DENIALS ||
           verb == VERB_LEARNED || verb == VERB_STATS || verb == VERB_MONITOR;
}

static bool has(const uint64_t *ids, unsigned int count, uint64_t id)
{
    for (unsigned int i = 0; i < count; i++)
        if (ids[i] == id)
            return true;
    return false;
}

static void add(uint64_t *ids, unsigned int *count, uint64_t id, const char *what)
{
    if (has(ids, *count, id))
        sim_fail("told-twice: session %llu, %s", (unsigned long long)id, what);
    if (*count < SESSIONS_MAX)
        ids[(*count)++] = id;
}

static void look_at_sessions(struct walk_seen *seen)
{
    list_for_each (&daemon_worker()->sessions, it) {
        const struct session *s = container_of(it, struct session, node);

        if (!s->has_ended && seen->before_count < SESSIONS_MAX)
            seen->before[seen->before_count++] = s->id;
    }
}

void step_raw_ask(const struct step *step)
{
    static const uint32_t verbs[] = {VERB_SESSIONS, VERB_SESSIONS, VERB_LIST,    VERB_DENIALS,
                                     VERB_MONITOR,  VERB_MONITOR,  VERB_LEARNED, VERB_STATS};
    static const uint32_t times[] = {0, 0, 0, 5, 300, 20000};
    struct raw *raw = &raws[step->a % RAW_CLIENTS];
    struct request r = {.verb = verbs[step->b % 8]};
    struct raw_op *op;

    if (!raw->is_there || raw->has_ended || !raw->is_welcome || raw->live + 8 > RAW_OPS)
        return;
    if (r.verb == VERB_MONITOR)
        r.timeout_ms = times[step->c % 6];
    op = raw_request(raw, &r, NULL, 0);
    if (r.verb == VERB_SESSIONS) {
        op->seen = sim_alloc(sizeof(*op->seen));
        look_at_sessions(op->seen);
    }
}

/* ---- what is reported ---- */

struct row {
    const char *event;
    uint64_t id, session, time_ms;
    bool has_event;
};

static void read_row(const struct field *fields, size_t count, void *data)
{
    struct row *row = data;

    for (size_t i = 0; i < count; i++) {
        const struct field *field = &fields[i];

        if (!field->name[0])
            sim_fail("nameless: field %zu of a record", i);
        if (strcmp(field->name, "event") == 0) {
            row->has_event = true;
            row->event = strcmp(field->text, "session") == 0       ? "session"
                         : strcmp(field->text, "session_end") == 0 ? "session_end"
                         : strcmp(field->text, "watching") == 0    ? "watching"
                         : strcmp(field->text, "missed") == 0      ? "missed"
                                                                   : "other";
        } else if (strcmp(field->name, "id") == 0) {
            row->id = (uint64_t)field->number;
        } else if (strcmp(field->name, "session") == 0) {
            row->session = (uint64_t)field->number;
        } else if (strcmp(field->name, "time_ms") == 0) {
            row->time_ms = (uint64_t)field->number;
        }
    }
}

static void watched(struct raw *raw, const struct row *row)
{
    struct watcher *w = raw->watcher;

    if (!row->has_event)
        sim_fail("no-event: a row of MONITOR");
    if (strcmp(row->event, "watching") == 0) {
        if (w)
            sim_fail("told-twice: that a session watches");
        raw->watcher = sim_alloc(sizeof(*w));
        raw->watcher->from = daemon_worker()->next_id;
        return;
    }
    if (!w)
        sim_fail("untold: an event before it was told that the session watches");
    if (row->time_ms < w->time_ms)
        sim_fail("backwards: an event at %llu behind one at %llu", (unsigned long long)row->time_ms,
                 (unsigned long long)w->time_ms);
    w->time_ms = row->time_ms;
    w->has_missed |= strcmp(row->event, "missed") == 0;
    if (strcmp(row->event, "session") == 0) {
        if (w->begun_count > 0 && row->session <= w->begun[w->begun_count - 1])
            sim_fail("overtaken: the begin of session %llu", (unsigned long long)row->session);
        add(w->begun, &w->begun_count, row->session, "begin");
    } else if (strcmp(row->event, "session_end") == 0) {
        add(w->ended, &w->ended_count, row->session, "end");
    }
}

/* Who was there all the time is in it. */
static void judge_walk(const struct raw *raw, const struct raw_op *op)
{
    const struct walk_seen *seen = op->seen;
    struct walk_seen now = {.before_count = 0};

    look_at_sessions(&now);
    for (unsigned int i = 0; i < seen->before_count && raw->is_control; i++)
        if (has(now.before, now.before_count, seen->before[i]) &&
            !has(seen->told, seen->told_count, seen->before[i]))
            sim_fail("left-out: session %llu of SESSIONS", (unsigned long long)seen->before[i]);
    if (!raw->is_control && seen->told_count != 1)
        sim_fail("other-count: a session is told of %u sessions", seen->told_count);
}

static void judge_error(const struct raw *raw, const struct raw_op *op, uint32_t error)
{
    bool is_for_all = op->verb == VERB_LIST || op->verb == VERB_SESSIONS || op->verb == VERB_STATS;

    if (!raw->is_control && !is_for_all && error != ERR_OPERATION_NOT_SUPPORTED)
        sim_fail("served: verb %u of a client ends with %u", op->verb, error);
    if ((raw->is_control || is_for_all) && error && error != ERR_NO_BUFFER_SPACE &&
        !(error == ERR_OPERATION_ABORTED && op->is_cancelled) &&
        !(error == ERR_TIMED_OUT && op->due))
        sim_fail("other-error: verb %u ends with %u", op->verb, error);
}

void watch_told(struct raw *raw, struct raw_op *op, const struct reply *reply,
                const struct frame *frame)
{
    bool is_last = !(reply->flags & REPLY_MORE);
    struct row row = {.event = ""};

    if (!reply->error && frame->payload_len > 0) {
        if (asock_codec_decode_record(frame->payload, frame->payload_len, read_row, &row) < 0)
            sim_fail("no-record: of verb %u", op->verb);
        if (op->verb == VERB_MONITOR)
            watched(raw, &row);
        else if (op->verb == VERB_SESSIONS)
            add(op->seen->told, &op->seen->told_count, row.id, "SESSIONS");
    }
    if (is_last && !reply->error && op->verb == VERB_SESSIONS)
        judge_walk(raw, op);
    if (is_last)
        judge_error(raw, op, reply->error);
    if (is_last) {
        sim_free(op->seen);
        op->seen = NULL;
    }
}

/* ---- the end ---- */

void watch_begin(void)
{
    for (unsigned int i = 0; i < RAW_CLIENTS; i++) {
        for (unsigned int k = 0; k < RAW_OPS; k++)
            if (raws[i].ops[k].seen)
                raws[i].ops[k].seen->before_count = 0;
        if (raws[i].watcher)
            raws[i].watcher->has_missed = true;
    }
}

/* It waits for the next event: what has happened was reported. */
static bool is_up_to_date(const struct raw *raw)
{
    for (unsigned int i = 0; i < RAW_OPS; i++)
        if (raw->ops[i].token && raw->ops[i].verb == VERB_MONITOR && !raw->ops[i].is_cancelled)
            return raw->watcher && !raw->watcher->has_missed;
    return false;
}

void watch_judge(struct raw *raw)
{
    const struct watcher *w = raw->watcher;
    struct walk_seen now = {.before_count = 0};

    if (!is_up_to_date(raw))
        return;
    look_at_sessions(&now);
    for (unsigned int i = 0; i < now.before_count; i++)
        if (now.before[i] >= w->from && !has(w->begun, w->begun_count, now.before[i]))
            sim_fail("lost-event: session %llu has begun", (unsigned long long)now.before[i]);
    for (unsigned int i = 0; i < w->begun_count; i++)
        if (!has(now.before, now.before_count, w->begun[i]) &&
            !has(w->ended, w->ended_count, w->begun[i]))
            sim_fail("lost-event: session %llu has ended", (unsigned long long)w->begun[i]);
}

void watch_forget(struct raw *raw)
{
    for (unsigned int i = 0; i < RAW_OPS; i++)
        sim_free(raw->ops[i].seen);
    sim_free(raw->watcher);
}
