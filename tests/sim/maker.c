/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * In place of the process that makes listeners (daemon/server/maker.h): it takes its time, fails,
 * or is gone.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/server/maker.h"
#include "tests/sim/calls.h"
#include "tests/sim/kernel.h"
#include "tests/sim/sim.h"

static void fail_all(struct maker *m)
{
    struct maker_job *job;

    while ((job = list_first(&m->users, struct maker_job, node))) {
        list_remove(&job->node);
        job->done(job, -ESHUTDOWN);
    }
}

static int make(const struct maker *m, const char *name)
{
    char path[sizeof(m->directory) + MAKER_NAME_DIGITS + sizeof("/" LISTENER_SOCKET) + 1];

    if (sim_fault(FAULT_NO_MEMORY, 4))
        return -ENOSPC;
    snprintf(path, sizeof(path), "%s/%s/" LISTENER_SOCKET, m->directory, name);
    return fd_install(unix_listen(path));
}

static void arm(struct maker *m)
{
    fd_file(m->fd)->u.timer = list_is_empty(&m->users) || !m->is_ready
                                  ? 0
                                  : sim.now_ns + sim_random(40) * UINT64_C(1000000) + 1;
}

static void on_time(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct maker *m = io->data;
    struct maker_job *job = list_first(&m->users, struct maker_job, node);

    (void)loop;
    (void)events;
    if (!m->is_late && m->is_ready && sim_fault(FAULT_NO_MEMORY, 40)) {
        m->is_late = true; /* it has ended */
        m->on_lost(m, "has ended");
    }
    if (m->is_late)
        fail_all(m);
    if (job && !m->is_late) {
        list_remove(&job->node);
        job->done(job, job->is_removal ? 0 : make(m, job->name));
    }
    arm(m);
}

void maker_attach(struct maker *m, struct worker *w)
{
    list_init(&m->users);
    m->worker = w;
    m->is_late = m->is_ready = false;
    m->fd = fd_install(file_new(FILE_TIMER));
    ev_io_init(&m->io, on_time, m->fd, EV_READ);
    m->io.data = m;
    ev_io_start(w->loop, &m->io);
}

int maker_begin(struct maker *m, const char *dir)
{
    snprintf(m->directory, sizeof(m->directory), "%s/share", dir);
    return 0;
}

/* A socket that listens has its path as long as it is open: there is nothing else to keep. */
int maker_keep(struct maker *m, const char (*names)[MAKER_NAME_BYTES], size_t count)
{
    for (size_t i = 0; i < count; i++)
        SIM_MUST(maker_is_name(names[i]));
    m->is_ready = true;
    arm(m);
    return 0;
}

void maker_leave(struct maker *m, bool stays)
{
    (void)m;
    (void)stays;
}

void maker_ask(struct maker *m, struct maker_job *job)
{
    bool is_first = list_is_empty(&m->users);

    list_append(&m->users, &job->node);
    if (is_first)
        arm(m);
}

/* What comes first is being done. */
bool maker_withdraw(struct maker *m, struct maker_job *job)
{
    if (m->users.next == &job->node)
        return false;
    list_remove(&job->node);
    return true;
}

void maker_deinit(struct maker *m)
{
    fail_all(m);
    ev_io_stop(m->worker->loop, &m->io);
    fd_close(m->fd);
}
