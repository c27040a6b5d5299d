/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Descriptors and files. */
#include "tests/sim/epoll.h"
#include "tests/sim/kernel.h"
#include "tests/sim/udp.h"

#include <errno.h>
#include <string.h>

#include "tests/sim/real.h"

struct kernel kernel;

void kernel_reset(void)
{
    for (unsigned int i = 0; i < KERNEL_FDS; i++)
        if (kernel.fds[i].file)
            fd_close(KERNEL_FD_FIRST + (int)i);
    for (unsigned int i = 0; i < kernel.tcp_count; i++)
        tcp_free(kernel.tcps[i]);
    for (unsigned int i = 0; i < kernel.udp_count; i++)
        udp_free(kernel.udps[i]);
    sim_free(kernel.udps);
    memset(&kernel, 0, sizeof(kernel));
    kernel.next_port = 32768;
}

int fd_install(struct kfile *file)
{
    for (int i = 0; i < KERNEL_FDS; i++) {
        if (kernel.fds[i].file)
            continue;
        kernel.fds[i].file = file;
        kernel.fds[i].owner = sim.actor;
        kernel.fds[i].is_cloexec = true;
        return KERNEL_FD_FIRST + i;
    }
    file_unref(file);
    return -EMFILE;
}

struct kfile *fd_file(int fd)
{
    if (fd < KERNEL_FD_FIRST || fd >= KERNEL_FD_FIRST + KERNEL_FDS)
        return NULL;
    return kernel.fds[fd - KERNEL_FD_FIRST].file;
}

int fd_close(int fd)
{
    struct kfile *file = fd_file(fd);

    if (!file)
        return -EBADF;
    if (sim.actor != ACTOR_NONE && kernel.fds[fd - KERNEL_FD_FIRST].owner != sim.actor)
        sim_fail("foreign-descriptor: %d is closed by who has not opened it", fd);
    kernel.fds[fd - KERNEL_FD_FIRST].file = NULL;
    if (file->refs == 1) /* as long as somebody has it, it stays in every epoll */
        epoll_forget(file);
    file_unref(file);
    return 0;
}

unsigned int fd_count(enum actor owner)
{
    unsigned int count = 0;

    for (unsigned int i = 0; i < KERNEL_FDS; i++)
        count += kernel.fds[i].file && kernel.fds[i].owner == owner;
    return count;
}

void fd_close_all(enum actor owner)
{
    for (int i = 0; i < KERNEL_FDS; i++)
        if (kernel.fds[i].file && kernel.fds[i].owner == owner)
            fd_close(KERNEL_FD_FIRST + i);
}

struct kfile *file_new(enum kind kind)
{
    struct kfile *file = sim_alloc(sizeof(*file));

    file->kind = kind;
    file->refs = 1;
    return file;
}

void file_unref(struct kfile *file)
{
    if (!file || --file->refs > 0)
        return;
    if (file->kind == FILE_UNIX)
        unix_free(file);
    else if (file->kind == FILE_TCP)
        tcp_closed(file->u.tcp);
    else if (file->kind == FILE_UDP)
        udp_closed(file->u.udp);
    else if (file->kind == FILE_EPOLL)
        sim_free(file->u.epoll);
    else if (file->kind == FILE_MEMORY)
        __real_close(file->u.memory.fd);
    if (file->kind == FILE_LISTENER) {
        for (unsigned int i = 0; i < file->u.listener->count; i++)
            file_unref(file->u.listener->queue[i]);
        sim_free(file->u.listener);
    }
    sim_free(file);
}

int file_events(const struct kfile *file)
{
    switch (file->kind) {
    case FILE_UNIX:
        return unix_events(file->u.unix_end);
    case FILE_TCP:
        return tcp_events(file->u.tcp);
    case FILE_UDP:
        return udp_events(file->u.udp);
    case FILE_LISTENER:
        return file->u.listener->count > 0 ? POLLIN : 0;
    case FILE_EVENT:
        return POLLOUT | (file->u.events > 0 ? POLLIN : 0);
    case FILE_EPOLL:
        return epoll_next(file) ? POLLIN : 0;
    case FILE_TIMER:
        return file->u.timer && file->u.timer <= sim.now_ns ? POLLIN : 0;
    default:
        return 0;
    }
}

size_t kernel_part(size_t n)
{
    if (n > 1 && sim_fault(FAULT_PARTIAL, 3))
        return 1 + sim_random(sim_chance(2) && n > 16 ? 16 : (uint32_t)n);
    return n;
}

size_t iov_total(const struct iovec *iov, size_t count)
{
    size_t total = 0;

    for (size_t i = 0; i < count; i++)
        total += iov[i].iov_len;
    return total;
}

void iov_fill(const struct iovec *iov, size_t count, const uint8_t *from, size_t len)
{
    for (size_t i = 0; i < count && len > 0; i++) {
        size_t part = iov[i].iov_len < len ? iov[i].iov_len : len;

        if (iov[i].iov_base && part > 0)
            memcpy(iov[i].iov_base, from, part);
        from += part;
        len -= part;
    }
}
