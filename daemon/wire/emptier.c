/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: a job waits until its user has none in the process and a thread is free, goes there
 * with a duplicate of its descriptor, and is done when the answer comes.
 * Failures: its socket is full, or more descriptors of the daemon's user are in flight than the
 * kernel lets it have, which clients can bring about: it is tried again. The process ends: the loop
 * does all jobs, and the log says so.
 */
#include "daemon/wire/emptier.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

/* ---- places ---- */

static struct emptier_place *place_of(struct emptier *e, const void *whom)
{
    for (uint32_t i = 0; i < EMPTIER_THREADS; i++)
        if (e->places[i].is_busy && e->places[i].whom == whom)
            return &e->places[i];
    return NULL;
}

static struct emptier_place *free_place(struct emptier *e)
{
    for (uint32_t i = 0; i < EMPTIER_THREADS; i++)
        if (!e->places[i].is_busy)
            return &e->places[i];
    return NULL;
}

static void finish(struct emptier_job *job, int r)
{
    job->is_asked = false;
    job->done(job, r);
}

/* The next ones of the same user have their turn behind those of others. */
static void leave_place(struct emptier *e, struct emptier_place *place, int r)
{
    struct emptier_job *job = place->job;

    place->is_busy = false;
    place->job = NULL;
    list_splice(&e->waiting, &place->behind);
    if (job)
        finish(job, r);
}

/* ---- the socket ---- */

static int send_request(const struct emptier *e, struct emptier_request request, int fd)
{
    struct iovec data = {&request, sizeof(request)};
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    const struct msghdr message = {.msg_iov = &data,
                                   .msg_iovlen = 1,
                                   .msg_control = &control,
                                   .msg_controllen = sizeof(control)};

    memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
    return sendmsg(e->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void lose(struct emptier *e)
{
    if (e->fd < 0)
        return;
    log_error("the process that empties shared memory has ended; clients can make asockd wait "
              "until it is restarted");
    ev_io_stop(e->worker->loop, &e->io);
    close(e->fd);
    e->fd = -1;
    worker_defer(e->worker, &e->next);
}

static void on_readable(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct emptier *e = io->data;
    struct emptier_answer answer;
    ssize_t n = recv(e->fd, &answer, sizeof(answer), MSG_DONTWAIT);

    (void)loop;
    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n != sizeof(answer) || answer.place >= EMPTIER_THREADS ||
        !e->places[answer.place].is_busy) {
        lose(e);
        return;
    }
    if (answer.result < 0)
        log_error("cannot empty shared memory: %s", strerror(-answer.result));
    leave_place(e, &e->places[answer.place], 0);
    worker_defer(e->worker, &e->next);
}

/* ---- jobs ---- */

/* false: it stays the first one. */
static bool begin_first(struct emptier *e)
{
    struct emptier_job *job = list_first(&e->waiting, struct emptier_job, node);
    struct emptier_place *place = place_of(e, job->whom);
    struct emptier_request request = {.length = job->length};
    int r;

    if (place) {
        list_remove(&job->node);
        list_append(&place->behind, &job->node);
        return true;
    }
    place = free_place(e);
    if (!place)
        return false;
    request.place = (uint32_t)(place - e->places);
    r = send_request(e, request, job->fd);
    if (r == -EPIPE || r == -ECONNRESET) {
        lose(e);
        return false;
    }
    if (r == -EAGAIN || r == -ETOOMANYREFS || r == -ENOBUFS || r == -ENOMEM) {
        worker_set_deadline(e->worker, &e->retry, RETRY_MS);
        return false;
    }
    list_remove(&job->node);
    if (r < 0) {
        finish(job, r);
        return true;
    }
    place->is_busy = true;
    place->whom = job->whom;
    place->job = job;
    return true;
}

static void finish_all(struct emptier *e)
{
    int r = e->has_given_up ? 0 : -ESHUTDOWN;
    struct emptier_job *job;

    for (uint32_t i = 0; i < EMPTIER_THREADS; i++)
        if (e->places[i].is_busy)
            leave_place(e, &e->places[i], r);
    while ((job = list_first(&e->waiting, struct emptier_job, node))) {
        list_remove(&job->node);
        finish(job, r);
    }
}

static void begin_next(struct emptier *e)
{
    while (e->fd >= 0 && !list_is_empty(&e->waiting) && begin_first(e))
        ;
    if (e->fd < 0)
        finish_all(e);
}

static void on_next(struct task *task)
{
    begin_next(container_of(task, struct emptier, next));
}

static void on_retry(struct deadline *deadline)
{
    begin_next(container_of(deadline, struct emptier, retry));
}

bool emptier_is_there(const struct emptier *e)
{
    return e && (e->fd >= 0 || e->has_given_up);
}

void emptier_ask(struct emptier *e, struct emptier_job *job)
{
    assert(!job->is_asked);
    job->is_asked = true;
    list_init(&job->node);
    list_append(&e->waiting, &job->node);
    worker_defer(e->worker, &e->next);
}

void emptier_forget(struct emptier_job *job, struct emptier *e)
{
    if (!job->is_asked)
        return;
    job->is_asked = false;
    list_remove(&job->node);
    for (uint32_t i = 0; i < EMPTIER_THREADS; i++)
        if (e->places[i].job == job)
            e->places[i].job = NULL;
}

void emptier_close(struct emptier *e, int fd)
{
    /* If it is full, or there is none, the loop does it. */
    if (e && e->fd >= 0)
        (void)!send_request(e, (struct emptier_request){.place = EMPTIER_THREADS}, fd);
    close(fd);
}

/* ---- beginning and end ---- */

void emptier_attach(struct emptier *e, struct worker *w, int fd)
{
    *e = (struct emptier){.worker = w, .fd = fd};
    for (uint32_t i = 0; i < EMPTIER_THREADS; i++)
        list_init(&e->places[i].behind);
    list_init(&e->waiting);
    task_init(&e->next, on_next);
    deadline_init(&e->retry, on_retry);
    ev_io_init(&e->io, on_readable, fd, EV_READ);
    e->io.data = e;
    if (fd >= 0)
        ev_io_start(w->loop, &e->io);
}

/* What the process has not been asked for is left to it, as far as its socket has room. */
static void leave_the_rest(struct emptier *e)
{
    for (uint32_t i = 0; i < EMPTIER_THREADS; i++)
        list_splice(&e->waiting, &e->places[i].behind);
    list_for_each (&e->waiting, it) {
        struct emptier_job *job = container_of(it, struct emptier_job, node);

        (void)!send_request(e, (struct emptier_request){.length = job->length}, job->fd);
    }
}

void emptier_give_up(struct emptier *e)
{
    if (e->has_given_up)
        return;
    e->has_given_up = true;
    if (e->fd >= 0) {
        leave_the_rest(e);
        ev_io_stop(e->worker->loop, &e->io);
        close(e->fd);
        e->fd = -1;
    }
    finish_all(e);
}

void emptier_detach(struct emptier *e)
{
    emptier_give_up(e);
    task_deinit(&e->next);
    deadline_deinit(&e->retry);
}
