/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The old daemon's side of a take-over.
 *
 * Happy path: TAKE_OVER comes -> at the end of that turn the daemon stops working and writes down
 * what can go over -> it sends the memfd, then the descriptors, 253 a message -> the new daemon
 * says READY -> this one sends YOURS, ends the sessions that have gone without touching their
 * connections, and stops.
 * Failures: no memory; the new daemon fails, ends, does not answer in time, or is too old for what
 * there is. Nothing has changed then: this daemon says FAILED, and goes on.
 */
#include "daemon/server/hand_over.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "base/time.h"
#include "daemon/server/take_over_link.h"
#include "daemon/session/complete.h"
#include "daemon/session/session.h"
#include "daemon/session/session_end.h"
#include "daemon/state/state.h"
#include "proto/errors.h"

/* ---- what goes over ---- */

static void save_listeners(struct state_writer *out, const struct listeners *ls)
{
    list_for_each (&ls->list, it) {
        const struct listener *l = container_of(it, struct listener, node);

        state_save_listener(out, l->name, l->kind == LISTENER_CONTROL, l->path, l->fd);
    }
}

void hand_over_forget(struct worker *w)
{
    if (w->sharing)
        w->sharing->stay(w->sharing, false);
    list_for_each (&w->sessions, it)
        container_of(it, struct session, node)->is_handed_over = false;
}

int hand_over_save(struct listeners *ls, struct state_writer *out, uint32_t *ret_sessions)
{
    struct worker *w = ls->worker;

    /* Who waits to be let in has been accepted: nobody else will serve it. */
    gates_empty(&ls->gates, NULL);
    if (w->sharing)
        w->sharing->stay(w->sharing, true);
    *ret_sessions = state_choose(w);
    state_save_daemon(out, w, ls->lock_fd, ls->count, *ret_sessions);
    save_listeners(out, ls);
    list_for_each (&w->sessions, it) {
        const struct session *s = container_of(it, struct session, node);

        if (s->is_handed_over)
            state_save_session(out, s);
    }
    return state_seal(out);
}

/* ---- the way ---- */

static int expect(int fd, enum link_kind kind, uint64_t until)
{
    int descriptors[LINK_DESCRIPTORS_MAX];
    struct link_message message;
    unsigned int count = 0;
    int r = link_receive(fd, &message, descriptors, &count, until);

    for (unsigned int i = 0; i < count; i++)
        close(descriptors[i]);
    if (r < 0)
        return r;
    return message.kind == kind ? 0 : message.kind == LINK_FAILED ? -ECANCELED : -EPROTO;
}

static int send_descriptors(int fd, const struct state_writer *out, uint64_t until)
{
    uint32_t done = 0;
    int r = 0;

    while (r == 0 && done < out->descriptor_count) {
        uint32_t left = out->descriptor_count - done;
        uint32_t n = left < LINK_DESCRIPTORS_MAX ? left : LINK_DESCRIPTORS_MAX;

        r = link_send(fd, LINK_DESCRIPTORS, n, out->descriptors + done, n, until);
        if (r == 0)
            r = expect(fd, LINK_NEXT, until);
        done += n;
    }
    return r;
}

static int transfer(int fd, int memfd, const struct state_writer *out, uint64_t until)
{
    int r = link_send(fd, LINK_STATE, out->descriptor_count, &memfd, 1, until);

    if (r == 0)
        r = send_descriptors(fd, out, until);
    if (r == 0)
        r = expect(fd, LINK_READY, time_now_ms() + TAKE_OVER_MS);
    return r == 0 ? link_send(fd, LINK_YOURS, 0, NULL, 0, until) : r;
}

static int hand_over(struct hand_over *h, int fd, uint32_t *ret_sessions, bool *ret_has_drains)
{
    struct state_writer out;
    int memfd = -1, r = state_writer_init(&out);

    out.most = h->format;
    *ret_has_drains = state_takes_drains(&out);
    if (r == 0)
        r = memfd = hand_over_save(h->listeners, &out, ret_sessions);
    if (r >= 0 && out.format > h->format)
        r = -EPROTONOSUPPORT;
    /*
     * Its time begins here: how long it took to write everything down depends on how much there is.
     */
    if (r >= 0)
        r = transfer(fd, memfd, &out, time_now_ms() + TAKE_OVER_MS);
    if (memfd >= 0)
        close(memfd);
    state_writer_deinit(&out);
    return r;
}

/* ---- afterwards ---- */

static const char *reason(int r)
{
    switch (r) {
    case -ECANCELED:
        return "it cannot continue with the data that it received; its log says why";
    case -ETIMEDOUT:
        return "it did not respond in time";
    case -EPROTONOSUPPORT:
        return "it is an older version that cannot read the state of all clients";
    case -EPIPE:
    case -ECONNRESET:
        return "it has exited";
    default:
        return strerror(-r);
    }
}

static void fail(struct hand_over *h, struct session *asker, int r)
{
    hand_over_forget(h->listeners->worker);
    /*
     * Before anything else happens here: without that word it could take this process's death for
     * its own turn.
     */
    link_send(asker->transport.fd, LINK_FAILED, 0, NULL, 0, 0);
    log_warning("process %d could not take over (%s); this asockd continues",
                (int)asker->identity.pid, reason(r));
    session_end(asker, ERR_SUCCESS, NULL);
}

/* Their files and the lock are the new one's, too. */
static void leave_listeners(struct listeners *ls)
{
    list_for_each (&ls->list, it)
        container_of(it, struct listener, node)->path[0] = '\0';
}

/* Who watches hears of no ends that are none. */
static void end_controls(struct worker *w)
{
    list_for_each (&w->sessions, it) {
        struct session *s = container_of(it, struct session, node);

        if (s->kind == LISTENER_CONTROL)
            session_end(s, ERR_CONNECTION_ABORTED, "the daemon is stopping");
    }
}

void hand_over_leave(struct worker *w, bool has_drains)
{
    end_controls(w);
    if (has_drains)
        state_leave_drains(w);
    list_for_each (&w->sessions, it) {
        struct session *s = container_of(it, struct session, node);

        if (s->is_handed_over)
            state_leave_session(s);
    }
}

static void succeed(struct hand_over *h, struct session *asker, uint32_t sessions, bool has_drains)
{
    log_notice("asockd has handed over %u client%s to process %d", (unsigned int)sessions,
               text_plural(sessions), (int)asker->identity.pid);
    leave_listeners(h->listeners);
    h->link = transport_leave(&asker->transport);
    session_end(asker, ERR_SUCCESS, NULL);
    hand_over_leave(h->listeners->worker, has_drains);
    h->done(h);
}

/* At the end of a turn: no session is in the middle of something. */
static void on_turn_over(struct task *task)
{
    struct hand_over *h = container_of(task, struct hand_over, task);
    struct op *op = h->op;
    struct session *asker;
    uint32_t sessions = 0;
    bool has_drains = false;
    int r;

    if (!op || h->listeners->worker->is_stopping)
        return;
    asker = op->session;
    complete(op, ERR_SUCCESS);
    transport_flush_now(&asker->transport);
    r = !asker->transport.out_lost && transport_is_idle(&asker->transport)
            ? hand_over(h, asker->transport.fd, &sessions, &has_drains)
            : -EPIPE;
    if (r < 0)
        fail(h, asker, r);
    else
        succeed(h, asker, sessions, has_drains);
}

/* ---- asked ---- */

static const char *problem(const struct hand_over *h, const struct session *asker, uint32_t format)
{
    const struct listeners *ls = h->listeners;

    if (asker->identity.uid != geteuid() && asker->identity.uid != 0)
        return "only root and the daemon's own user can take over";
    if (format < STATE_FORMAT_FIRST)
        return "the daemon uses a different format for its state; restart it instead";
    if (h->op || ls->worker->is_stopping)
        return "the daemon is already being replaced, or is stopping";
    if (ls->lock_fd < 0)
        return "this daemon was started by the service manager; restart its unit instead";
    list_for_each (&ls->list, it) {
        const struct listener *l = container_of(it, struct listener, node);

        if (l->is_added)
            return "a listener was added while the daemon was running; remove it first (asockctl "
                   "listener remove)";
        if (l->path[0] != '/')
            return "the daemon was started with a directory that does not begin with /; restart it "
                   "instead";
    }
    return NULL;
}

static int on_asked(struct take_over *t, struct op *op, uint32_t format)
{
    struct hand_over *h = container_of(t, struct hand_over, take_over);

    op->text = problem(h, op->session, format);
    if (op->text)
        return ERR_OPERATION_NOT_SUPPORTED;
    h->op = op;
    h->format = format;
    worker_flush_later(h->listeners->worker, &h->task);
    return 0;
}

static void on_forgotten(struct take_over *t)
{
    container_of(t, struct hand_over, take_over)->op = NULL;
}

void hand_over_init(struct hand_over *h, struct listeners *ls, void (*done)(struct hand_over *h))
{
    *h = (struct hand_over){
        .take_over = {on_asked, on_forgotten}, .listeners = ls, .link = -1, .done = done};
    task_init(&h->task, on_turn_over);
    ls->worker->take_over = &h->take_over;
}

void hand_over_deinit(struct hand_over *h)
{
    if (!h->listeners)
        return;
    task_deinit(&h->task);
    h->listeners->worker->take_over = NULL;
    if (h->link >= 0)
        close(h->link);
    h->link = -1;
}
