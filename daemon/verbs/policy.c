/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RELOAD and JUDGE, on the control listener.
 * Happy path: done at once; the answer is a record.
 * Failures: a file that cannot be taken (the old policy stays, the text names file and line), a question
 * that is none.
 */
#include "daemon/session/complete.h"
#include "daemon/session/inspect.h"
#include "daemon/session/session.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

static int answer(struct op *op, const uint8_t *record, long n, const char *text)
{
    return n < 0 ? tell_failure(op, n, text) : tell_record(op, record, n);
}

int verb_reload(struct op *op, const struct call *call)
{
    struct session *s = op->session;
    uint8_t record[INSPECT_RECORD_MAX];
    char text[INSPECT_TEXT_MAX] = "";
    long n = s->worker->inspect->reload(s, call->request->reload.close, record, sizeof(record),
                                        text);

    return answer(op, record, n, text);
}

int verb_judge(struct op *op, const struct call *call)
{
    struct session *s = op->session;
    uint8_t record[INSPECT_RECORD_MAX];
    char text[INSPECT_TEXT_MAX] = "";
    long n = s->worker->inspect->judge(s, call->payload, call->payload_len, record, sizeof(record),
                                       text);

    return answer(op, record, n, text);
}
