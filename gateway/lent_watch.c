/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/lent_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

/*
 * Reported in one wake-up; the rest is still there in the next one, because the kernel puts those
 * that it has reported behind the others.
 */
#define EVENTS_MAX 32

struct lent_watch {
    struct ev_loop *loop;
    ev_io io;
    struct epoll_event found[EVENTS_MAX];
    int count; /* of found; 0 unless they are being reported */
};

static void on_io(struct ev_loop *loop, ev_io *io, int events)
{
    struct lent_watch *watch = io->data;

    (void)loop;
    (void)events;
    watch->count = epoll_wait(io->fd, watch->found, EVENTS_MAX, 0);
    for (int i = 0; i < watch->count; i++) {
        struct lent_socket *socket = watch->found[i].data.ptr;

        if (socket)
            socket->tell(socket, watch->found[i].events);
    }
    watch->count = 0;
}

/* What one socket causes may be the end of another one. */
static void forget(struct lent_watch *watch, const struct lent_socket *socket)
{
    for (int i = 0; i < watch->count; i++)
        if (watch->found[i].data.ptr == socket)
            watch->found[i].data.ptr = NULL;
}

bool lent_watch_set(struct lent_watch *watch, struct lent_socket *socket, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = socket};
    int what = socket->is_watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    if (socket->is_watched && socket->events == events)
        return true;
    if (epoll_ctl(watch->io.fd, what, socket->fd, &event) < 0)
        return false;
    socket->is_watched = true;
    socket->events = events;
    return true;
}

void lent_watch_unset(struct lent_watch *watch, struct lent_socket *socket)
{
    if (!socket->is_watched)
        return;
    (void)epoll_ctl(watch->io.fd, EPOLL_CTL_DEL, socket->fd, NULL);
    socket->is_watched = false;
    forget(watch, socket);
}

int lent_watch_new(struct ev_loop *loop, struct lent_watch **ret)
{
    struct lent_watch *watch = calloc(1, sizeof(*watch));
    int fd;

    if (!watch)
        return -ENOMEM;
    fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) {
        free(watch);
        return -errno;
    }
    watch->loop = loop;
    ev_io_init(&watch->io, on_io, fd, EV_READ);
    watch->io.data = watch;
    ev_io_start(loop, &watch->io);
    *ret = watch;
    return 0;
}

struct lent_watch *lent_watch_free(struct lent_watch *watch)
{
    if (!watch)
        return NULL;
    ev_io_stop(watch->loop, &watch->io);
    close(watch->io.fd);
    free(watch);
    return NULL;
}
