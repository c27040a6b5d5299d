/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Preloaded into a daemon or a client: counts its system calls, in the file that ASOCK_TEST_CALLS
 * names, where a test reads them while the process runs. A tracer would count as well, but with it
 * each call takes so long that fewer requests find room in a turn: the count would depend on it.
 *
 * The functions of the C library are counted that the daemon and the library use once they have
 * begun, but for those that read a clock, which call no kernel, and those of a lookup.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#define CALLS(CALL)                                                                                \
    CALL(int, accept4, (int fd, __SOCKADDR_ARG addr, socklen_t *len, int flags),                   \
         (fd, addr, len, flags))                                                                   \
    CALL(int, bind, (int fd, __CONST_SOCKADDR_ARG addr, socklen_t len), (fd, addr, len))           \
    CALL(int, close, (int fd), (fd))                                                               \
    CALL(int, connect, (int fd, __CONST_SOCKADDR_ARG addr, socklen_t len), (fd, addr, len))        \
    CALL(int, epoll_ctl, (int fd, int op, int of, struct epoll_event *event), (fd, op, of, event)) \
    CALL(int, epoll_wait, (int fd, struct epoll_event *events, int most, int timeout),             \
         (fd, events, most, timeout))                                                              \
    CALL(int, fallocate, (int fd, int mode, off_t at, off_t len), (fd, mode, at, len))             \
    CALL(int, getpeername, (int fd, __SOCKADDR_ARG addr, socklen_t *len), (fd, addr, len))         \
    CALL(int, getsockname, (int fd, __SOCKADDR_ARG addr, socklen_t *len), (fd, addr, len))         \
    CALL(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *len),              \
         (fd, level, name, value, len))                                                            \
    CALL(int, poll, (struct pollfd * fds, nfds_t count, int timeout), (fds, count, timeout))       \
    CALL(ssize_t, read, (int fd, void *to, size_t len), (fd, to, len))                             \
    CALL(ssize_t, readv, (int fd, const struct iovec *to, int count), (fd, to, count))             \
    CALL(ssize_t, recv, (int fd, void *to, size_t len, int flags), (fd, to, len, flags))           \
    CALL(ssize_t, recvfrom,                                                                        \
         (int fd, void *to, size_t len, int flags, __SOCKADDR_ARG addr, socklen_t *addr_len),      \
         (fd, to, len, flags, addr, addr_len))                                                     \
    CALL(int, recvmmsg,                                                                            \
         (int fd, struct mmsghdr *to, unsigned int count, int flags, struct timespec *timeout),    \
         (fd, to, count, flags, timeout))                                                          \
    CALL(ssize_t, recvmsg, (int fd, struct msghdr *to, int flags), (fd, to, flags))                \
    CALL(ssize_t, send, (int fd, const void *data, size_t len, int flags), (fd, data, len, flags)) \
    CALL(int, sendmmsg, (int fd, struct mmsghdr *data, unsigned int count, int flags),             \
         (fd, data, count, flags))                                                                 \
    CALL(ssize_t, sendmsg, (int fd, const struct msghdr *data, int flags), (fd, data, flags))      \
    CALL(ssize_t, sendto,                                                                          \
         (int fd, const void *data, size_t len, int flags, __CONST_SOCKADDR_ARG addr,              \
          socklen_t addr_len),                                                                     \
         (fd, data, len, flags, addr, addr_len))                                                   \
    CALL(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t len),         \
         (fd, level, name, value, len))                                                            \
    CALL(int, shutdown, (int fd, int how), (fd, how))                                              \
    CALL(int, socket, (int family, int type, int protocol), (family, type, protocol))              \
    CALL(int, timerfd_settime,                                                                     \
         (int fd, int flags, const struct itimerspec *at, struct itimerspec *before),              \
         (fd, flags, at, before))                                                                  \
    CALL(ssize_t, write, (int fd, const void *data, size_t len), (fd, data, len))                  \
    CALL(ssize_t, writev, (int fd, const struct iovec *data, int count), (fd, data, count))

#define INDEX(type, name, parameters, arguments) INDEX_##name,
enum { CALLS(INDEX) INDEX_ioctl, COUNT };

#define NAME(type, name, parameters, arguments) #name,
static const char *const names[COUNT] = {CALLS(NAME) "ioctl"};

/* What the test reads: "24sQ" for each. */
struct counter {
    char name[24];
    atomic_uint_least64_t calls;
};

static struct counter early[COUNT]; /* before the constructor */
static struct counter *counters = early;

__attribute__((constructor)) static void open_counters(void)
{
    const char *path = getenv("ASOCK_TEST_CALLS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *page;

    if (fd < 0)
        return;
    page = mmap(NULL, sizeof(early), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED)
        return;
    counters = page;
    for (int i = 0; i < COUNT; i++)
        strncpy(counters[i].name, names[i], sizeof(counters[i].name) - 1);
}

/* The C library's own. */
static void find(void *ret_function, const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);

    if (!function)
        abort();
    memcpy(ret_function, &function, sizeof(function));
}

#define DEFINE(type, name, parameters, arguments)                                                  \
    type name parameters                                                                           \
    {                                                                                              \
        static type(*real) parameters;                                                             \
                                                                                                   \
        if (!real)                                                                                 \
            find(&real, #name);                                                                    \
        atomic_fetch_add(&counters[INDEX_##name].calls, 1);                                        \
        return real arguments;                                                                     \
    }
CALLS(DEFINE)

int ioctl(int fd, unsigned long request, ...)
{
    static int (*real)(int fd, unsigned long request, ...);
    va_list more;
    void *value;

    if (!real)
        find(&real, "ioctl");
    va_start(more, request);
    value = va_arg(more, void *);
    va_end(more);
    atomic_fetch_add(&counters[INDEX_ioctl].calls, 1);
    return real(fd, request, value);
}

/* What the compiler calls where it cannot tell the buffer's size from the call's. */
ssize_t __read_chk(int fd, void *to, size_t len, size_t room);
ssize_t __recv_chk(int fd, void *to, size_t len, size_t room, int flags);
int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room);

ssize_t __read_chk(int fd, void *to, size_t len, size_t room)
{
    if (len > room)
        abort();
    return read(fd, to, len);
}

ssize_t __recv_chk(int fd, void *to, size_t len, size_t room, int flags)
{
    if (len > room)
        abort();
    return recv(fd, to, len, flags);
}

int __poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t room)
{
    if (count > room / sizeof(*fds))
        abort();
    return poll(fds, count, timeout);
}
