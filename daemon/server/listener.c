/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: readable -> accept -> (its user owes time: it waits, gate.h) -> who is it -> a
 * session.
 * Failures: too many sessions (the client gets an error, and is closed); no descriptor (the spare
 * one is given up for as long as it takes to accept the client and turn it away: a connection that
 * stays in the backlog would make the loop spin; a control session gets the spare one for good);
 * not even that (the listener rests for a while).
 */
#include "daemon/server/listener.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "daemon/audit/monitor.h"
#include "daemon/verbs/dispatch.h"
#include "daemon/identity/identity.h"
#include "daemon/identity/identity_proc.h"
#include "daemon/identity/subids.h"
#include "daemon/core/quota.h"
#include "daemon/session/session_quota.h"
#include "daemon/session/sharing.h"
#include "daemon/wire/client_fd.h"
#include "proto/codec.h"
#include "proto/errors.h"

static void open_spare(struct listeners *ls)
{
    if (ls->spare < 0)
        ls->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void close_spare(struct listeners *ls)
{
    if (ls->spare >= 0)
        close(ls->spare);
    ls->spare = -1;
}

static bool may_log(const struct listeners *ls, uint64_t *last)
{
    uint64_t now = ls->worker->clock();

    if (*last && now - *last < LISTENER_LOG_MS)
        return false;
    *last = now ? now : 1;
    return true;
}

/* Tells a client that gets no session why, if its socket takes the text at once. */
static void refuse(int fd, uint32_t error, const char *text)
{
    struct reply reply = {.kind = KIND_EVENT, .error = error, .body = BODY_EVENT};
    uint8_t frame[CODEC_REPLY_MAX + CODEC_TEXT_MAX];
    size_t text_len = strlen(text);
    long n;

    reply.event = EVENT_SESSION_ENDED;
    n = asock_codec_encode_reply(&reply, (uint32_t)text_len, frame, CODEC_REPLY_MAX);
    if (n > 0 && text_len <= CODEC_TEXT_MAX) {
        memcpy(frame + n, text, text_len);
        (void)!send(fd, frame, (size_t)n + text_len, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    client_fd_close(fd);
}

static uint32_t *count_of(struct listeners *ls, enum listener_kind kind)
{
    return kind == LISTENER_CONTROL ? &ls->controls : &ls->clients;
}

static void on_session_gone(struct session *s)
{
    struct listeners *ls = s->on_gone_data;

    (*count_of(ls, s->kind))--;
}

/*
 * Before anybody looks who it is: the administrator's few places, and what a flood leaves of the
 * clients'.
 */
static bool has_room(const struct listener *l)
{
    if (l->kind == LISTENER_CONTROL)
        return l->listeners->controls < LIMIT_CONTROL_SESSIONS;
    for (const struct session *s = l->sharer; s; s = s->sharing.sharer)
        if (s->sharing.sharee_count >= LIMIT_SHAREES)
            return false;
    return quota_room(l->sharer ? l->sharer->quota : l->quota, QUOTA_CLIENTS) > 0;
}

static void turn_away(struct listener *l, int fd, uint32_t error, const char *why)
{
    const struct audit_entry entry = {
        .event = AUDIT_LOST, .listener = l->name, .error = error, .reason = why};

    monitor_tell(l->listeners->worker->monitor, "limit", &entry);
    if (may_log(l->listeners, &l->listeners->full_logged))
        log_warning("listener %s: clients are rejected: %s", l->name, why);
    refuse(fd, error, why);
}

/*
 * The rights of a session are its user's: processes of that user may have them, also with a
 * subordinate id.
 */
static bool is_of_sharer(const struct identity *identity, const struct session *sharer)
{
    const struct identity *owner = session_identity(sharer);

    if (identity->uid == IDENTITY_ID_UNKNOWN || owner->uid == IDENTITY_ID_UNKNOWN)
        return false;
    return identity->uid == owner->uid ||
           (identity->ownership == IDENTITY_SUBORDINATE && identity->owner == owner->uid);
}

/* It connected, sent nothing, and closed: its identity is not needed. */
static bool has_left(int fd)
{
    uint8_t byte;

    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* is_paid: the time that it takes is charged by whoever calls. */
static void admit(struct listener *l, int fd, uint64_t accepted, bool is_paid)
{
    struct session_config config = {
        .worker = l->listeners->worker,
        .kind = l->kind,
        .listener = l->sharer ? l->sharer->listener : l->name,
        .quota = l->quota,
        .sharer = l->sharer,
        .may_lend = l->may_lend,
        .dispatch = dispatch_frame,
        .on_gone = on_session_gone,
        .on_gone_data = l->listeners,
    };
    char why[SESSION_WHY_MAX] = "the daemon is out of memory";
    const struct shares *shares = &l->listeners->worker->shares;
    uint64_t began = shares->clock();
    struct session *s;
    struct identity identity;

    if (!has_room(l)) {
        turn_away(l, fd, ERR_NO_BUFFER_SPACE, "the listener has reached its client limit");
        return;
    }
    if (has_left(fd) || identity_read_since(fd, accepted, &identity) < 0) {
        client_fd_close(fd);
        return;
    }
    subids_mark(l->listeners->worker->subids, &identity);
    if (l->sharer && !is_of_sharer(&identity, l->sharer)) {
        identity_deinit(&identity);
        turn_away(l, fd, ERR_ACCESS_DENIED, "this listener is only for processes of another user");
        return;
    }
    if (session_new(&config, fd, &identity, why, &s) < 0) {
        turn_away(l, fd, ERR_NO_BUFFER_SPACE, why);
        /* What took time is to know who it was. */
        if (!is_paid)
            session_quota_refused(config.worker, l->quota, &identity, shares->clock() - began);
        identity_deinit(&identity);
        return;
    }
    (*count_of(l->listeners, l->kind))++;
    /* Determining the identity takes as long as hundreds of requests: charge it to the client. */
    if (!is_paid)
        share_charge(&s->share, shares->clock() - began);
    log_debug("session %llu: pid %d, uid %u, listener %s", (unsigned long long)s->id,
              (int)s->identity.pid, (unsigned int)s->identity.uid, l->name);
}

static void admit_in_turn(struct listener *l, int fd, uint64_t accepted)
{
    admit(l, fd, accepted, true);
}

/* Whose time it would take; NULL: it is the administrator's client, or there is no memory. */
static struct quota *user_of(const struct listener *l, int fd)
{
    struct identity identity;

    if (!l->quota || identity_read_user(fd, &identity) < 0)
        return NULL;
    subids_mark(l->listeners->worker->subids, &identity);
    return session_quota_user(&identity, l->quota);
}

static void let_in(struct listener *l, int fd)
{
    struct gates *gates = &l->listeners->gates;
    struct quota *user = user_of(l, fd);

    /* Of a sharer's clients the sharer's step pays for everything. */
    if (!user || !gate_is_needed(gates, user))
        admit(l, fd, identity_proc_now(), !l->quota);
    else if (gate_hold(gates, user, l, fd) < 0)
        turn_away(l, fd, ERR_NO_BUFFER_SPACE,
                  "too many clients of this user are waiting to be accepted");
    quota_unref(user);
}

int listeners_configure(struct listeners *ls, const char *name, struct session_config *ret)
{
    list_for_each (&ls->list, it) {
        const struct listener *l = container_of(it, struct listener, node);

        if (l->kind != LISTENER_CLIENT || strcmp(l->name, name) != 0)
            continue;
        ret->quota = l->quota;
        ret->dispatch = dispatch_frame;
        ret->on_gone = on_session_gone;
        ret->on_gone_data = ls;
        return 0;
    }
    return -ENOENT;
}

static int accept_fd(struct listener *l)
{
    int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

/* At the descriptor limit. 1: a client was dealt with, 0: none was there, -errno: it cannot be. */
static int accept_with_spare(struct listener *l)
{
    struct listeners *ls = l->listeners;
    int fd;

    ls->worker->stats.accept_stalls++;
    if (may_log(ls, &ls->stall_logged))
        log_warning("listener %s: no descriptor is free, so clients are rejected (raise "
                    "LimitNOFILE= or ulimit -n)",
                    l->name);
    open_spare(ls);
    close_spare(ls);
    fd = accept_fd(l);
    if (fd >= 0 && l->kind == LISTENER_CONTROL)
        admit(l, fd, identity_proc_now(), true);
    else if (fd >= 0)
        refuse(fd, ERR_NO_BUFFER_SPACE, "the daemon is out of descriptors");
    open_spare(ls);
    if (fd >= 0)
        return 1;
    return fd == -EAGAIN ? 0 : fd;
}

/* 1: a client was dealt with, 0: none was there, -errno. */
static int accept_one(struct listener *l)
{
    int fd = accept_fd(l);

    if (fd >= 0) {
        let_in(l, fd);
        /* A control session may have taken it in a time of need. */
        open_spare(l->listeners);
        return 1;
    }
    switch (fd) {
    case -EAGAIN:
        return 0;
    case -EINTR:
    case -ECONNABORTED:
        return 1;
    case -EMFILE:
    case -ENFILE:
        return accept_with_spare(l);
    default:
        return fd;
    }
}

bool listener_accept(struct listener *l)
{
    struct ev_loop *loop = l->listeners->worker->loop;
    int r = accept_one(l);

    if (r >= 0)
        return r > 0;
    if (may_log(l->listeners, &l->listeners->stall_logged))
        log_warning("listener %s: cannot accept a client: %s", l->name, strerror(-r));
    ev_io_stop(loop, &l->io);
    ev_timer_set(&l->pause, LISTENER_PAUSE, 0.);
    ev_timer_start(loop, &l->pause);
    return false;
}

/*
 * One client for a turn, of all listeners: requests of others need not wait for a whole flood of
 * clients, and another turn costs next to nothing beside it. The listener whose turn was longest
 * ago comes first; those that are left tell again in the next turn.
 */
static void on_accept(struct task *task)
{
    struct listeners *ls = container_of(task, struct listeners, accept);
    struct listener *first = NULL;

    list_for_each (&ls->list, it) {
        struct listener *l = container_of(it, struct listener, node);

        if (l->is_ready && (!first || l->accepted < first->accepted))
            first = l;
        l->is_ready = false;
    }
    if (!first)
        return;
    first->accepted = ++ls->accepted;
    listener_accept(first);
}

/* The administrator need not wait for others. */
static void on_readable(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct listener *l = io->data;

    (void)loop;
    (void)events;
    if (l->kind == LISTENER_CONTROL) {
        listener_accept(l);
        return;
    }
    l->is_ready = true;
    worker_defer(l->listeners->worker, &l->listeners->accept);
}

static void on_pause_over(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    struct listener *l = timer->data;

    (void)events;
    open_spare(l->listeners);
    ev_io_start(loop, &l->io);
}

static void init(struct listener *l, struct listeners *ls, int fd,
                 void (*on_clients)(struct ev_loop *loop, struct ev_io *io, int events))
{
    l->listeners = ls;
    list_init(&l->node);
    l->fd = fd;
    if (l->kind != LISTENER_CONTROL)
        client_fd_refuse_descriptors(fd);
    ev_io_init(&l->io, on_clients, fd, EV_READ);
    l->io.data = l;
    ev_timer_init(&l->pause, on_pause_over, 0., 0.);
    l->pause.data = l;
    ev_io_start(ls->worker->loop, &l->io);
}

void listener_init_shared(struct listener *l, struct listeners *ls, struct session *sharer, int fd,
                          void (*on_clients)(struct ev_loop *loop, struct ev_io *io, int events))
{
    l->kind = LISTENER_CLIENT;
    l->sharer = sharer;
    snprintf(l->name, sizeof(l->name), "of session %llu", (unsigned long long)sharer->id);
    init(l, ls, fd, on_clients);
}

void listener_watch(struct listener *l, bool on)
{
    struct ev_loop *loop = l->listeners->worker->loop;

    if (!on)
        ev_io_stop(loop, &l->io);
    else if (!ev_is_active(&l->pause))
        ev_io_start(loop, &l->io);
}

static struct listener *find_name(const struct listeners *ls, const char *name)
{
    list_for_each (&ls->list, it) {
        struct listener *l = container_of(it, struct listener, node);

        if (strcmp(l->name, name) == 0)
            return l;
    }
    return NULL;
}

/*
 * The path that it is bound to, as whoever made it wrote it. False: none, or not one from the root.
 */
static bool find_path(int fd, struct sockaddr_un *ret)
{
    socklen_t len = sizeof(*ret);

    memset(ret, 0, sizeof(*ret));
    return getsockname(fd, (struct sockaddr *)ret, &len) == 0 && ret->sun_path[0] == '/' &&
           memchr(ret->sun_path, '\0', sizeof(ret->sun_path));
}

static void note_file(struct listener *l)
{
    struct sockaddr_un addr;
    struct stat st;

    if (!find_path(l->fd, &addr) || stat(addr.sun_path, &st) < 0)
        return;
    l->file[0] = (uint64_t)st.st_dev;
    l->file[1] = (uint64_t)st.st_ino;
}

/* What cannot be looked at is taken to be there. */
static const char *loss_of(const struct listener *l, const char *path)
{
    struct stat st;

    if (!l->file[1])
        return NULL;
    if (stat(path, &st) < 0)
        return errno == ENOENT || errno == ENOTDIR ? "has been deleted" : NULL;
    return l->file[0] == (uint64_t)st.st_dev && l->file[1] == (uint64_t)st.st_ino
               ? NULL
               : "has been replaced by another file";
}

unsigned int listeners_find_lost(const struct listeners *ls, char *ret_text, size_t cap)
{
    unsigned int count = 0;

    list_for_each (&ls->list, it) {
        const struct listener *l = container_of(it, struct listener, node);
        struct sockaddr_un addr;
        const char *loss = find_path(l->fd, &addr) ? loss_of(l, addr.sun_path) : NULL;

        if (loss && count++ == 0)
            snprintf(ret_text, cap, "listener %s: %s %s, so no client can connect there; %s",
                     l->name, addr.sun_path, loss,
                     l->path[0] ? "restart asockd"
                     : l->is_added
                         ? "remove it and add it again (asockctl listener)"
                         : "restart its socket unit and asockd (systemctl restart asockd.socket)");
    }
    return count;
}

int listeners_add(struct listeners *ls, enum listener_kind kind, const char *name, int fd,
                  const char *path)
{
    struct listener *l;

    if (ls->count >= LISTENERS_MAX)
        return -E2BIG;
    if (strlen(name) >= sizeof(l->name) || (path && strlen(path) >= sizeof(l->path)))
        return -ENAMETOOLONG;
    if (find_name(ls, name))
        return -EEXIST;
    l = mem_zalloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    if (kind == LISTENER_CLIENT) {
        l->quota = quota_child(ls->worker->quota, QUOTA_LISTENER, name);
        if (!l->quota) {
            mem_free(l);
            return -ENOMEM;
        }
    }
    l->kind = kind;
    strcpy(l->name, name);
    strcpy(l->path, path ? path : "");
    init(l, ls, fd, on_readable);
    note_file(l);
    list_append(&ls->list, &l->node);
    ls->count++;
    return 0;
}

void listener_deinit(struct listener *l)
{
    struct ev_loop *loop = l->listeners->worker->loop;

    ev_io_stop(loop, &l->io);
    ev_timer_stop(loop, &l->pause);
    close(l->fd);
    l->fd = -1;
}

static void listener_free(struct listener *l)
{
    gates_empty(&l->listeners->gates, l);
    if (l->path[0])
        unlink(l->path);
    listener_deinit(l);
    list_remove(&l->node);
    l->listeners->count--;
    quota_unref(l->quota);
    mem_free(l);
}

void listeners_mark_added(struct listeners *ls, const char *name)
{
    find_name(ls, name)->is_added = true;
}

int listeners_remove_added(struct listeners *ls, const char *name)
{
    struct listener *l = find_name(ls, name);

    if (!l)
        return -ESRCH;
    if (!l->is_added)
        return -EPERM;
    listener_free(l);
    return 0;
}

void listeners_close(struct listeners *ls)
{
    list_for_each_safe (&ls->list, it) {
        listener_free(container_of(it, struct listener, node));
    }
}

bool listeners_are_polled(const struct listeners *ls)
{
    list_for_each (&ls->list, it) {
        const struct listener *l = container_of(it, struct listener, node);

        if (!ev_is_active(&l->io) && !ev_is_active(&l->pause))
            return false;
    }
    return true;
}

int listeners_init(struct listeners *ls, struct worker *w)
{
    memset(ls, 0, sizeof(*ls));
    list_init(&ls->list);
    ls->worker = w;
    task_init(&ls->accept, on_accept);
    gates_init(&ls->gates, w, admit_in_turn);
    ls->spare = ls->lock_fd = -1;
    open_spare(ls);
    return ls->spare < 0 ? -errno : 0;
}

void listeners_deinit(struct listeners *ls)
{
    if (!ls->worker)
        return;
    assert(ls->clients == 0 && ls->controls == 0);
    task_deinit(&ls->accept);
    listeners_close(ls);
    gates_deinit(&ls->gates);
    close_spare(ls);
    if (ls->lock_fd >= 0)
        close(ls->lock_fd);
    ls->lock_fd = -1;
    ls->worker = NULL;
}
