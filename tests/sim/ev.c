/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The part of libev that the daemon uses, over the simulated kernel and clock. */
#include <ev.h>
#include <poll.h>
#include <string.h>

#include "tests/sim/ev.h"
#include "tests/sim/kernel.h"
#include "tests/sim/sim.h"

#define WATCHERS_MAX 1024

struct ev_loop {
    unsigned int rounds;
    struct ev_io *ios[WATCHERS_MAX];
    unsigned int io_count;
    struct ev_timer *timers[64];
    unsigned int timer_count;
    struct ev_prepare *prepare;
    struct ev_idle *idle;
    bool is_broken;
};

struct ev_loop *ev_loop_new(unsigned int flags)
{
    (void)flags;
    return sim_alloc(sizeof(struct ev_loop));
}

void ev_loop_destroy(struct ev_loop *loop)
{
    if (loop->io_count || loop->timer_count || loop->prepare)
        sim_fail("left-watcher: %u of descriptors, %u timers", loop->io_count, loop->timer_count);
    sim_free(loop);
}

void simulated_loop_drop(struct ev_loop *loop)
{
    sim_free(loop);
}

ev_tstamp ev_now(struct ev_loop *loop)
{
    (void)loop;
    return (double)sim.now_ns / 1e9;
}

unsigned int ev_iteration(struct ev_loop *loop)
{
    return loop->rounds;
}

void ev_now_update(struct ev_loop *loop)
{
    (void)loop;
}

void ev_io_start(struct ev_loop *loop, struct ev_io *io)
{
    if (io->active)
        return;
    if (!fd_file(io->fd))
        sim_fail("bad-descriptor: a watcher of %d", io->fd);
    SIM_MUST(loop->io_count < WATCHERS_MAX);
    io->active = 1;
    loop->ios[loop->io_count++] = io;
}

void ev_io_stop(struct ev_loop *loop, struct ev_io *io)
{
    io->pending = 0;
    if (!io->active)
        return;
    io->active = 0;
    for (unsigned int i = 0; i < loop->io_count; i++)
        if (loop->ios[i] == io)
            loop->ios[i] = loop->ios[--loop->io_count];
}

void ev_timer_start(struct ev_loop *loop, struct ev_timer *timer)
{
    if (timer->active)
        return;
    SIM_MUST(loop->timer_count < 64);
    timer->active = 1;
    timer->at += ev_now(loop);
    loop->timers[loop->timer_count++] = timer;
}

void ev_timer_stop(struct ev_loop *loop, struct ev_timer *timer)
{
    timer->pending = 0;
    if (!timer->active)
        return;
    timer->active = 0;
    for (unsigned int i = 0; i < loop->timer_count; i++)
        if (loop->timers[i] == timer)
            loop->timers[i] = loop->timers[--loop->timer_count];
}

void ev_prepare_start(struct ev_loop *loop, struct ev_prepare *prepare)
{
    SIM_MUST(!loop->prepare || loop->prepare == prepare);
    prepare->active = 1;
    loop->prepare = prepare;
}

void ev_prepare_stop(struct ev_loop *loop, struct ev_prepare *prepare)
{
    prepare->active = 0;
    loop->prepare = NULL;
}

void ev_idle_start(struct ev_loop *loop, struct ev_idle *idle)
{
    idle->active = 1;
    loop->idle = idle;
}

void ev_idle_stop(struct ev_loop *loop, struct ev_idle *idle)
{
    idle->active = 0;
    loop->idle = NULL;
}

void ev_break(struct ev_loop *loop, int how)
{
    (void)how;
    loop->is_broken = true;
}

/* As epoll says it to libev: an error or a hang-up is both. */
static int events_of(const struct ev_io *io)
{
    const struct kfile *file = fd_file(io->fd);
    int events, ev = 0;

    if (!file)
        sim_fail("bad-descriptor: a watcher of %d", io->fd);
    events = file_events(file);
    if (events & (POLLIN | POLLHUP | POLLERR))
        ev |= EV_READ;
    if (events & (POLLOUT | POLLHUP | POLLERR))
        ev |= EV_WRITE;
    return ev & io->events;
}

bool simulated_loop_is_ready(const struct ev_loop *loop)
{
    if (loop->idle)
        return true;
    for (unsigned int i = 0; i < loop->io_count; i++)
        if (events_of(loop->ios[i]))
            return true;
    for (unsigned int i = 0; i < loop->timer_count; i++)
        if (loop->timers[i]->at <= (double)sim.now_ns / 1e9)
            return true;
    return false;
}

uint64_t simulated_loop_due(const struct ev_loop *loop)
{
    uint64_t due = UINT64_MAX;

    for (unsigned int i = 0; i < loop->io_count; i++) {
        const struct kfile *file = fd_file(loop->ios[i]->fd);

        if (file && file->kind == FILE_TIMER && file->u.timer && file->u.timer < due)
            due = file->u.timer;
    }
    for (unsigned int i = 0; i < loop->timer_count; i++) {
        uint64_t at = (uint64_t)(loop->timers[i]->at * 1e9) + 1;

        if (at < due)
            due = at;
    }
    return due;
}

static void expire_timers(struct ev_loop *loop)
{
    for (unsigned int i = 0; i < loop->timer_count; i++) {
        struct ev_timer *timer = loop->timers[i];

        if (timer->at > ev_now(loop))
            continue;
        if (timer->repeat > 0)
            timer->at = ev_now(loop) + timer->repeat;
        else
            ev_timer_stop(loop, timer);
        timer->cb(loop, timer, EV_TIMER);
        return; /* another one in the next turn: the array may have changed */
    }
}

/* Watchers that are stopped meanwhile are not pending any more. */
static void run_ios(struct ev_loop *loop)
{
    struct ev_io *ready[WATCHERS_MAX];
    int events[WATCHERS_MAX];
    unsigned int count = 0;

    for (unsigned int i = 0; i < loop->io_count; i++) {
        int ev = events_of(loop->ios[i]);

        if (!ev || sim_fault(FAULT_SPARSE_EVENTS, 3))
            continue;
        ready[count] = loop->ios[i];
        ready[count]->pending = 1;
        events[count++] = ev;
    }
    for (unsigned int i = count; i > 1; i--) {
        unsigned int other = sim_random(i);
        struct ev_io *io = ready[i - 1];
        int ev = events[i - 1];

        ready[i - 1] = ready[other], events[i - 1] = events[other];
        ready[other] = io, events[other] = ev;
    }
    /* Whatever a callback frees it has stopped before, which clears it here. */
    loop->is_broken = false;
    for (unsigned int i = 0; i < count; i++) {
        bool is_active = false;

        for (unsigned int k = 0; k < loop->io_count; k++)
            is_active |= loop->ios[k] == ready[i];
        if (!is_active || !ready[i]->pending)
            continue;
        ready[i]->pending = 0;
        ready[i]->cb(loop, ready[i], events[i]);
    }
}

/* One turn, from a poll to the next: what runs before a poll runs at the turn's end. */
int ev_run(struct ev_loop *loop, int flags)
{
    (void)flags;
    loop->rounds++;
    run_ios(loop);
    expire_timers(loop);
    if (loop->prepare)
        loop->prepare->cb(loop, loop->prepare, EV_PREPARE);
    return 1;
}
