/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: what was asked is saved, and asked again by the new process. A RESOLVE begins with
 * its policy; a LIST goes on behind the last record that was sent.
 * Failures: a name that is none, a token that is in use, no memory: the whole state is refused.
 */
#include "daemon/state/questions.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/core/limits.h"
#include "daemon/session/complete.h"
#include "daemon/session/session.h"
#include "daemon/verbs/verbs.h"
#include "proto/codec.h"

static size_t count(const struct list *ops)
{
    size_t n = 0;

    list_for_each (ops, it)
        n++;
    return n;
}

static Asockd__State__Question *add(struct questions_room *room, Asockd__State__Session *to,
                                    const struct op *op)
{
    Asockd__State__Question *q = &room->questions[to->n_questions];

    asockd__state__question__init(q);
    q->verb = op->verb;
    q->token = op->token;
    q->until = op->deadline ? op->deadline->deadline.timer.deadline : 0;
    room->at[to->n_questions++] = q;
    return q;
}

static void add_resolves(struct questions_room *room, Asockd__State__Session *to,
                         const struct list *ops)
{
    list_for_each (ops, it) {
        const struct op *op = container_of(it, struct op, node);
        Asockd__State__Question *q = add(room, to, op);

        q->host = (char *)(uintptr_t)resolve_save(op, &q->family);
    }
}

int questions_save(const struct session *s, struct questions_room *room, Asockd__State__Session *to)
{
    size_t most = count(&s->resolves) + count(&s->resolved) + count(&s->streams);

    if (most == 0)
        return 0;
    room->questions = mem_zalloc(most, sizeof(*room->questions));
    room->at = mem_zalloc(most, sizeof(struct _Asockd__State__Question *));
    if (!room->questions || !room->at)
        return -ENOMEM;
    add_resolves(room, to, &s->resolves);
    add_resolves(room, to, &s->resolved);
    list_for_each (&s->streams, it) {
        const struct op *op = container_of(it, struct op, node);

        add(room, to, op)->place = op->inspect.cursor.place;
    }
    to->questions = room->at;
    return 0;
}

void questions_free_room(struct questions_room *room)
{
    room->questions = mem_free(room->questions);
    room->at = mem_free(room->at);
}

void questions_leave(struct session *s)
{
    list_for_each (&s->resolves, it)
        resolve_leave(container_of(it, struct op, node));
    list_for_each (&s->resolved, it)
        resolve_leave(container_of(it, struct op, node));
}

/* ---- the new one ---- */

static struct op *make(struct session *s, const Asockd__State__Question *from)
{
    struct op *op = op_reserve_deadline(s->worker) ? op_new(s->worker) : NULL;

    if (!op)
        return NULL;
    op->session = s;
    op->token = from->token;
    op->verb = (uint8_t)from->verb;
    return op;
}

static void set_deadline(struct op *op, uint64_t until)
{
    struct worker *w = op->session->worker;
    uint64_t now = w->clock(), ms = until > now ? until - now : 1;

    if (until > 0)
        op_set_deadline(w, op, ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX, complete_timed_out);
}

static bool is_question(const struct session *s, const Asockd__State__Question *from)
{
    bool is_list = from->verb == VERB_LIST || from->verb == VERB_SESSIONS ||
                   from->verb == VERB_STATS;

    return from->token > 0 && !session_find_op((struct session *)(uintptr_t)s, from->token) &&
           (from->verb == VERB_RESOLVE || (is_list && s->stream_count < LIMIT_STREAMS));
}

static int restore(struct state_restorer *r, struct session *s, const Asockd__State__Question *from)
{
    struct op *op;
    int e = 0;

    if (!is_question(s, from))
        return restore_fail(r, "a question is invalid");
    op = make(s, from);
    if (!op)
        return -ENOMEM;
    if (from->verb == VERB_RESOLVE)
        e = resolve_restore(op, from->host, from->family);
    else
        list_restore(op, from->place);
    if (e < 0) {
        op_free(s->worker, op);
        return e == -EINVAL ? restore_fail(r, "a name to resolve is invalid") : e;
    }
    set_deadline(op, from->until);
    r->ops++;
    return 0;
}

int questions_restore(struct state_restorer *r, struct session *s,
                      const Asockd__State__Session *from)
{
    int e = 0;

    if (from->n_questions != from->replies_instead || from->n_questions > from->n_replies)
        return restore_fail(r, "a session's questions are invalid");
    for (size_t i = 0; e == 0 && i < from->n_questions; i++)
        e = restore(r, s, from->questions[i]);
    return e;
}

void questions_resume(struct session *s)
{
    list_for_each_safe (&s->resolves, it)
        resolve_resume(container_of(it, struct op, node));
}
