/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: a job is appended -> the thread runs it, without the lock -> it wakes the loop, which
 * calls done().
 * Failures: the thread cannot be made (the daemon does not start); a disk hangs (the loop goes on
 * without what was to be read; the end of the daemon does not wait for it).
 */
#include "daemon/server/loader.h"

#include <errno.h>
#include <ev.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

#include "base/alloc.h"
#include "daemon/core/capabilities.h"

struct loader {
    struct worker *worker;
    struct ev_async wake;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock. */
    struct list jobs, done;
    bool has_begun, ends, has_ended; /* the thread runs code of ours; is to end; nearly has */
    bool is_left;                    /* what there is of it is the thread's */
};

static struct loader_job *take_first(struct list *jobs)
{
    struct loader_job *job = list_first(jobs, struct loader_job, node);

    if (job)
        list_remove(&job->node);
    return job;
}

/* ---- the thread ---- */

static void set(struct loader *l, bool *flag)
{
    pthread_mutex_lock(&l->lock);
    *flag = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

/* Waits for one; NULL: none will come. */
static struct loader_job *take(struct loader *l)
{
    struct loader_job *job;

    pthread_mutex_lock(&l->lock);
    while (list_is_empty(&l->jobs) && !l->ends)
        pthread_cond_wait(&l->changed, &l->lock);
    job = l->ends ? NULL : take_first(&l->jobs);
    pthread_mutex_unlock(&l->lock);
    return job;
}

static void give(struct loader *l, struct loader_job *job)
{
    pthread_mutex_lock(&l->lock);
    list_append(&l->done, &job->node);
    if (!l->ends) /* the loop may have gone */
        ev_async_send(l->worker->loop, &l->wake);
    pthread_mutex_unlock(&l->lock);
}

static void release(struct loader *l)
{
    struct loader_job *job;

    while ((job = take_first(&l->jobs)) || (job = take_first(&l->done)))
        job->drop(job);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    mem_free(l);
}

/* True: nobody else has it any more. */
static bool end(struct loader *l)
{
    bool is_left;

    pthread_mutex_lock(&l->lock);
    l->has_ended = true;
    is_left = l->is_left;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    return is_left;
}

static void *run(void *data)
{
    struct loader *l = data;
    struct loader_job *job;

    setpriority(PRIO_PROCESS, 0,
                LOADER_NICE);     /* of a thread, in Linux; where it fails it does without */
    prctl(PR_SET_NAME, "loader"); /* for people */
    capabilities_drop();
    mem_free(mem_alloc(1)); /* what malloc() asks the kernel for a new thread */
    set(l, &l->has_begun);
    while ((job = take(l))) {
        job->run(job);
        give(l, job);
    }
    if (end(l))
        release(l);
    return NULL;
}

/* ---- the loop ---- */

static void on_wake(struct ev_loop *loop, struct ev_async *wake, int events)
{
    struct loader *l = wake->data;
    struct loader_job *job;
    struct list done;

    (void)loop;
    (void)events;
    list_init(&done);
    pthread_mutex_lock(&l->lock);
    list_splice(&done, &l->done);
    pthread_mutex_unlock(&l->lock);
    while ((job = take_first(&done)))
        job->done(job);
}

void loader_ask(struct loader *l, struct loader_job *job)
{
    pthread_mutex_lock(&l->lock);
    list_append(&l->jobs, &job->node);
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

/* ---- beginning and end ---- */

static bool await(struct loader *l, const bool *flag)
{
    struct timespec until;
    bool is_set;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += LOADER_STOP_MS / 1000;
    pthread_mutex_lock(&l->lock);
    while (!*flag && pthread_cond_timedwait(&l->changed, &l->lock, &until) == 0)
        ;
    is_set = *flag;
    pthread_mutex_unlock(&l->lock);
    return is_set;
}

/* Signals are the loop's. */
static int start_thread(struct loader *l)
{
    sigset_t all, before;
    int err;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(&l->thread, NULL, run, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -err;
}

/* What glibc does at a thread's start the filter does not allow. */
void loader_await(struct loader *l)
{
    while (!await(l, &l->has_begun))
        ;
}

int loader_new(struct worker *w, struct loader **ret)
{
    struct loader *l = mem_zalloc(1, sizeof(*l));
    pthread_condattr_t attributes;
    int r;

    if (!l)
        return -ENOMEM;
    l->worker = w;
    list_init(&l->jobs);
    list_init(&l->done);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&l->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&l->lock, NULL);
    ev_async_init(&l->wake, on_wake);
    l->wake.data = l;
    ev_async_start(w->loop, &l->wake);
    r = start_thread(l);
    if (r < 0) {
        ev_async_stop(w->loop, &l->wake);
        release(l);
        return r;
    }
    *ret = l;
    return 0;
}

struct loader *loader_free(struct loader *l)
{
    if (!l)
        return NULL;
    set(l, &l->ends);
    await(l, &l->has_ended);
    return loader_leave(l);
}

struct loader *loader_leave(struct loader *l)
{
    pthread_t thread;
    bool has_ended;

    if (!l)
        return NULL;
    thread = l->thread;
    ev_async_stop(l->worker->loop, &l->wake);
    pthread_mutex_lock(&l->lock);
    l->ends = l->is_left = true;
    has_ended = l->has_ended;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    if (!has_ended) {
        pthread_detach(thread);
        return NULL;
    }
    pthread_join(thread, NULL);
    release(l);
    return NULL;
}
