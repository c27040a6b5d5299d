/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: fork, the process begins, jobs are asked for one by one as the answers come.
 * Failures: it ends: every job fails, and so does each later one; the daemon goes on. It does not
 * answer in time: whatever is to be made fails, until it answers.
 */
#include "daemon/server/maker.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"

static void close_ends(struct maker *m)
{
    if (m->fd >= 0)
        close(m->fd);
    if (m->pidfd >= 0)
        close(m->pidfd);
    m->fd = m->pidfd = -1;
}

/* Not a descriptor of the daemon's stays open in it: a listener would live on there. */
static _Noreturn void become_process(int fd, bool without_filter)
{
    if (dup2(fd, MAKER_FD) < 0 || close_range(MAKER_FD + 1, ~0u, 0) < 0)
        _exit(EXIT_FAILURE);
    maker_process(without_filter);
}

int maker_fork(struct maker *m, bool without_filter)
{
    int pair[2];
    pid_t pid;

    memset(m, 0, sizeof(*m));
    m->fd = m->pidfd = -1;
    list_init(&m->users);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    /* The kernel buries it: the daemon's filter has no wait(2). */
    signal(SIGCHLD, SIG_IGN);
    pid = fork();
    if (pid == 0)
        become_process(pair[1], without_filter);
    close(pair[1]);
    m->fd = pair[0];
    if (pid > 0)
        m->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (m->pidfd >= 0)
        return 0;
    close_ends(m);
    return -EAGAIN;
}

/* ---- answers ---- */

static int take_descriptor(struct msghdr *message)
{
    struct cmsghdr *head = CMSG_FIRSTHDR(message);
    int fd = -1;

    if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS &&
        head->cmsg_len == CMSG_LEN(sizeof(fd)))
        memcpy(&fd, CMSG_DATA(head), sizeof(fd));
    return fd;
}

/* 1: an answer, and its descriptor or -1; 0: none yet; -errno: it has ended. */
static int receive(struct maker *m, int flags, int *ret_result, int *ret_fd)
{
    struct maker_answer answer = {0};
    struct iovec data = {&answer, sizeof(answer)};
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(m->fd, &message, flags | MSG_CMSG_CLOEXEC);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    *ret_fd = take_descriptor(&message);
    *ret_result = message.msg_flags & MSG_CTRUNC && answer.result == 0 ? -EMFILE : answer.result;
    return n == sizeof(answer) ? 1 : -EPIPE;
}

/* ---- the queue ---- */

/* The first job of the same user; NULL: he has none. */
static struct maker_job *first_of(struct maker *m, const void *whom)
{
    list_for_each (&m->users, it) {
        struct maker_job *job = container_of(it, struct maker_job, node);

        if (job->whom == whom)
            return job;
    }
    return NULL;
}

static void enqueue(struct maker *m, struct maker_job *job)
{
    struct maker_job *first = first_of(m, job->whom);

    list_init(&job->makings);
    list_init(&job->removals);
    if (!first)
        list_append(&m->users, &job->node);
    else
        list_append(job->is_removal ? &first->removals : &first->makings, &job->node);
}

/* Of those behind a job that goes the first one takes its place, before `at`. */
static void leave_queue(struct maker_job *job, struct list *at)
{
    struct list *behind = list_is_empty(&job->makings) ? &job->removals : &job->makings;
    struct maker_job *heir = list_first(behind, struct maker_job, node);

    if (heir) {
        list_remove(&heir->node);
        list_splice(&heir->makings, &job->makings);
        list_splice(&heir->removals, &job->removals);
        list_insert_before(at, &heir->node);
    }
    list_remove(&job->node);
}

/* Of the user whose turn it is; his next one has to wait until all others had theirs. */
static struct maker_job *dequeue(struct maker *m)
{
    struct maker_job *job = list_first(&m->users, struct maker_job, node);

    if (job)
        leave_queue(job, &m->users);
    return job;
}

bool maker_withdraw(struct maker *m, struct maker_job *job)
{
    if (job == m->asked)
        return false;
    leave_queue(job, &job->node);
    return true;
}

/* Whatever is to be made; what is to be removed waits. */
static void fail_makings(struct maker *m, int r)
{
    struct list removals;
    struct maker_job *job;

    list_init(&removals);
    while ((job = dequeue(m))) {
        if (job->is_removal)
            list_append(&removals, &job->node);
        else
            job->done(job, r);
    }
    while ((job = list_first(&removals, struct maker_job, node))) {
        list_remove(&job->node);
        enqueue(m, job);
    }
}

static void finish(struct maker *m, int r)
{
    struct maker_job *job = m->asked;

    m->asked = NULL;
    deadline_unset(&m->patience);
    job->done(job, r);
}

static void fail_all(struct maker *m, int r)
{
    struct maker_job *job;

    if (m->asked)
        finish(m, r);
    while ((job = dequeue(m)))
        job->done(job, r);
}

static void set_late(struct maker *m, bool is_late)
{
    if (m->is_late == is_late)
        return;
    m->is_late = is_late;
    m->on_late(m);
}

static void lose(struct maker *m, const char *why)
{
    if (m->fd < 0)
        return;
    ev_io_stop(m->worker->loop, &m->io);
    close_ends(m);
    m->on_lost(m, why);
    fail_all(m, -ESHUTDOWN);
}

/* It may be stopped, or wait for a disk: if it has ended its socket tells. */
static void on_patience_over(struct deadline *deadline)
{
    struct maker *m = container_of(deadline, struct maker, patience);

    set_late(m, true);
    if (m->asked->late)
        m->asked->late(m->asked);
    fail_makings(m, -ETIMEDOUT);
}

static void on_readable(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct maker *m = io->data;
    const struct maker_job *job = m->asked;
    int result = 0, fd = -1, r = receive(m, MSG_DONTWAIT, &result, &fd);

    (void)loop;
    (void)events;
    if (r == 0)
        return;
    /*
     * An answer without a request, or with a wrong number of descriptors: the maker is not sound
     * any more.
     */
    if (r > 0 && (!job || (fd >= 0) != (result == 0 && !job->is_removal)))
        r = -EPROTO;
    if (r < 0) {
        if (fd >= 0)
            close(fd);
        lose(m, r == -EPROTO ? "sent an invalid answer" : "has ended");
        return;
    }
    set_late(m, false);
    finish(m, fd >= 0 ? fd : result);
    worker_defer(m->worker, &m->next);
}

/* ---- questions ---- */

static void ask_next(struct task *task)
{
    struct maker *m = container_of(task, struct maker, next);
    struct maker_request request;

    if (m->fd < 0) {
        fail_all(m, -ESHUTDOWN);
        return;
    }
    if (m->asked || !m->is_ready)
        return;
    m->asked = dequeue(m);
    if (!m->asked)
        return;
    memset(&request, 0, sizeof(request));
    request.kind = m->asked->is_removal ? MAKER_REMOVE : MAKER_MAKE;
    memcpy(request.name, m->asked->name, sizeof(request.name));
    worker_set_deadline(m->worker, &m->patience, MAKER_PATIENCE_MS);
    /* It has read every earlier one: there is room. */
    if (send(m->fd, &request, sizeof(request), MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof(request))
        lose(m, "has ended");
}

void maker_ask(struct maker *m, struct maker_job *job)
{
    enqueue(m, job);
    worker_defer(m->worker, &m->next);
}

/* ---- beginning and end ---- */

static const char *reason(int r)
{
    switch (r) {
    case -EACCES:
    case -EROFS:
    case -ENOENT:
        return "it cannot be created; the tmpfiles.d(5) file that comes with asockd creates it";
    case -EPERM:
        return "it does not belong to asockd's user, or other users can write to it";
    case -EADDRINUSE:
        return "another asockd is using it";
    case -ETIMEDOUT:
        return "it could not be created in time";
    default:
        return strerror(-r);
    }
}

/* The start waits, as it does for the files that it reads; not without an end. */
static int await(const struct maker *m, short events)
{
    struct pollfd p = {.fd = m->fd, .events = events};
    int r = poll(&p, 1, MAKER_PATIENCE_MS);

    return r > 0 ? 0 : r < 0 ? -errno : -ETIMEDOUT;
}

static int await_answer(struct maker *m)
{
    int result = 0, fd = -1, r = await(m, POLLIN);

    if (r == 0)
        r = receive(m, MSG_DONTWAIT, &result, &fd);
    if (r <= 0)
        return r < 0 ? r : -EPIPE;
    return result;
}

static int say(const struct maker *m, const void *data, size_t len)
{
    int r = await(m, POLLOUT);

    if (r == 0 && send(m->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        r = -errno;
    return r;
}

static int say_kept(const struct maker *m, const char (*names)[MAKER_NAME_BYTES], size_t count)
{
    struct maker_kept kept;
    int r;

    do {
        kept.count = (uint32_t)(count < MAKER_KEPT ? count : MAKER_KEPT);
        if (kept.count > 0)
            memcpy(kept.names, names, kept.count * sizeof(kept.names[0]));
        r = say(m, &kept, offsetof(struct maker_kept, names) + kept.count * sizeof(kept.names[0]));
        names += kept.count;
        count -= kept.count;
    } while (r == 0 && kept.count == MAKER_KEPT);
    return r;
}

/* A client's path to a listener, from wherever it is. */
static int set_directory(struct maker *m, const char *dir)
{
    char *path = realpath(dir, NULL);
    size_t len = path ? strlen(path) : 0;
    int r = path ? 0 : -errno;

    if (r == 0 && len + sizeof("/share/") + MAKER_NAME_DIGITS + sizeof("/" LISTENER_SOCKET) >
                      sizeof(m->directory))
        r = -ENAMETOOLONG;
    if (r == 0) {
        memcpy(m->directory, path, len);
        strcpy(m->directory + len, "/share");
    }
    free(path);
    return r;
}

void maker_attach(struct maker *m, struct worker *w)
{
    m->worker = w;
    task_init(&m->next, ask_next);
    deadline_init(&m->patience, on_patience_over);
    ev_io_init(&m->io, on_readable, m->fd, EV_READ);
    m->io.data = m;
}

/* What was asked for ends, and so does what will be. */
static int fail_beginning(struct maker *m, const char *path, int r)
{
    log_warning("shared listeners, which asockctl run needs, are not available: %s: %s", path,
                reason(r));
    close_ends(m);
    worker_defer(m->worker, &m->next);
    return r;
}

int maker_begin(struct maker *m, const char *dir)
{
    char path[LISTENER_PATH_BYTES + sizeof("/share")];
    int r = m->fd < 0 ? -EAGAIN : set_directory(m, dir);

    if (r == 0)
        r = say(m, dir, strlen(dir));
    if (r == 0)
        r = await_answer(m);
    if (r == 0)
        return 0;
    snprintf(path, sizeof(path), "%s/share", dir);
    return fail_beginning(m, path, r);
}

int maker_keep(struct maker *m, const char (*names)[MAKER_NAME_BYTES], size_t count)
{
    int r = say_kept(m, names, count);

    if (r == 0)
        r = await_answer(m);
    if (r < 0)
        return fail_beginning(m, m->directory, r);
    m->is_ready = true;
    ev_io_start(m->worker->loop, &m->io);
    worker_defer(m->worker, &m->next);
    return 0;
}

void maker_leave(struct maker *m, bool stays)
{
    const struct maker_request request = {.kind = stays ? MAKER_STAYS : MAKER_GOES};

    /* If it has ended, nothing is left to be removed. */
    if (m->fd >= 0 && m->is_ready)
        (void)!send(m->fd, &request, sizeof(request), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void maker_deinit(struct maker *m)
{
    struct pollfd p = {.fd = m->pidfd, .events = POLLIN};

    if (m->worker) {
        ev_io_stop(m->worker->loop, &m->io);
        task_deinit(&m->next);
        fail_all(m, -ESHUTDOWN);
        deadline_deinit(&m->patience);
        m->worker = NULL;
    }
    if (m->fd >= 0) {
        close(m->fd);
        m->fd = -1;
        (void)poll(&p, 1, MAKER_FAREWELL_MS);
    }
    close_ends(m);
}
