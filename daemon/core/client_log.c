/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/client_log.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

#define OTHER_CAUSES "other reasons"

struct row {
    uint32_t uid;
    uint64_t repeats;
    uint64_t until;
    char cause[200];
};

struct client_log {
    struct worker *worker;
    struct deadline due;
    /*
     * In the order in which they were added: all periods are the same, so the first one ends first.
     */
    struct row rows[CLIENT_LOG_ROWS];
    uint32_t count;
    uint64_t others; /* that found no row */
    uint64_t others_until;
};

static void tell(const struct row *row)
{
    if (row->repeats > 0)
        log_notice("uid %u: %" PRIu64 " more sessions ended within %u s: %s",
                   (unsigned int)row->uid, row->repeats, CLIENT_LOG_MS / 1000, row->cause);
}

/* The rows and the rest whose time is over. */
static void tell_due(struct client_log *log, uint64_t now)
{
    uint32_t n = 0;

    while (n < log->count && log->rows[n].until <= now)
        tell(&log->rows[n++]);
    log->count -= n;
    memmove(log->rows, log->rows + n, log->count * sizeof(log->rows[0]));
    if (log->others > 0 && log->others_until <= now) {
        log_notice("%" PRIu64 " more sessions of other users ended within %u s", log->others,
                   CLIENT_LOG_MS / 1000);
        log->others = 0;
    }
}

static void watch(struct client_log *log, uint64_t now)
{
    uint64_t due = log->count > 0 ? log->rows[0].until : UINT64_MAX;

    if (log->others > 0 && log->others_until < due)
        due = log->others_until;
    if (due != UINT64_MAX && !deadline_is_set(&log->due))
        worker_set_deadline(log->worker, &log->due, due > now ? due - now : 0);
}

static void on_due(struct deadline *deadline)
{
    struct client_log *log = container_of(deadline, struct client_log, due);
    uint64_t now = log->worker->clock();

    tell_due(log, now);
    watch(log, now);
}

struct client_log *client_log_new(struct worker *w)
{
    struct client_log *log = mem_zalloc(1, sizeof(*log));

    if (!log)
        return NULL;
    log->worker = w;
    deadline_init(&log->due, on_due);
    return log;
}

struct client_log *client_log_free(struct client_log *log)
{
    if (!log)
        return NULL;
    deadline_deinit(&log->due);
    tell_due(log, UINT64_MAX);
    return mem_free(log);
}

static struct row *find(struct client_log *log, uint32_t uid, const char *cause)
{
    for (uint32_t i = 0; i < log->count; i++)
        if (log->rows[i].uid == uid && strcmp(log->rows[i].cause, cause) == 0)
            return &log->rows[i];
    return NULL;
}

static uint32_t count_of(const struct client_log *log, uint32_t uid)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < log->count; i++)
        n += log->rows[i].uid == uid;
    return n;
}

/* True: it is the first one of its kind, to be logged now. */
static bool note(struct client_log *log, uint64_t now, uint32_t uid, const char *cause)
{
    struct row *row = find(log, uid, cause);

    if (!row && count_of(log, uid) >= CLIENT_LOG_ROWS_PER_UID) {
        cause = OTHER_CAUSES;
        row = find(log, uid, cause);
    }
    if (row) {
        row->repeats++;
        return false;
    }
    if (log->count == CLIENT_LOG_ROWS) {
        if (log->others++ == 0)
            log->others_until = now + CLIENT_LOG_MS;
        return false;
    }
    row = &log->rows[log->count++];
    *row = (struct row){.uid = uid, .until = now + CLIENT_LOG_MS};
    snprintf(row->cause, sizeof(row->cause), "%s", cause);
    return true;
}

void client_log_ended(struct client_log *log, uint64_t session, int pid, uint32_t uid,
                      const char *cause)
{
    char cut[sizeof(((struct row *)0)->cause)];
    uint64_t now;

    snprintf(cut, sizeof(cut), "%s", cause);
    if (log) {
        now = log->worker->clock();
        tell_due(log, now);
        if (!note(log, now, uid, cut)) {
            watch(log, now);
            return;
        }
        watch(log, now);
    }
    log_notice("session %" PRIu64 " (pid %d, uid %u) ended: %s", session, pid, (unsigned int)uid,
               cut);
}
