/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * MONITOR, on the control listener.
 * Happy path: the session's first one makes it watch, and is answered at once; each later one waits
 * for an event, reports what there is, at most MONITOR_ROWS of them, and ends. What happens between
 * two of them waits in the ring.
 * Failures: no memory for the ring; too many at a time; a time-out, or a cancel: nothing is lost by
 * it.
 */
#include <errno.h>

#include "daemon/session/complete.h"
#include "daemon/session/inspect.h"
#include "daemon/session/session.h"
#include "daemon/session/session_monitor.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

/* Of one MONITOR: its client may do something with them before there are more. */
#define MONITOR_ROWS 256u

static long first_row(struct session *s, uint8_t *out, size_t cap)
{
    const struct field fields[] = {{.name = "event", .text = "watching"},
                                   {.name = "version", .text = PACKAGE_VERSION}};

    s->monitor->has_begun = true;
    return asock_codec_encode_record(fields, sizeof(fields) / sizeof(fields[0]), out, cap);
}

static long next_row(struct op *op, uint8_t *out, size_t cap)
{
    struct session *s = op->session;

    if (op->inspect.cursor.place >= MONITOR_ROWS)
        return 0;
    if (!s->monitor->has_begun)
        return first_row(s, out, cap);
    return monitor_next(s->worker->monitor, &s->monitor->reader, out, cap);
}

static int monitor_step(struct op *op)
{
    struct session *s = op->session;
    uint8_t record[INSPECT_RECORD_MAX];

    while (s->rows < TURN_ROWS) {
        const struct session_monitor before = *s->monitor;
        struct reply reply;
        long n = next_row(op, record, sizeof(record));

        if (n == 0 && op->inspect.cursor.place == 0)
            return 0; /* it waits */
        if (n <= 0) {
            complete(op, n < 0 ? asock_error_from_errno((int)n) : ERR_SUCCESS);
            return 1;
        }
        session_fill_reply(op, &reply);
        reply.flags |= REPLY_MORE;
        if (!session_send_reply(s, &reply, record, (uint32_t)n)) {
            monitor_put_back(&s->monitor->reader, &before.reader);
            s->monitor->has_begun = before.has_begun;
            return 0;
        }
        op->inspect.cursor.place++;
        if (!verb_may_send_row(s))
            return 0;
    }
    return 0;
}

static void monitor_stop(struct op *op)
{
    op->session->stream_count--;
}

static const struct op_class monitor_class = {
    .name = "monitor", .step = monitor_step, .stop = monitor_stop};

int verb_monitor(struct op *op, const struct call *call)
{
    struct session *s = op->session;
    int r;

    if (s->stream_count >= LIMIT_STREAMS)
        return ERR_NO_BUFFER_SPACE;
    r = session_monitor_join(s);
    if (r == -EOPNOTSUPP)
        return ERR_OPERATION_NOT_SUPPORTED;
    if (r < 0) {
        op->text = "too little memory left";
        return ERR_NO_BUFFER_SPACE;
    }
    s->stream_count++;
    op->class = &monitor_class;
    op_move(op, OP_QUEUED);
    session_hash_op(s, op);
    list_append(&s->monitors, &op->node);
    if (call->request->timeout_ms > 0)
        op_set_deadline(s->worker, op, call->request->timeout_ms, complete_timed_out);
    if (op->node.prev == &s->monitors)
        monitor_step(op);
    return 0;
}
