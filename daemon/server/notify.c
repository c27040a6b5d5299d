/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/server/notify.h"

#include <errno.h>

#ifdef HAVE_SYSTEMD

#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "base/time.h"
#include "daemon/policy/policy.h"
#include "daemon/server/reload.h"
#include "daemon/session/sharing.h"

/* A path, or an abstract name behind '@'. */
static bool find_manager(struct sockaddr_un *ret, socklen_t *ret_len)
{
    const char *path = getenv("NOTIFY_SOCKET");
    size_t len = path ? strlen(path) : 0;

    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (len < 2 || len >= sizeof(ret->sun_path) || (*path != '/' && *path != '@'))
        return false;
    memcpy(ret->sun_path, path, len);
    *ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    if (*path == '@')
        ret->sun_path[0] = '\0';
    else
        ++*ret_len;
    return true;
}

/* False: it would have had to wait. */
static bool send_state(const struct notifier *n, const char *state)
{
    struct sockaddr_un manager;
    socklen_t len;

    if (n->fd < 0 || !find_manager(&manager, &len))
        return true;
    return sendto(n->fd, state, strlen(state), MSG_DONTWAIT | MSG_NOSIGNAL,
                  (const struct sockaddr *)&manager, len) >= 0 ||
           (errno != EAGAIN && errno != ENOBUFS);
}

static const char *sharing_problem(const struct notifier *n)
{
    return n->worker->sharing ? n->worker->sharing->problem : NULL;
}

/* What is wrong comes behind the numbers: systemctl status shows all of it. */
static void tell(struct notifier *n, bool is_ready)
{
    const struct policy *policy = n->worker->policy;
    const struct reload *reload = n->worker->reload;
    bool has_failed = reload && reload->error[0];
    char problem[POLICY_PROBLEM_MAX], more[40] = "";
    size_t count = policy_problems(policy, problem);
    const char *sharing = sharing_problem(n);
    uint32_t clients = n->listeners->clients;
    uint32_t sockets = worker_sockets(n->worker);
    char state[POLICY_PROBLEM_MAX + CONF_ERROR_MAX + 256];

    if (count > 1)
        snprintf(more, sizeof(more), " (and %zu more)", count - 1);
    snprintf(state, sizeof(state), "%sSTATUS=%u client%s, %u socket%s%s%s%s%s%s%s%s",
             is_ready ? "READY=1\n" : "", (unsigned int)clients, text_plural(clients),
             (unsigned int)sockets, text_plural(sockets),
             policy_is_invalid(policy) ? "; everything is denied: "
             : count > 0               ? "; policy: "
                                       : "",
             problem, more, has_failed ? "; the last reload failed: " : "",
             has_failed ? reload->error : "", sharing ? "; " : "", sharing ? sharing : "");
    n->owes_ready = is_ready;
    if (!send_state(n, state))
        return;
    n->owes_ready = false;
    n->clients = clients;
    n->sockets = sockets;
    n->problem = sharing;
}

static void on_status(struct ev_loop *loop, struct ev_timer *timer, int events)
{
    struct notifier *n = timer->data;

    (void)loop;
    (void)events;
    if (n->owes_ready || n->clients != n->listeners->clients ||
        n->sockets != worker_sockets(n->worker) || n->problem != sharing_problem(n))
        tell(n, n->owes_ready);
}

/*
 * A sign of life has to prove that a whole turn was got through: first the rest of the turn in
 * which the timer fired, then one more, that polls every listener, calls back and runs its queue. A
 * flush task comes last in a turn, and keeps the loop from sleeping before the next one.
 */
static void on_proof(struct task *task)
{
    struct notifier *n = container_of(task, struct notifier, proof);

    if (--n->turns_to_go > 0)
        worker_flush_later(n->worker, &n->proof);
    else if (listeners_are_polled(n->listeners))
        send_state(n, "WATCHDOG=1"); /* not taken: the manager hears the next one */
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
    n->fd = getenv("NOTIFY_SOCKET") ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
    if (n->fd >= 0)
        ev_timer_start(w->loop, &n->status);
    start_watchdog(n);
    tell(n, true);
}

void notifier_reloading(struct notifier *n)
{
    struct timespec now;
    char state[80];

    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%llu",
             (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
    send_state(n, state);
}

void notifier_reloaded(struct notifier *n)
{
    tell(n, true);
}

void notifier_stop(struct notifier *n)
{
    ev_timer_stop(n->worker->loop, &n->status);
    send_state(n, "STOPPING=1\nSTATUS=Stopping");
}

/* Waits for a place in the manager's queue, which poll(2) does not tell of. */
static int send_with(const struct notifier *n, const char *state, int fd, uint64_t until)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct sockaddr_un manager;
    struct iovec iov = {(void *)(uintptr_t)state, strlen(state)};
    struct msghdr msg = {.msg_name = &manager,
                         .msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *cmsg;

    if (n->fd < 0 || !find_manager(&manager, &msg.msg_namelen))
        return -ENOTCONN;
    memset(&control, 0, sizeof(control));
    cmsg = CMSG_FIRSTHDR(&msg);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
    while (sendmsg(n->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        if (errno != EAGAIN && errno != ENOBUFS && errno != EINTR)
            return -errno;
        if (time_now_ms() >= until)
            return -ETIMEDOUT;
        poll(NULL, 0, 1);
    }
    return 0;
}

/* The manager closes the other end when it has got through all that was sent before. */
static int await_barrier(int fd, uint64_t until)
{
    struct pollfd p = {.fd = fd};

    for (;;) {
        uint64_t now = time_now_ms();
        int r = now < until ? poll(&p, 1, (int)(until - now)) : 0;

        if (r > 0)
            return 0;
        if (r == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

int notifier_store(struct notifier *n, const char *name, int fd, uint64_t until)
{
    char state[128];
    int ends[2], r;

    snprintf(state, sizeof(state), "FDSTORE=1\nFDNAME=%s\nFDPOLL=0", name);
    r = send_with(n, state, fd, until);
    if (r < 0)
        return r;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    r = send_with(n, "BARRIER=1", ends[1], until);
    close(ends[1]);
    if (r == 0)
        r = await_barrier(ends[0], until);
    close(ends[0]);
    return r;
}

void notifier_forget(struct notifier *n, const char *name)
{
    char state[128];

    snprintf(state, sizeof(state), "FDSTOREREMOVE=1\nFDNAME=%s", name);
    send_state(n, state); /* not taken: what is left there is empty */
}

void notifier_deinit(struct notifier *n)
{
    if (!n->worker)
        return;
    ev_timer_stop(n->worker->loop, &n->status);
    ev_timer_stop(n->worker->loop, &n->watchdog);
    task_deinit(&n->proof);
    if (n->fd >= 0)
        close(n->fd);
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

int notifier_store(struct notifier *n, const char *name, int fd, uint64_t until)
{
    (void)n;
    (void)name;
    (void)fd;
    (void)until;
    return -ENOTCONN;
}

void notifier_forget(struct notifier *n, const char *name)
{
    (void)n;
    (void)name;
}

void notifier_deinit(struct notifier *n)
{
    (void)n;
}

#endif
