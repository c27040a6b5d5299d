/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The descriptor that the program's event loop watches.
 *
 * It is not the connection: a connection that has hung up would wake every poll(2) on it, and one
 * that is closed would leave the loop's set in silence. It is an epoll instance with the connection
 * in it, made when the program first asks, and it stays until the context goes: empty, and so never
 * ready, between sessions.
 */
#include "client-lib/wire/watch.h"

#include <sys/epoll.h>

#include "client-lib/wire/output.h"

static uint32_t wanted(asock_context *context)
{
    if (!context->is_alive)
        return 0;
    return asock_output_is_wanted(context) ? EPOLLIN | EPOLLOUT : EPOLLIN;
}

void asock_watch_update(asock_context *context)
{
    struct epoll_event event = {.events = wanted(context)};

    if (context->watch_fd < 0 || event.events == 0 || event.events == context->watched)
        return;
    if (epoll_ctl(context->watch_fd, context->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, context->fd,
                  &event) == 0)
        context->watched = event.events;
}

void asock_watch_leave(asock_context *context)
{
    /* Closing alone would not do it where a forked child has the connection open. */
    if (context->watched)
        epoll_ctl(context->watch_fd, EPOLL_CTL_DEL, context->fd, NULL);
    context->watched = 0;
}
