/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LIST, SHOW, STATS.
 * Happy path: each record is made when there is room for its reply; a LIST tells one after the other
 * and ends with a reply without a record.
 * Failures: too many LISTs at a time, SHOW of an id that does not exist, or that the asking session may not see.
 */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/complete.h"
#include "daemon/inspect.h"
#include "daemon/session.h"
#include "daemon/verbs.h"
#include "proto/errors.h"

static int list_step(struct op *op)
{
    struct session *s = op->session;
    uint8_t record[INSPECT_RECORD_MAX];

    for (;;) {
        struct inspect_cursor before = op->inspect.cursor;
        struct reply reply;
        long n = s->worker->inspect->list(s, &op->inspect.cursor, record, sizeof(record));

        if (n <= 0) {
            complete(op, n < 0 ? asock_error_from_errno((int)n) : ERR_SUCCESS);
            return 1;
        }
        session_fill_reply(op, &reply);
        reply.flags |= REPLY_MORE;
        if (!session_send_reply(s, &reply, record, (uint32_t)n)) {
            op->inspect.cursor = before;
            return 0;
        }
    }
}

static void list_stop(struct op *op)
{
    op->session->stream_count--;
}

static const struct op_class list_class = {.name = "list", .step = list_step, .stop = list_stop};

int verb_list(struct op *op, const struct call *call)
{
    struct session *s = op->session;

    (void)call;
    if (s->stream_count >= LIMIT_STREAMS)
        return ERR_NO_BUFFER_SPACE;
    s->stream_count++;
    op->class = &list_class;
    op_move(op, OP_QUEUED);
    session_hash_op(s, op);
    list_append(&s->streams, &op->node);
    if (op->node.prev == &s->streams)
        list_step(op);
    return 0;
}

static void record_cleanup(struct op *op)
{
    op->value.octets = mem_free(op->value.octets);
}

static void record_fill(struct op *op, struct reply *reply, const void **payload,
                        uint32_t *payload_len)
{
    (void)reply;
    if (op->error)
        return;
    *payload = op->value.octets->data;
    *payload_len = (uint32_t)op->value.octets->len;
}

static const struct op_class record_class = {
    .name = "record",
    .cleanup = record_cleanup,
    .fill = record_fill,
};

/* n: octets of the record, or -errno. */
static int tell_record(struct op *op, const uint8_t *record, long n)
{
    if (n == -ESRCH)
        return ERR_NOT_FOUND;
    if (n < 0)
        return (int)asock_error_from_errno((int)n);
    op->value.octets = mem_alloc(sizeof(struct octets) + (size_t)n);
    if (!op->value.octets)
        return ERR_NO_BUFFER_SPACE;
    op->value.octets->len = (size_t)n;
    memcpy(op->value.octets->data, record, (size_t)n);
    complete(op, ERR_SUCCESS);
    return 0;
}

int verb_show(struct op *op, const struct call *call)
{
    struct session *s = op->session;
    uint8_t record[INSPECT_RECORD_MAX];

    op->class = &record_class;
    return tell_record(op, record,
                       s->worker->inspect->show(s, call->request->show.id, record, sizeof(record)));
}

int verb_stats(struct op *op, const struct call *call)
{
    struct session *s = op->session;
    uint8_t record[INSPECT_RECORD_MAX];

    (void)call;
    op->class = &record_class;
    return tell_record(op, record, s->worker->inspect->stats(s, record, sizeof(record)));
}
