/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: readable -> fill -> frame by frame to the dispatcher -> replies -> flush.
 * Failures: no room for replies (reading pauses until the client reads), more input than a turn's
 * share (the rest in the next turn), end of stream (every socket closes gracefully, S42), a broken
 * rule (the client gets an error, then the same), no memory for an op (a little later again).
 */
#include "daemon/session/latency.h"
#include "daemon/session/session.h"
#include "daemon/session/session_monitor.h"
#include "daemon/session/session_end.h"
#include "daemon/session/session_farewell.h"
#include "daemon/session/session_quota.h"
#include "daemon/session/session_sockets.h"
#include "daemon/session/settle.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/audit/connect_report.h"
#include "daemon/core/quota.h"
#include "daemon/core/client_log.h"
#include "daemon/policy/policy.h"
#include "daemon/session/sock.h"
#include "daemon/session/sharing.h"
#include "daemon/session/sock_lend.h"
#include "daemon/session/window.h"
#include "proto/errors.h"

static struct session *session_of(struct transport *t)
{
    return container_of(t, struct session, transport);
}

static void on_readable(struct transport *t)
{
    session_resume_later(session_of(t));
}

static void on_writable(struct transport *t)
{
    struct session *s = session_of(t);

    s->must_write = true;
    share_wake(&s->share);
}

static void on_drained(struct transport *t)
{
    session_has_room(session_of(t));
}

/* The other end is gone: what it sent before is still read, then the session ends. */
static void on_lost(struct transport *t)
{
    session_resume_later(session_of(t));
}

/* The answer to what was sent is awaited: it may come at once, and both travel together. */
static bool on_awaits(struct transport *t)
{
    struct session *s = session_of(t);
    struct sock *sock = latency_awaited(s);

    if (!sock)
        return false;
    if (list_is_linked(&sock->node) || !latency_reads_at_once(s))
        return true;
    sock->wants_read = false;
    sock_run_receives(sock);
    latency_has_read(s, t->must_leave);
    return !t->must_leave;
}

/* What the session does next in its slice may give more replies, which travel with these. */
static bool on_goes_on(struct transport *t)
{
    return share_goes_on(&session_of(t)->share);
}

static const struct transport_ops transport_ops = {
    .readable = on_readable,
    .writable = on_writable,
    .drained = on_drained,
    .goes_on = on_goes_on,
    .awaits = on_awaits,
    .lost = on_lost,
};

static void step_pump(struct session *s)
{
    s->must_pump = false;
    session_pump(s);
}

static void step_write(struct session *s)
{
    s->must_write = false;
    if (!s->has_ended)
        transport_write(&s->transport);
    else
        session_write_rest(s);
}

static void step_ready(struct session *s)
{
    struct sock *sock = list_first(&s->ready, struct sock, ready);

    list_remove(&sock->ready);
    /* One that still has an id will be closed. */
    if (!s->is_dying || sock->id == 0)
        sock_run_events(sock);
}

static void step_read(struct session *s)
{
    s->must_read = false;
    session_run_input(s);
}

static void step_resolved(struct session *s)
{
    struct op *op = list_first(&s->resolved, struct op, node);

    op->class->step(op);
}

enum step {
    STEP_WRITE,
    STEP_PUMP,
    STEP_READY,
    STEP_READ,
    STEP_ACCEPT,
    STEP_END,
    STEP_DISCARD,
    STEP_RESOLVED,
    STEP_JUDGE,
    STEP_KILL,
    STEP_CLOSE,
    STEP_EMPTY,
    STEPS,
};

static void (*const steps[STEPS])(struct session *s) = {
    [STEP_WRITE] = step_write,           [STEP_PUMP] = step_pump,
    [STEP_READY] = step_ready,           [STEP_READ] = step_read,
    [STEP_ACCEPT] = session_accept_step, [STEP_END] = session_end_with_sharer,
    [STEP_DISCARD] = session_discard,    [STEP_RESOLVED] = step_resolved,
    [STEP_JUDGE] = session_judge_step,   [STEP_KILL] = session_kill_step,
    [STEP_CLOSE] = session_close_step,   [STEP_EMPTY] = session_empty_step,
};

/* A bit for each kind of step that there is work for. */
static unsigned int due_steps(const struct session *s)
{
    bool may_read = !s->is_condemned && !s->sharing.must_end;

    return (unsigned int)s->must_write << STEP_WRITE | (unsigned int)s->must_pump << STEP_PUMP |
           (unsigned int)!list_is_empty(&s->ready) << STEP_READY |
           (unsigned int)(s->must_read && may_read) << STEP_READ |
           (unsigned int)(s->sharing.must_accept && !s->is_condemned) << STEP_ACCEPT |
           (unsigned int)s->sharing.must_end << STEP_END |
           (unsigned int)s->must_discard << STEP_DISCARD |
           (unsigned int)!list_is_empty(&s->resolved) << STEP_RESOLVED |
           (unsigned int)s->must_judge << STEP_JUDGE |
           (unsigned int)(s->is_condemned && !s->has_ended) << STEP_KILL |
           (unsigned int)s->is_dying << STEP_CLOSE |
           (unsigned int)!list_is_empty(&s->emptying) << STEP_EMPTY;
}

/* Each kind that there is work of has its turn: the first one behind the last that ran. */
static bool on_step(struct share *share)
{
    struct session *s = container_of(share, struct session, share);
    unsigned int due = due_steps(s), behind = due & ~0u << (s->last_step + 1);

    if (due) {
        s->last_step = (uint8_t)__builtin_ctz(behind ? behind : due);
        steps[s->last_step](s);
    }
    worker_settle(s->worker);
    return due_steps(s) != 0;
}

static void on_retry(struct deadline *deadline)
{
    struct session *s = container_of(deadline, struct session, retry);

    if (s->has_ended)
        session_write_rest(s);
    else
        session_has_room(s);
}

static void on_no_hello(struct deadline *deadline)
{
    struct session *s = container_of(deadline, struct session, hello);
    char text[64];

    snprintf(text, sizeof(text), "the client did not send Hello within %u seconds",
             (unsigned int)s->worker->hello_ms / 1000);
    session_end(s, ERR_TIMED_OUT, text);
}

static void on_gone(struct task *task)
{
    struct session *s = container_of(task, struct session, gone);
    struct worker *w = s->worker;

    assert(list_is_empty(&s->sharing.sharees) && list_is_empty(&s->sharing.listeners));
    assert(list_is_empty(&s->lingering) && list_is_empty(&s->done) && list_is_empty(&s->streams));
    assert(list_is_empty(&s->monitors) && !s->monitor);
    assert(list_is_empty(&s->resolves) && list_is_empty(&s->resolved));
    assert(list_is_empty(&s->restricts));
    assert(list_is_empty(&s->room_waiters));
    assert(list_is_empty(&s->room_tries) && list_is_empty(&s->lend_waiters));
    assert(list_is_empty(&s->settling));
    assert(!s->batch_of && !s->reads_of && s->op_count == 0 && s->transport.fd < 0);
    assert(list_is_empty(&s->ready) && list_is_empty(&s->emptying));
    share_deinit(&s->share);
    task_deinit(&s->gone);
    task_deinit(&s->settle);
    deadline_deinit(&s->retry);
    deadline_deinit(&s->unread);
    deadline_deinit(&s->lend_look);
    session_drop_status(s);
    walks_leave(&w->session_walks, &s->node);
    list_remove(&s->node);
    if (s->on_gone)
        s->on_gone(s);
    op_free(w, s->spare);
    policy_view_free(s->view);
    connect_report_forget(&s->reports);
    session_quota_leave(s);
    identity_deinit(&s->identity);
    session_leave_sharer(s);
    mem_free(s->buffers);
    mem_free(s->tokens);
    mem_free(s->slots);
    mem_free(s->kept);
    mem_free(s->unreported_ids);
    mem_free(s);
}

static void init_lists(struct session *s)
{
    list_init(&s->lingering);
    list_init(&s->done);
    list_init(&s->streams);
    list_init(&s->monitors);
    list_init(&s->resolves);
    list_init(&s->resolved);
    list_init(&s->restricts);
    list_init(&s->reports);
    list_init(&s->room_waiters);
    list_init(&s->room_tries);
    list_init(&s->lend_waiters);
    list_init(&s->ready);
    list_init(&s->settling);
    list_init(&s->emptying);
    session_sharing_init(&s->sharing);
    task_init(&s->gone, on_gone);
    task_init(&s->settle, session_run_settle);
    task_init(&s->report_task, window_run);
    task_init(&s->rows_task, session_run_rows);
    deadline_init(&s->retry, on_retry);
    deadline_init(&s->hello, on_no_hello);
    deadline_init(&s->unread, session_on_unread);
    deadline_init(&s->lend_look, lending_on_look);
}

/* What may fail, in the order in which it is given back. */
static int acquire(struct session *s, const struct session_config *config, int fd,
                   char why[static SESSION_WHY_MAX])
{
    struct worker *w = config->worker;
    struct limits least;
    int r = 0;

    s->view = config->sharer ? policy_view_new_below(config->sharer->view)
                             : policy_view_new(w->policy, &s->identity, s->listener);
    if (s->view && s->kind == LISTENER_CLIENT)
        r = session_quota_enter(s, config, why);
    if (r < 0) {
        policy_view_free(s->view);
        return r;
    }
    if (s->view)
        session_quota_least(s, &least);
    if (s->view && session_grant(s, &least) == 0 &&
        transport_init(&s->transport, w, s->quota, fd, s->kind == LISTENER_CONTROL,
                       &transport_ops) == 0)
        return 0;
    policy_view_free(s->view);
    session_quota_leave(s);
    mem_free(s->slots);
    mem_free(s->kept);
    mem_free(s->unreported_ids);
    mem_free(s->tokens);
    return -ENOMEM;
}

int session_new(const struct session_config *config, int fd, struct identity *identity,
                char ret_why[static SESSION_WHY_MAX], struct session **ret)
{
    struct worker *w = config->worker;
    struct session *s = mem_zalloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    s->worker = w;
    s->kind = config->kind;
    s->dispatch = config->dispatch;
    s->on_gone = config->on_gone;
    s->on_gone_data = config->on_gone_data;
    snprintf(s->listener, sizeof(s->listener), "%s", config->listener);
    s->unread_fd = -1;
    ev_io_init(&s->farewell_io, session_on_farewell, -1, 0);
    s->farewell_io.data = s;
    s->identity = *identity;
    init_lists(s);
    s->sharing.sharer = config->sharer;
    r = acquire(s, config, fd, ret_why);
    if (r < 0) {
        mem_free(s);
        return r;
    }
    identity_drop_groups(&s->identity);
    share_init(&s->share, s->quota ? quota_share(s->quota, &w->shares.root) : &w->controls,
               on_step);
    if (config->sharer)
        session_join(s, config->sharer, config->may_lend);
    s->id = w->next_id++;
    s->created = w->clock();
    list_append(&w->sessions, &s->node);
    w->stats.sessions++;
    worker_set_deadline(w, &s->hello, w->hello_ms);
    session_monitor_tell_begin(s);
    transport_resume(&s->transport);
    *ret = s;
    return 0;
}
