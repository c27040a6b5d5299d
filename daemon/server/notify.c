/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/server/notify.h"

#ifdef HAVE_SYSTEMD

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#include "daemon/policy/policy.h"
#include "daemon/server/reload.h"

/* What is wrong comes behind the numbers: systemctl status shows all of it. */
static void tell(struct notifier *n, const char *first)
{
    const struct policy *policy = n->worker->policy;
    const struct reload *reload = n->worker->reload;
    bool has_failed = reload && reload->error[0];
    char problem[POLICY_PROBLEM_MAX], more[40] = "";
    size_t count = policy_problems(policy, problem);

    if (count > 1)
        snprintf(more, sizeof(more), " (and %zu more)", count - 1);
    n->clients = n->listeners->clients;
    n->sockets = n->worker->fds_used - n->worker->buffer_count;
    sd_notifyf(0, "%sSTATUS=%u clients, %u sockets%s%s%s%s%s", first, (unsigned int)n->clients,
               (unsigned int)n->sockets,
               policy_is_invalid(policy) ? "; everything is denied: "
               : count > 0               ? "; policy: "
                                         : "",
               problem, more, has_failed ? "; the last reload failed: " : "",
               has_failed ? reload->error : "");
}

static void on_status(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    struct notifier *n = timer->data;

    (void)loop;
    (void)events;
    if (n->clients != n->listeners->clients ||
        n->sockets != n->worker->fds_used - n->worker->buffer_count)
        tell(n, "");
}

/*
 * A sign of life has to prove that a whole turn was got through: first the rest of the turn in which
 * the timer fired, then one more, that polls every listener, calls back and runs its queue. A flush
 * task comes last in a turn, and keeps the loop from sleeping before the next one.
 */
static void on_proof(struct task *task)
{
    struct notifier *n = container_of(task, struct notifier, proof);

    if (--n->turns_to_go > 0)
        worker_flush_later(n->worker, &n->proof);
    else if (listeners_are_polled(n->listeners))
        sd_notify(0, "WATCHDOG=1");
}

static void on_watchdog(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    struct notifier *n = timer->data;

    (void)loop;
    (void)events;
    n->turns_to_go = 2;
    worker_flush_later(n->worker, &n->proof);
}

static void start_watchdog(struct notifier *n)
{
    uint64_t usec = 0;
    double period;

    if (sd_watchdog_enabled(0, &usec) <= 0)
        return;
    period = (double)usec / 2e6;
    ev_timer_set(&n->watchdog, period, period);
    ev_timer_start(n->worker->loop, &n->watchdog);
}

void notifier_start(struct notifier *n, struct worker *w, const struct listeners *ls)
{
    memset(n, 0, sizeof(*n));
    n->worker = w;
    n->listeners = ls;
    ev_timer_init(&n->status, on_status, NOTIFY_STATUS_PERIOD, NOTIFY_STATUS_PERIOD);
    n->status.data = n;
    ev_timer_init(&n->watchdog, on_watchdog, 0., 0.);
    n->watchdog.data = n;
    task_init(&n->proof, on_proof);
    if (getenv("NOTIFY_SOCKET"))
        ev_timer_start(w->loop, &n->status);
    start_watchdog(n);
    tell(n, "READY=1\n");
}

void notifier_reloading(struct notifier *n)
{
    struct timespec now;

    (void)n;
    clock_gettime(CLOCK_MONOTONIC, &now);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
               (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
}

void notifier_reloaded(struct notifier *n)
{
    tell(n, "READY=1\n");
}

void notifier_stop(struct notifier *n)
{
    ev_timer_stop(n->worker->loop, &n->status);
    sd_notify(0, "STOPPING=1\nSTATUS=Stopping");
}

void notifier_deinit(struct notifier *n)
{
    if (!n->worker)
        return;
    ev_timer_stop(n->worker->loop, &n->status);
    ev_timer_stop(n->worker->loop, &n->watchdog);
    task_deinit(&n->proof);
    n->worker = NULL;
}

#else

void notifier_start(struct notifier *n, struct worker *w, const struct listeners *ls)
{
    (void)n;
    (void)w;
    (void)ls;
}

void notifier_reloading(struct notifier *n)
{
    (void)n;
}

void notifier_reloaded(struct notifier *n)
{
    (void)n;
}

void notifier_stop(struct notifier *n)
{
    (void)n;
}

void notifier_deinit(struct notifier *n)
{
    (void)n;
}

#endif
