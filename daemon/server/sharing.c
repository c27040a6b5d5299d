/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: charged -> made by the maker -> the op is answered, clients come in steps of the
 * sharer, at whose cost they are -> the sharer ends, the socket is closed -> its directory is
 * removed -> not charged any more.
 * Failures: no quota, no memory; the maker fails (the op ends), or has gone (each later SHARE says
 * so, what listens goes on), or does not answer (so it is until it does); the sharer ends or
 * cancels before its turn has come (nothing is made), or while it is being made (what was made is
 * removed at once).
 */
#include "daemon/server/sharing.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/core/quota.h"
#include "daemon/session/complete.h"
#include "daemon/verbs/verbs.h"
#include "proto/codec.h"
#include "proto/errors.h"

static const char no_maker[] = "asockd cannot create shared listeners here; its log says why";
static const char not_yet[] =
    "asockd cannot create shared listeners yet: the daemon that it took over from is still running";

struct shared_listener {
    struct listener listener; /* once it is made, as long as it has a sharer */
    struct list
        node; /* sharer->sharing.listeners, first those that clients wait at; else in none */
    struct shared_listeners *server;
    struct session *sharer; /* NULL: its session has ended */
    struct op *op;          /* SHARE, until it is made */
    uint64_t token;         /* of that; 0: a later SHARE has it */
    struct quota *quota;    /* what it is charged to */
    struct maker_job job;
    bool is_made, has_clients;
};

/* ---- charges ---- */

static bool has_descriptor(const struct worker *w)
{
    return w->fds_used < w->fds_max;
}

static int charge(struct shared_listener *l, struct session *s)
{
    struct worker *w = s->worker;

    if (quota_charge(s->quota, QUOTA_SOCKETS, 1) < 0)
        return -EDQUOT;
    if (quota_charge(s->quota, QUOTA_MEMORY, MEMORY_SHARED_LISTENER) < 0) {
        quota_uncharge(s->quota, QUOTA_SOCKETS, 1);
        return -EDQUOT;
    }
    w->fds_used++;
    w->shared_listener_count++;
    l->quota = quota_ref(s->quota);
    return 0;
}

static void free_listener(struct shared_listener *l)
{
    struct worker *w = l->server->listeners->worker;

    assert(!l->sharer && !l->op && !list_is_linked(&l->job.node));
    w->fds_used--;
    w->shared_listener_count--;
    quota_uncharge(l->quota, QUOTA_SOCKETS, 1);
    quota_uncharge(l->quota, QUOTA_MEMORY, MEMORY_SHARED_LISTENER);
    quota_unref(l->quota);
    mem_free(l);
}

/* ---- the end ---- */

static void on_removed(struct maker_job *job, int r)
{
    struct shared_listener *l = container_of(job, struct shared_listener, job);

    if (r < 0 && r != -ESHUTDOWN && r != -ENOENT)
        log_warning("%s/%s: %s", l->server->maker.directory, job->name, strerror(-r));
    free_listener(l);
}

static void remove_directory(struct shared_listener *l)
{
    l->job.is_removal = true;
    l->job.done = on_removed;
    l->job.late = NULL;
    maker_ask(&l->server->maker, &l->job);
}

/* From here on it has no owner. A directory that is being made is removed when it is there. */
static void leave_sharer(struct shared_listener *l)
{
    list_remove(&l->node);
    l->sharer->sharing.listener_count--;
    l->sharer = NULL;
    l->op = NULL;
    if (!l->is_made)
        return;
    listener_deinit(&l->listener);
    remove_directory(l);
}

static void close_all(struct session *s)
{
    struct shared_listener *l;

    while ((l = list_first(&s->sharing.listeners, struct shared_listener, node))) {
        if (l->op)
            complete(l->op, ERR_CONNECTION_ABORTED); /* which withdraws it, or leaves it here */
        else
            leave_sharer(l);
    }
}

/*
 * Its turn had not come: it is gone. While it is being made it is the session's, so that who asks
 * and cancels has no more of them than others.
 */
static void forget(struct op *op)
{
    struct shared_listener *l = op->shared;

    op->shared = NULL;
    l->op = NULL;
    if (!maker_withdraw(&l->server->maker, &l->job))
        return;
    leave_sharer(l);
    free_listener(l);
}

static struct shared_listener *made_by(struct session *s, uint64_t token)
{
    list_for_each (&s->sharing.listeners, it) {
        struct shared_listener *l = container_of(it, struct shared_listener, node);

        if (l->token == token && l->is_made)
            return l;
    }
    return NULL;
}

static bool withdraw(struct session *s, uint64_t token)
{
    struct shared_listener *l = made_by(s, token);

    if (l)
        leave_sharer(l);
    return l;
}

/* ---- clients ---- */

/* Those that have clients come first, and of them those that have had them for longest. */
static void find_turn(struct shared_listener *l)
{
    struct list *shared = &l->sharer->sharing.listeners, *at;

    list_remove(&l->node);
    at = shared->next;
    while (at != shared && container_of(at, struct shared_listener, node)->has_clients)
        at = at->next;
    list_insert_before(l->has_clients ? at : shared, &l->node);
}

/* Until it is served, in a step of the sharer, nothing more is heard of it. */
static void on_clients(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct shared_listener *l = container_of((struct listener *)io->data, struct shared_listener,
                                             listener);

    (void)loop;
    (void)events;
    listener_watch(&l->listener, false);
    l->has_clients = true;
    find_turn(l);
    session_accept_later(l->sharer);
}

static bool accept_client(struct session *s)
{
    struct shared_listener *l = list_first(&s->sharing.listeners, struct shared_listener, node);

    if (!l || !l->has_clients)
        return false;
    l->has_clients = listener_accept(&l->listener);
    find_turn(l);
    if (!l->has_clients)
        listener_watch(&l->listener, true);
    return list_first(&s->sharing.listeners, struct shared_listener, node)->has_clients;
}

/* ---- SHARE ---- */

static void answer(struct op *op, struct shared_listener *l)
{
    char path[LISTENER_PATH_BYTES + MAKER_NAME_DIGITS + 2];
    const struct field field = {.name = "directory", .text = path};
    uint8_t record[sizeof(path) + 64];
    int error;
    long n;

    snprintf(path, sizeof(path), "%s/%s", l->server->maker.directory, l->job.name);
    n = asock_codec_encode_record(&field, 1, record, sizeof(record));
    op->shared = NULL;
    error = verb_send_record(op, record, n);
    if (!error)
        return;
    leave_sharer(l); /* its name was not reported yet */
    complete(op, (uint32_t)error);
}

static void on_made(struct maker_job *job, int r)
{
    struct shared_listener *l = container_of(job, struct shared_listener, job);
    struct op *op = l->op;

    l->op = NULL;
    if (r >= 0 && op) {
        l->is_made = true;
        listener_init_shared(&l->listener, l->server->listeners, l->sharer, r, on_clients);
        l->listener.may_lend = op->shares_lending;
        answer(op, l);
        return;
    }
    if (l->sharer)
        leave_sharer(l);
    if (op) {
        op->shared = NULL;
        op->text = r == -ESHUTDOWN ? l->server->sharing.problem : "the listener cannot be created";
        complete(op, r == -ESHUTDOWN ? (uint32_t)ERR_OPERATION_NOT_SUPPORTED
                                     : asock_error_from_errno(r));
    }
    if (r >= 0)
        close(r);
    /* With -EMFILE it was made, and no descriptor was left to receive it. */
    if (r >= 0 || r == -EMFILE)
        remove_directory(l);
    else
        free_listener(l);
}

static void on_late(struct maker_job *job)
{
    struct op *op = container_of(job, struct shared_listener, job)->op;

    if (!op)
        return;
    op->text = "the listener was not created in time";
    complete(op, ERR_TIMED_OUT);
}

static int make_name(char name[static MAKER_NAME_DIGITS + 1])
{
    uint8_t random[MAKER_NAME_DIGITS / 2];

    if (getentropy(random, sizeof(random)) < 0)
        return -errno;
    for (size_t i = 0; i < sizeof(random); i++)
        snprintf(name + 2 * i, 3, "%02x", random[i]);
    return 0;
}

static int open_listener(struct sharing *sharing, struct op *op)
{
    struct shared_listeners *server = container_of(sharing, struct shared_listeners, sharing);
    struct shared_listener *l = mem_zalloc(1, sizeof(*l));
    struct session *s = op->session;
    struct shared_listener *before;

    if (!l || !has_descriptor(s->worker) || make_name(l->job.name) < 0 || charge(l, s) < 0) {
        mem_free(l);
        op->text = "too few sockets or too little memory left";
        return ERR_NO_BUFFER_SPACE;
    }
    list_init(&l->job.node);
    l->server = server;
    l->sharer = s;
    l->op = op;
    op->shared = l;
    before = made_by(s, op->token);
    if (before)
        before->token = 0;
    l->token = op->token;
    list_append(&s->sharing.listeners, &l->node);
    s->sharing.listener_count++;
    l->job.whom = quota_person(l->quota);
    l->job.done = on_made;
    l->job.late = on_late;
    maker_ask(&server->maker, &l->job);
    return 0;
}

/* ---- from one process to the next ---- */

static bool save(const struct session *s, unsigned int number, struct shared_past *ret)
{
    list_for_each (&s->sharing.listeners, it) {
        const struct shared_listener *l = container_of(it, struct shared_listener, node);

        if (!l->is_made || number-- > 0)
            continue;
        *ret = (struct shared_past){l->job.name, l->listener.fd, l->token, l->listener.may_lend};
        return true;
    }
    return false;
}

/* Its clients are served, in the sharer's steps, when the loop runs. */
static int restore(struct session *s, const struct shared_past *past)
{
    struct shared_listeners *server = container_of(s->worker->sharing, struct shared_listeners,
                                                   sharing);
    struct shared_listener *l;

    if (!maker_is_name(past->name) || s->sharing.listener_count >= LIMIT_SHARED_LISTENERS)
        return -EINVAL;
    l = mem_zalloc(1, sizeof(*l));
    if (!l || charge(l, s) < 0) {
        mem_free(l);
        return l ? -EDQUOT : -ENOMEM;
    }
    list_init(&l->job.node);
    strcpy(l->job.name, past->name);
    l->job.whom = quota_person(l->quota);
    l->server = server;
    l->sharer = s;
    l->token = past->token;
    l->is_made = true;
    list_append(&s->sharing.listeners, &l->node);
    s->sharing.listener_count++;
    listener_init_shared(&l->listener, server->listeners, s, past->fd, on_clients);
    l->listener.may_lend = past->may_lend;
    return 0;
}

static void stay(struct sharing *sharing, bool stays)
{
    maker_leave(&container_of(sharing, struct shared_listeners, sharing)->maker, stays);
}

/* What is still being made is withdrawn with its op. */
static void leave(struct session *s)
{
    list_for_each_safe (&s->sharing.listeners, it) {
        struct shared_listener *l = container_of(it, struct shared_listener, node);

        if (!l->is_made)
            continue;
        list_remove(&l->node);
        s->sharing.listener_count--;
        l->sharer = NULL;
        listener_deinit(&l->listener);
        free_listener(l);
    }
}

/* ---- all of them ---- */

static void on_lost(struct maker *maker, const char *why)
{
    struct shared_listeners *shared = container_of(maker, struct shared_listeners, maker);

    shared->sharing.problem =
        "asockd cannot create shared listeners until it is restarted: the process that creates "
        "them has exited";
    log_error(
        "the process that creates shared listeners %s; asockctl run fails until asockd is restarted",
        why);
}

static void on_maker_late(struct maker *maker)
{
    struct shared_listeners *shared = container_of(maker, struct shared_listeners, maker);

    shared->sharing.problem =
        maker->is_late
            ? "asockd cannot currently create shared listeners: the process that creates them "
              "is not responding"
            : NULL;
    if (maker->is_late)
        log_warning(
            "the process that creates shared listeners is not responding; asockctl run fails until "
            "it responds");
    else
        log_notice("the process that creates shared listeners is responding again");
}

void shared_listeners_init(struct shared_listeners *shared, struct listeners *ls)
{
    shared->sharing = (struct sharing){
        .problem = not_yet,
        .open = open_listener,
        .forget = forget,
        .withdraw = withdraw,
        .accept = accept_client,
        .close = close_all,
        .save = save,
        .restore = restore,
        .stay = stay,
        .leave = leave,
    };
    shared->listeners = ls;
    shared->maker.on_lost = on_lost;
    shared->maker.on_late = on_maker_late;
    ls->worker->sharing = &shared->sharing;
    maker_attach(&shared->maker, ls->worker);
}

void shared_listeners_open(struct shared_listeners *shared, const char *dir)
{
    if (maker_begin(&shared->maker, dir) < 0)
        shared->sharing.problem = no_maker;
}

/* Of those that are made; how many. */
static size_t find_names(const struct worker *w, char (*ret)[MAKER_NAME_BYTES])
{
    struct shared_past past;
    size_t count = 0;

    list_for_each (&w->sessions, it) {
        const struct session *s = container_of(it, struct session, node);

        for (unsigned int i = 0; save(s, i, &past); i++)
            strcpy(ret[count++], past.name);
    }
    return count;
}

void shared_listeners_begin(struct shared_listeners *shared)
{
    struct worker *w = shared->listeners->worker;
    char(*names)[MAKER_NAME_BYTES];
    size_t count;
    int r = -ENOMEM;

    if (shared->sharing.problem == no_maker)
        return;
    names = mem_zalloc(w->shared_listener_count + 1, MAKER_NAME_BYTES);
    count = names ? find_names(w, names) : 0;
    if (names)
        r = maker_keep(&shared->maker, (const char(*)[MAKER_NAME_BYTES])names, count);
    mem_free(names);
    shared->sharing.problem = r < 0 ? no_maker : NULL;
}

void shared_listeners_own(struct shared_listeners *shared)
{
    maker_leave(&shared->maker, false);
}

void shared_listeners_deinit(struct shared_listeners *shared)
{
    maker_deinit(&shared->maker);
    if (shared->listeners)
        shared->listeners->worker->sharing = NULL;
}
