/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JUDGE: a connect that is only thought of is judged as a real one is, of a session, of a process,
 * or of a client that is only thought of too: the name, then the address if there is one. The name
 * is not resolved. A client asks about its own session.
 */
#include "daemon/server/admin_policy.h"

#include <errno.h>
#include <stdio.h>

#include "daemon/server/admin_record.h"
#include "daemon/core/loop.h"
#include "daemon/identity/identity.h"
#include "daemon/identity/subids.h"
#include "daemon/policy/policy.h"
#include "daemon/policy/learn.h"
#include "daemon/server/question.h"
#include "daemon/server/reload.h"
#include "daemon/server/verdict.h"
#include "daemon/session/complete.h"
#include "daemon/session/session.h"
#include "daemon/session/sock_policy.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

int admin_reload(struct op *op, bool close)
{
    struct reload *reload = op->session->worker->reload;

    if (!reload)
        return -EOPNOTSUPP;
    reload_begin(reload, close, &op->waiting);
    return 0;
}

static void tell_reload(struct op *op, int r, const struct reload_report *report)
{
    uint8_t out[INSPECT_RECORD_MAX];
    struct record record;
    int error;

    if (r < 0) {
        error = verb_send_failure(op, r == -ENOMEM ? r : -EINVAL, report->error);
    } else {
        record_init(&record);
        record_number(&record, "cancelled", report->cancelled);
        record_number(&record, "denied", report->denied);
        record_number(&record, "closed", report->closed);
        if (report->restart[0])
            record_text(&record, "restart", report->restart);
        if (report->lost > 0) {
            record_number(&record, "listeners_lost", report->lost);
            record_format(&record, "problem", "%.512s", report->problem);
        }
        error = verb_send_record(op, out, record_encode(&record, out, sizeof(out)));
    }
    if (error)
        complete(op, (uint32_t)error);
}

void admin_reloaded(struct list *waiting, int r, const struct reload_report *report)
{
    struct op *op;

    while ((op = list_first(waiting, struct op, waiting))) {
        list_remove(&op->waiting); /* another class reports what becomes of it */
        tell_reload(op, r, report);
    }
}

/* ---- JUDGE ---- */

static void take_fields(const struct field *fields, size_t count, void *data)
{
    for (size_t i = 0; i < count; i++)
        if (!question_take(data, &fields[i]))
            return;
}

static bool sees_all(const struct session *s)
{
    return s->kind == LISTENER_CONTROL;
}

static bool is_meant(const struct session *s, const struct question *q)
{
    if (q->has_id)
        return s->id == q->id;
    return q->has_pid && s->identity.pid == q->pid && s->kind != LISTENER_CONTROL;
}

/* The first one of that id, or of that process; NULL: there is none. */
static const struct session *find_session(const struct worker *w, const struct question *q,
                                          uint64_t *ret_count)
{
    const struct session *found = NULL;

    *ret_count = 0;
    list_for_each (&w->sessions, it) {
        const struct session *s = container_of(it, struct session, node);

        if (!is_meant(s, q))
            continue;
        found = found ? found : s;
        ++*ret_count;
    }
    return found;
}

/*
 * The view of a session, which stays its own, or one that is made here. False: the text says why.
 */
static bool find_client(struct session *s, struct question *q, struct judged *ret,
                        struct policy_view **ret_made)
{
    const struct session *found = s;

    *ret_made = NULL;
    *ret = (struct judged){.sees_files = sees_all(s), .generation = s->worker->stats.policies};
    if (sees_all(s))
        found = find_session(s->worker, q, &ret->sessions);
    if (!sees_all(s) && (q->given || q->has_pid || (q->has_id && q->id != s->id)))
        return question_refuse(q, "only the control socket answers questions about other clients");
    if ((q->has_id || q->has_pid) && (q->given || q->has_id == q->has_pid))
        return question_refuse(
            q, "give only one of these: a session, a process, or attributes of a client");
    if (q->has_id && !found)
        return question_refuse(q, "there is no session %llu", (unsigned long long)q->id);
    if (found) {
        ret->view = session_view(found);
        ret->session = found->id;
        ret->may_not_lend = found->sharing.may_not_lend;
        q->given = ~0u;
        return true;
    }
    if (!question_settle_client(q))
        return false;
    subids_mark(s->worker->subids, &q->identity);
    if ((q->has_row || q->has_restriction) && q->given == 0)
        return true; /* all files */
    *ret_made = policy_view_new(s->worker->policy, &q->identity, q->listener);
    ret->view = *ret_made;
    return *ret_made || question_no_memory(q);
}

static bool answer(struct session *s, struct question *q, const struct judged *judged,
                   struct record *ret)
{
    struct destination to;

    if (q->has_row) {
        verdict_row(s->worker->policy, judged, q->row, ret);
        return true;
    }
    if (q->has_restriction) {
        verdict_restriction(s->worker->policy, judged, q->restriction, ret);
        return true;
    }
    if (!question_read(q, s->worker->services, judged->view, &to))
        return false;
    if (q->has_also && judged->session)
        return true; /* all is known of it */
    if (q->has_also)
        verdict_also(judged, q, &to, q->also, ret);
    else
        verdict_record(judged, &to, ret);
    return true;
}

long admin_judge(struct session *s, const uint8_t *question, size_t len, uint8_t *out, size_t cap,
                 char ret_text[static INSPECT_TEXT_MAX])
{
    struct policy_view *made = NULL;
    struct judged judged;
    struct record record;
    struct question q;
    long n = -EINVAL;

    record_init(&record);
    question_init(&q, ret_text);
    if (asock_codec_decode_record(question, len, take_fields, &q) < 0)
        question_refuse(&q, "the question is not a record");
    if (!q.error[0] && find_client(s, &q, &judged, &made) && answer(s, &q, &judged, &record))
        n = record_encode(&record, out, cap);
    else if (q.is_out_of_memory)
        n = -ENOMEM;
    policy_view_free(made);
    question_deinit(&q);
    return n;
}

/* ---- LEARNED ---- */

#define PLACE_DROPPED (UINT64_MAX - 1) /* behind all rules; what is behind that is over */

static long tell_dropped(const struct learn *learn, struct inspect_cursor *cursor, uint8_t *out,
                         size_t cap)
{
    struct record record;

    if (cursor->place > PLACE_DROPPED || !learn_dropped(learn))
        return 0;
    cursor->place = PLACE_DROPPED;
    record_init(&record);
    record_number(&record, "dropped", learn_dropped(learn));
    return record_encode(&record, out, cap);
}

long admin_learned(struct session *s, struct inspect_cursor *cursor, uint8_t *out, size_t cap)
{
    const struct learn *learn = s->worker->learn;
    const struct learn_rule *rule = learn_rule_at(learn, cursor->place);
    struct record record;

    if (!rule)
        return tell_dropped(learn, cursor, out, cap);
    record_init(&record);
    record_text(&record, "file", rule->file);
    record_format(&record, "rule", "%s %s %u",
                  policy_protocol_name((enum policy_protocol)rule->protocol), rule->host,
                  rule->port);
    if (rule->uid != IDENTITY_ID_UNKNOWN)
        record_number(&record, "uid", rule->uid);
    record_number(&record, "count", rule->count);
    record_number(&record, "first", (uint64_t)rule->first);
    record_number(&record, "last", (uint64_t)rule->last);
    return record_encode(&record, out, cap);
}
