/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * As much of epoll as the daemon has of its own beside libev's (no events asked for, EPOLLONESHOT;
 * level-triggered for lent sockets), and the library.
 */
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

#include "tests/sim/calls.h"
#include "tests/sim/epoll.h"
#include "tests/sim/kernel.h"
#include "tests/sim/sim.h"

struct epoll_item *epoll_next(const struct kfile *epoll)
{
    for (unsigned int i = 0; i < epoll->u.epoll->count; i++) {
        struct epoll_item *item = &epoll->u.epoll->items[i];

        int wanted = item->events == EPOLLONESHOT ? 0 : (int)item->events;

        if (item->is_armed && file_events(item->file) & (POLLHUP | POLLERR | wanted))
            return item;
    }
    return NULL;
}

static bool drop(struct epoll_file *epoll, const struct kfile *file)
{
    for (unsigned int i = 0; i < epoll->count; i++) {
        if (epoll->items[i].file != file)
            continue;
        epoll->items[i] = epoll->items[--epoll->count];
        return true;
    }
    return false;
}

void epoll_forget(const struct kfile *file)
{
    for (unsigned int i = 0; i < KERNEL_FDS; i++) {
        const struct kfile *other = kernel.fds[i].file;

        if (other && other->kind == FILE_EPOLL)
            drop(other->u.epoll, file);
    }
}

int __wrap_epoll_create1(int flags)
{
    struct kfile *file = file_new(FILE_EPOLL);

    (void)flags;
    calls_enter();
    file->u.epoll = sim_alloc(sizeof(*file->u.epoll));
    return (int)calls_leave(fd_install(file));
}

int __wrap_epoll_ctl(int fd, int what, int of, struct epoll_event *event)
{
    struct kfile *file = fd_file(fd), *target = fd_file(of);
    struct epoll_file *epoll;

    calls_enter();
    SIM_MUST(file && file->kind == FILE_EPOLL && target);
    epoll = file->u.epoll;
    if (what == EPOLL_CTL_DEL)
        return (int)calls_leave(drop(epoll, target) ? 0 : -ENOENT);
    if (what == EPOLL_CTL_MOD) {
        SIM_MUST(drop(epoll, target));
        what = EPOLL_CTL_ADD;
    }
    SIM_MUST(what == EPOLL_CTL_ADD);
    if (epoll->count == EPOLL_ITEMS)
        return (int)calls_leave(-ENOSPC);
    for (unsigned int i = 0; i < epoll->count; i++)
        if (epoll->items[i].file == target)
            sim_fail("watched-twice: descriptor %d", of);
    epoll->items[epoll->count++] = (struct epoll_item){target, event->data.ptr, event->events,
                                                       true};
    return 0;
}

int __wrap_epoll_wait(int fd, struct epoll_event *events, int most, int timeout)
{
    const struct kfile *file = fd_file(fd);
    struct epoll_item *next, item;
    int count = 0;

    calls_enter();
    SIM_MUST(file && file->kind == FILE_EPOLL && timeout == 0);
    while (count < most && (next = epoll_next(file))) {
        item = *next;
        drop(file->u.epoll, item.file);
        item.is_armed = !(item.events & EPOLLONESHOT);
        file->u.epoll->items[file->u.epoll->count++] = item; /* behind the others */
        events[count].events = (uint32_t)file_events(item.file);
        events[count++].data.ptr = item.data;
        if (item.is_armed && count == (int)file->u.epoll->count)
            break;
    }
    return count;
}
