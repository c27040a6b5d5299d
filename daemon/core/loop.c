/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/loop.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/time.h"
#include "daemon/core/probes.h"
#include "daemon/core/quota.h"

/*
 * If a deadline is overdue by more than this, the daemon was stopped or got no processor: no turn
 * takes so long.
 */
#define TURN_LATE_MS 50u
#define TURN_LATE_MAX 256u /* the most turns that deadlines then wait for pending work */

/* However many have passed at once: for the time of a turn, then the next poll comes. */
static void expire_deadlines(struct worker *w)
{
    struct wheel_timer *timer;
    uint64_t end = 0;

    w->has_due = false;
    while ((timer = asock_wheel_pop(&w->wheel, w->now))) {
        struct deadline *d = container_of(timer, struct deadline, timer);

        if (end == 0)
            end = w->shares.clock() + TURN_NS;
        d->expired(d);
        worker_settle(w);
        if (w->shares.clock() >= end) {
            w->has_due = true;
            return;
        }
    }
}

/*
 * Deadlines that an earlier turn had no time for do not count as overdue: the loop has not slept
 * since.
 */
static bool is_overdue(struct worker *w)
{
    if (w->has_due)
        return w->now > w->last_turn + TURN_LATE_MS;
    return asock_wheel_is_overdue(&w->wheel, w->now, TURN_LATE_MS);
}

/*
 * After a stop of the whole daemon (SIGSTOP, swapped out, starved), deadlines have passed, but what
 * they wait for may have arrived too: all sockets are looked at once before a deadline expires.
 */
static bool is_late(struct worker *w)
{
    unsigned int turns = w->is_late ? w->late_turns + 1 : 0;
    bool has_looked = turns > 0 && (!share_has_work(&w->shares) || turns > TURN_LATE_MAX);

    w->is_late = !has_looked && is_overdue(w);
    w->late_turns = turns;
    return w->is_late;
}

/* What is added while the list runs waits for the next turn: a task may put itself back. */
static void run_list(struct worker *w, struct list *tasks)
{
    struct list now;

    list_init(&now);
    list_splice(&now, tasks);
    while (!list_is_empty(&now)) {
        struct task *task = list_first(&now, struct task, node);

        list_remove(&task->node);
        task->run(task);
        worker_settle(w);
    }
}

/*
 * The timer fires at this time or earlier. It is set again only if it would be late, or after it
 * has fired. A deadline that is unset meanwhile costs one turn without work, which is cheaper than
 * setting the timer.
 */
static void set_timer(struct worker *w, uint64_t ms_from_now)
{
    struct itimerspec at = {.it_value = {.tv_sec = (time_t)(ms_from_now / 1000),
                                         .tv_nsec = (long)(ms_from_now % 1000) * 1000000}};

    if (w->timer_until && w->timer_until <= w->now + ms_from_now)
        return;
    timerfd_settime(w->timer.fd, 0, &at, NULL);
    w->timer_until = w->now + ms_from_now;
}

static void arm_sleep(struct worker *w)
{
    int64_t next = asock_wheel_next(&w->wheel, w->now);

    if (!list_is_empty(&w->tasks) || !list_is_empty(&w->flushes) || w->is_late || w->has_due ||
        share_has_work(&w->shares))
        ev_idle_start(w->loop, &w->idle);
    else
        ev_idle_stop(w->loop, &w->idle);
    /*
     * One more millisecond: the timer's time is finer than the wheel's, and early is a lost turn.
     */
    if (next >= 0)
        set_timer(w, (uint64_t)next + 1);
}

/* The end of a turn, in front of the next poll. */
static void on_prepare(struct ev_loop *loop, struct ev_prepare *watcher, int events)
{
    struct worker *w = watcher->data;

    uint64_t begin = time_now_ns();

    (void)loop;
    (void)events;
    w->now = w->clock();
    worker_settle(w);
    share_run(&w->shares);
    if (!is_late(w))
        expire_deadlines(w);
    run_list(w, &w->tasks);
    run_list(w, &w->flushes);
    arm_sleep(w);
    w->last_turn = w->now;
    w->stats.turns++;
    begin = time_now_ns() - begin;
    histogram_add(&w->turns, begin);
    PROBE2(turn, w->stats.turns, begin);
}

/* Exists so that the loop does not sleep: the work is on_prepare's. */
static void on_idle(struct ev_loop *loop, struct ev_idle *watcher, int events)
{
    (void)loop;
    (void)watcher;
    (void)events;
}

/* The work is on_prepare's. */
static void on_timer(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct worker *w = io->data;
    uint64_t count;

    (void)loop;
    (void)events;
    if (read(io->fd, &count, sizeof(count)) > 0)
        w->timer_until = 0;
}

static int timer_init(struct worker *w)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

    if (fd < 0)
        return -errno;
    ev_io_init(&w->timer, on_timer, fd, EV_READ);
    w->timer.data = w;
    ev_io_start(w->loop, &w->timer);
    return 0;
}

const struct limits limits_default = {
    .sockets = LIMIT_SOCKETS_DEFAULT,
    .ops = LIMIT_OPS_DEFAULT,
    .socket_ops = LIMIT_SOCKET_OPS_DEFAULT,
    .send_window = LIMIT_WINDOW_DEFAULT,
    .queued_max = LIMIT_QUEUED_DEFAULT,
    .shared_max = LIMIT_SHARED_DEFAULT,
    .buffers = LIMIT_BUFFERS,
    .lingers = LIMIT_LINGERS_DEFAULT,
    .lookups = LIMIT_LOOKUPS_DEFAULT,
    .kernel_max = LIMIT_KERNEL_DEFAULT,
};

int worker_init(struct worker *w, uint64_t (*clock)(void))
{
    int r;

    memset(w, 0, sizeof(*w));
    shares_init(&w->shares, NULL);
    share_init(&w->controls, &w->shares.root, NULL);
    list_init(&w->settles);
    list_init(&w->tasks);
    list_init(&w->flushes);
    list_init(&w->sessions);
    list_init(&w->drains);
    list_init(&w->unwatched_drains);
    list_init(&w->session_walks);
    list_init(&w->drain_walks);
    list_init(&w->spare_ops.ops);
    list_init(&w->spare_small_ops.ops);
    list_init(&w->spare_deadlines);
    w->clock = clock ? clock : time_now_ms;
    w->now = w->started = w->clock();
    asock_wheel_init(&w->wheel, w->now);
    w->next_id = 1;
    w->limits = limits_default;
    w->hello_ms = 1000 * LIMIT_HELLO_SECONDS_DEFAULT;
    if (getentropy(w->token_keys, sizeof(w->token_keys)) < 0)
        return -errno;
    w->quota = quota_new();
    w->loop = w->quota ? ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV) : NULL;
    r = w->loop ? timer_init(w) : -ENOMEM;
    if (r < 0) {
        if (w->loop)
            ev_loop_destroy(w->loop);
        w->loop = NULL;
        w->quota = quota_unref(w->quota);
        return r;
    }
    ev_prepare_init(&w->prepare, on_prepare);
    w->prepare.data = w;
    /* Behind every other prepare watcher: what those cause still leaves in this turn. */
    ev_set_priority(&w->prepare, EV_MINPRI);
    ev_prepare_start(w->loop, &w->prepare);
    ev_idle_init(&w->idle, on_idle);
    ev_set_priority(&w->idle, EV_MAXPRI);
    return 0;
}

void worker_deinit(struct worker *w)
{
    if (!w->loop)
        return;
    assert(list_is_empty(&w->sessions));
    assert(list_is_empty(&w->drains) && list_is_empty(&w->unwatched_drains));
    assert(list_is_empty(&w->session_walks) && list_is_empty(&w->drain_walks));
    run_list(w, &w->tasks);
    assert(!share_has_work(&w->shares));
    share_deinit(&w->controls);
    assert(list_is_empty(&w->settles));
    assert(list_is_empty(&w->tasks) && list_is_empty(&w->flushes));
    assert(asock_wheel_is_clear(&w->wheel));
    assert(list_is_empty(&w->spare_ops.ops) && list_is_empty(&w->spare_small_ops.ops));
    assert(list_is_empty(&w->spare_deadlines));
    ev_prepare_stop(w->loop, &w->prepare);
    ev_idle_stop(w->loop, &w->idle);
    ev_io_stop(w->loop, &w->timer);
    close(w->timer.fd);
    ev_loop_destroy(w->loop);
    w->loop = NULL;
    w->quota = quota_unref(w->quota);
    mem_free(w->spare_connect);
    while (w->block_count > 0)
        mem_free(w->blocks[--w->block_count]);
    while (w->small_block_count > 0)
        mem_free(w->small_blocks[--w->small_block_count]);
}

void worker_run(struct worker *w)
{
    ev_run(w->loop, 0);
}

void worker_stop(struct worker *w)
{
    ev_break(w->loop, EVBREAK_ALL);
}

void worker_defer(struct worker *w, struct task *task)
{
    if (task->run && !list_is_linked(&task->node))
        list_append(&w->tasks, &task->node);
}

void worker_flush_later(struct worker *w, struct task *task)
{
    if (task->run && !list_is_linked(&task->node))
        list_append(&w->flushes, &task->node);
}

void worker_settle_later(struct worker *w, struct task *task)
{
    if (task->run && !list_is_linked(&task->node))
        list_append(&w->settles, &task->node);
}

void worker_settle(struct worker *w)
{
    struct task *task;

    while ((task = list_first(&w->settles, struct task, node))) {
        list_remove(&task->node);
        task->run(task);
    }
}

void worker_set_deadline(struct worker *w, struct deadline *d, uint64_t ms_from_now)
{
    if (d->expired)
        asock_wheel_set(&w->wheel, &d->timer, w->clock() + ms_from_now);
}

/* One that is charged. */
static void *get_block(struct worker *w, struct quota *quota)
{
    void *block = w->block_count > 0 ? w->blocks[--w->block_count] : mem_alloc(IO_BLOCK);

    if (!block)
        quota_uncharge(quota, QUOTA_MEMORY, IO_BLOCK);
    return block;
}

void *worker_block_get(struct worker *w, struct quota *quota)
{
    return quota_charge(quota, QUOTA_MEMORY, IO_BLOCK) < 0 ? NULL : get_block(w, quota);
}

void *worker_block_get_last(struct worker *w, struct quota *quota)
{
    void **last = quota ? quota_charge_last(quota, QUOTA_MEMORY, IO_BLOCK) : NULL;

    return last ? *last = get_block(w, quota) : NULL;
}

void worker_block_put(struct worker *w, struct quota *quota, void *block)
{
    if (!block)
        return;
    quota_last_returned(quota, block);
    quota_uncharge(quota, QUOTA_MEMORY, IO_BLOCK);
    if (w->block_count < IO_BLOCKS_KEPT)
        w->blocks[w->block_count++] = block;
    else
        mem_free(block);
}

void *worker_small_block_get(struct worker *w)
{
    if (w->small_block_count > 0)
        return w->small_blocks[--w->small_block_count];
    return mem_alloc(IO_SMALL);
}

void worker_small_block_put(struct worker *w, void *block)
{
    if (!block)
        return;
    if (w->small_block_count < IO_BLOCKS_KEPT)
        w->small_blocks[w->small_block_count++] = block;
    else
        mem_free(block);
}
