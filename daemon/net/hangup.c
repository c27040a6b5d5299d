/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/net/hangup.h"

#include <sys/epoll.h>
#include <unistd.h>

#include "base/alloc.h"

/* Taken from the kernel in a turn; the rest is still there in the next one. */
#define HANGUPS_TURN 32

struct hangups {
    struct worker *worker;
    void (*hung_up)(struct netsock *ns);
    struct ev_io io;
};

/*
 * What is called only makes a note for its session, so none of the sockets of this batch can have
 * gone.
 */
static void on_io(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct hangups *h = io->data;
    struct epoll_event found[HANGUPS_TURN];
    int n = epoll_wait(io->fd, found, HANGUPS_TURN, 0);

    (void)loop, (void)events;
    for (int i = 0; i < n; i++)
        h->hung_up(found[i].data.ptr);
}

int hangups_watch(struct hangups *h, struct netsock *ns)
{
    struct epoll_event event = {.events = EPOLLONESHOT, .data.ptr = ns};

    return epoll_ctl(h->io.fd, EPOLL_CTL_ADD, ns->fd, &event) < 0 ? -errno : 0;
}

void hangups_forget(struct hangups *h, struct netsock *ns)
{
    epoll_ctl(h->io.fd, EPOLL_CTL_DEL, ns->fd, NULL);
}

int hangups_new(struct worker *w, void (*hung_up)(struct netsock *ns), struct hangups **ret)
{
    struct hangups *h = mem_zalloc(1, sizeof(*h));
    int fd;

    if (!h)
        return -ENOMEM;
    fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) {
        mem_free(h);
        return -errno;
    }
    h->worker = w;
    h->hung_up = hung_up;
    ev_io_init(&h->io, on_io, fd, EV_READ);
    h->io.data = h;
    ev_io_start(w->loop, &h->io);
    *ret = h;
    return 0;
}

struct hangups *hangups_free(struct hangups *h)
{
    if (!h)
        return NULL;
    ev_io_stop(h->worker->loop, &h->io);
    close(h->io.fd);
    return mem_free(h);
}
