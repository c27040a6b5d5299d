/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * In place of the process that empties shared memory (daemon/wire/emptier.h): it takes its time,
 * does its jobs in any order, or is gone.
 */
#include "daemon/wire/emptier.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "tests/sim/calls.h"
#include "tests/sim/kernel.h"
#include "tests/sim/seams.h"
#include "tests/sim/sim.h"

#define TAKES_MS 40u

static struct emptier the_emptier;

static void arm(const struct emptier *e)
{
    fd_file(e->fd)->u.timer = list_is_empty(&e->waiting)
                                  ? 0
                                  : sim.now_ns + sim_random(TAKES_MS) * UINT64_C(1000000) + 1;
}

static void empty(const struct emptier_job *job)
{
    const uint32_t mark = 1;
    int r;

    if (job->length > 0)
        r = fallocate(job->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)job->length);
    else
        r = (int)pwrite(job->fd, &mark, sizeof(mark), 0);
    SIM_MUST(r >= 0);
}

static void finish(struct emptier_job *job, int r)
{
    list_remove(&job->node);
    job->is_asked = false;
    job->done(job, r);
}

static struct emptier_job *any(struct emptier *e)
{
    struct emptier_job *job = NULL;
    uint32_t count = 0;

    list_for_each (&e->waiting, it) {
        if (!job || sim_random(++count) == 0)
            job = container_of(it, struct emptier_job, node);
    }
    return job;
}

static void finish_all(struct emptier *e, int r)
{
    struct emptier_job *job;

    while ((job = list_first(&e->waiting, struct emptier_job, node)))
        finish(job, r);
}

static void lose(struct emptier *e)
{
    ev_io_stop(e->worker->loop, &e->io);
    fd_close(e->fd);
    e->fd = -1;
    finish_all(e, e->has_given_up ? 0 : -ESHUTDOWN);
}

static void on_time(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct emptier *e = io->data;
    struct emptier_job *job = any(e);

    (void)loop;
    (void)events;
    if (e->worker->is_stopping && sim_random(2) == 0) {
        emptier_give_up(e); /* as the server does where it takes too long */
        return;
    }
    if (sim_fault(FAULT_NO_MEMORY, 40)) {
        lose(e);
        return;
    }
    if (job) {
        empty(job);
        finish(job, 0);
    }
    arm(e);
}

bool emptier_is_there(const struct emptier *e)
{
    return e && (e->fd >= 0 || e->has_given_up);
}

void emptier_ask(struct emptier *e, struct emptier_job *job)
{
    SIM_MUST(!job->is_asked);
    job->is_asked = true;
    list_init(&job->node);
    list_append(&e->waiting, &job->node);
    if (e->fd >= 0)
        arm(e);
    else
        worker_defer(e->worker, &e->next);
}

void emptier_forget(struct emptier_job *job, struct emptier *e)
{
    (void)e;
    if (!job->is_asked)
        return;
    job->is_asked = false;
    list_remove(&job->node);
}

void emptier_close(struct emptier *e, int fd)
{
    (void)e;
    close(fd);
}

static void on_next(struct task *task)
{
    finish_all(container_of(task, struct emptier, next), 0);
}

void emptier_attach(struct emptier *e, struct worker *w, int fd)
{
    *e = (struct emptier){.worker = w, .fd = fd};
    list_init(&e->waiting);
    task_init(&e->next, on_next);
    ev_io_init(&e->io, on_time, fd, EV_READ);
    e->io.data = e;
    ev_io_start(w->loop, &e->io);
}

/* What it has not done it does without the daemon. */
void emptier_give_up(struct emptier *e)
{
    if (e->has_given_up)
        return;
    e->has_given_up = true;
    list_for_each (&e->waiting, it) {
        empty(container_of(it, struct emptier_job, node));
    }
    if (e->fd >= 0)
        lose(e);
}

void emptier_detach(struct emptier *e)
{
    emptier_give_up(e);
    task_deinit(&e->next);
}

void seams_emptier_begin(struct worker *w)
{
    emptier_attach(&the_emptier, w, fd_install(file_new(FILE_TIMER)));
    w->emptier = &the_emptier;
}

void seams_emptier_end(struct worker *w)
{
    emptier_detach(w->emptier);
}
