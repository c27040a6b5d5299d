/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/net/apart.h"

#include <sys/epoll.h>
#include <unistd.h>

#include "base/alloc.h"

/* The most events handled in a turn; the kernel reports the others again in the next one. */
#define EVENTS_TURN 32

struct apart {
    struct worker *worker;
    struct ev_io io;
};

static int events_of(uint32_t found)
{
    int events = 0;

    if (found & (EPOLLOUT | EPOLLERR | EPOLLHUP))
        events |= EV_WRITE;
    if (found & (EPOLLIN | EPOLLERR | EPOLLHUP))
        events |= EV_READ;
    return events;
}

/* Asks for one event at a time, because the callback of one may free the socket of another. */
static void on_io(struct ev_loop *loop, struct ev_io *io, int events)
{
    const struct netsock *first = NULL;
    struct epoll_event found;

    (void)events;
    for (int i = 0; i < EVENTS_TURN && epoll_wait(io->fd, &found, 1, 0) == 1; i++) {
        struct netsock *ns = found.data.ptr;
        int wanted = events_of(found.events) & ns->watched_apart;

        if (ns == first)
            return; /* the kernel has gone round: each ready socket was called once */
        if (!first)
            first = ns;
        ns->io.cb(loop, &ns->io, wanted);
    }
}

void apart_watch(struct apart *a, struct netsock *ns, int events)
{
    struct epoll_event event = {
        .events = (events & EV_READ ? EPOLLIN : 0u) | (events & EV_WRITE ? EPOLLOUT : 0u),
        .data.ptr = ns,
    };
    int what = EPOLL_CTL_MOD, r;

    if (events == ns->watched_apart)
        return;
    if (!events)
        what = EPOLL_CTL_DEL;
    else if (!ns->watched_apart)
        what = EPOLL_CTL_ADD;
    r = epoll_ctl(a->io.fd, what, ns->fd, &event);
    ns->watched_apart = (unsigned int)events & (EV_READ | EV_WRITE);
    if (r == 0 || !events)
        return;
    ns->is_apart = false;
    ns->watched_apart = 0;
    netsock_watch(ns, a->worker, events);
}

int apart_new(struct worker *w, struct apart **ret)
{
    struct apart *a = mem_zalloc(1, sizeof(*a));
    int fd;

    if (!a)
        return -ENOMEM;
    fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) {
        mem_free(a);
        return -errno;
    }
    a->worker = w;
    ev_io_init(&a->io, on_io, fd, EV_READ);
    a->io.data = a;
    ev_io_start(w->loop, &a->io);
    *ret = a;
    return 0;
}

struct apart *apart_free(struct apart *a)
{
    if (!a)
        return NULL;
    ev_io_stop(a->worker->loop, &a->io);
    close(a->io.fd);
    return mem_free(a);
}
