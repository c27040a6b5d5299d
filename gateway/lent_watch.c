/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/lent_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Reported in one wake-up; the rest is still there in the next one. */
#define EVENTS_MAX 32

struct lent_watch {
    struct ev_loop *loop;
    ev_io io;
};

/*
 * One after the other: what one causes may be the end of another. The kernel puts one that it has
 * reported behind the others.
 */
static void on_io(struct ev_loop *loop, ev_io *io, int events)
{
    const struct lent_socket *first = NULL;
    struct epoll_event found;

    (void)loop;
    (void)events;
    for (int i = 0; i < EVENTS_MAX && epoll_wait(io->fd, &found, 1, 0) == 1; i++) {
        struct lent_socket *socket = found.data.ptr;

        if (socket == first)
            return; /* all have had their turn */
        if (!first)
            first = socket;
        socket->tell(socket, found.events);
    }
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
    if (socket->is_watched)
        (void)epoll_ctl(watch->io.fd, EPOLL_CTL_DEL, socket->fd, NULL);
    socket->is_watched = false;
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
