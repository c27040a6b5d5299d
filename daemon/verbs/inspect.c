/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LIST, SESSIONS, DENIALS, LEARNED, SHOW, STATS (also with `metrics`).
 * Happy path: each record is made when there is room for its reply. SHOW and STATS have one record.
 * The others send one after the other, a few in each turn of the loop, and end with a reply without
 * a record.
 * Failures: too many LISTs at a time; LEARNED or DENIALS on a client's socket; SHOW of an id that
 * does not exist, or that the session may not see.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/session/complete.h"
#include "daemon/session/inspect.h"
#include "daemon/session/session.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

static long next_row(struct op *op, uint8_t *out, size_t cap)
{
    struct session *s = op->session;
    const struct inspect_ops *inspect = s->worker->inspect;
    struct inspect_cursor *cursor = &op->inspect.cursor;

    switch (op->verb) {
    case VERB_LEARNED:
        return inspect->learned(s, cursor, out, cap);
    case VERB_SESSIONS:
        return inspect->sessions(s, cursor, out, cap);
    case VERB_STATS:
        return inspect->metrics(s, cursor, out, cap);
    case VERB_DENIALS:
        return inspect->denials(s, cursor, out, cap);
    default:
        return inspect->list(s, cursor, out, cap);
    }
}

bool verb_may_send_row(struct session *s)
{
    if (s->rows++ == 0)
        worker_defer(s->worker, &s->rows_task);
    if (share_step_is_over(&s->worker->shares)) {
        s->must_pump = true;
        share_wake(&s->share);
        return false;
    }
    return s->rows < TURN_ROWS;
}

static int list_step(struct op *op)
{
    struct session *s = op->session;
    uint8_t record[INSPECT_RECORD_MAX];

    while (s->rows < TURN_ROWS) {
        struct reply reply;
        long n = next_row(op, record, sizeof(record));

        if (n <= 0) {
            complete(op, n < 0 ? asock_error_from_errno((int)n) : ERR_SUCCESS);
            return 1;
        }
        session_fill_reply(op, &reply);
        reply.flags |= REPLY_MORE;
        if (!session_send_reply(s, &reply, record, (uint32_t)n))
            return 0;
        s->worker->inspect->advance(&op->inspect.cursor);
        if (!verb_may_send_row(s))
            return 0;
    }
    return 0;
}

static void list_stop(struct op *op)
{
    op->session->stream_count--;
    op->session->worker->inspect->end(&op->inspect.cursor);
}

static const struct op_class list_class = {.name = "list", .step = list_step, .stop = list_stop};

static void queue(struct op *op)
{
    struct session *s = op->session;

    s->stream_count++;
    op->class = &list_class;
    op_move(op, OP_QUEUED);
    session_hash_op(s, op);
    s->worker->inspect->begin(s, &op->inspect.cursor);
    list_append(&s->streams, &op->node);
}

void list_restore(struct op *op, uint64_t place)
{
    queue(op);
    op->inspect.cursor.place = place;
}

int verb_list(struct op *op, const struct call *call)
{
    struct session *s = op->session;

    (void)call;
    if (s->stream_count >= LIMIT_STREAMS)
        return ERR_NO_BUFFER_SPACE;
    queue(op);
    if (op->node.prev == &s->streams)
        list_step(op);
    return 0;
}

static void record_cleanup(struct op *op)
{
    op->value.bytes = mem_free(op->value.bytes);
}

static void record_fill(struct op *op, struct reply *reply, const void **payload,
                        uint32_t *payload_len)
{
    (void)reply;
    if (op->error)
        return;
    *payload = op->value.bytes->data;
    *payload_len = (uint32_t)op->value.bytes->len;
}

static const struct op_class record_class = {
    .name = "record",
    .cleanup = record_cleanup,
    .fill = record_fill,
};

static int keep_bytes(struct op *op, const void *data, size_t len)
{
    op->value.bytes = mem_alloc(sizeof(struct bytes) + len);
    if (!op->value.bytes)
        return -ENOMEM;
    op->value.bytes->len = len;
    memcpy(op->value.bytes->data, data, len);
    return 0;
}

/* Clears the place, which the op may have used for something else while it waited. */
static void begin_record(struct op *op)
{
    op->class = &record_class;
    op->value.bytes = NULL;
}

int verb_send_record(struct op *op, const uint8_t *record, long n)
{
    begin_record(op);
    if (n == -ESRCH)
        return ERR_NOT_FOUND;
    if (n < 0)
        return (int)asock_error_from_errno((int)n);
    if (keep_bytes(op, record, (size_t)n) < 0)
        return ERR_NO_BUFFER_SPACE;
    complete(op, ERR_SUCCESS);
    return 0;
}

/* It may quote what somebody wrote into a file. */
static void make_valid(char *text)
{
    if (asock_codec_text_is_valid(text, strlen(text)))
        return;
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}

int verb_send_failure(struct op *op, long error, const char *text)
{
    begin_record(op);
    /* Without memory the number has to do. */
    if (text[0] && keep_bytes(op, text, strlen(text) + 1) == 0) {
        make_valid((char *)op->value.bytes->data);
        op->text = (const char *)op->value.bytes->data;
    }
    return (int)asock_error_from_errno((int)error);
}

int verb_show(struct op *op, const struct call *call)
{
    struct session *s = op->session;
    uint8_t record[INSPECT_RECORD_MAX];

    return verb_send_record(
        op, record, s->worker->inspect->show(s, call->request->show.id, record, sizeof(record)));
}

int verb_stats(struct op *op, const struct call *call)
{
    struct session *s = op->session;
    uint8_t record[INSPECT_RECORD_MAX];

    if (call->request->stats.metrics)
        return verb_list(op, call);
    return verb_send_record(op, record, s->worker->inspect->stats(s, record, sizeof(record)));
}
