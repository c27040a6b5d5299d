/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* System calls on everything but sockets: descriptors, memory, time, files. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "tests/sim/calls.h"
#include "tests/sim/kernel.h"
#include "tests/sim/relay.h"
#include "tests/sim/real.h"

int __wrap_close(int fd)
{
    int r;

    calls_enter();
    r = fd_close(fd);
    if (r == -EBADF)
        sim_fail("bad-descriptor: close(%d)", fd);
    return (int)calls_leave(r);
}

int __wrap_dup3(int from, int to, int flags)
{
    struct kfile *file = fd_file(from);

    (void)flags;
    calls_enter();
    if (!file || to < KERNEL_FD_FIRST)
        return (int)calls_leave(-EBADF);
    file->refs++;
    if (fd_file(to))
        fd_close(to);
    kernel.fds[to - KERNEL_FD_FIRST].file = file;
    kernel.fds[to - KERNEL_FD_FIRST].owner = sim.actor;
    return to;
}

static int duplicate(int fd)
{
    fd_file(fd)->refs++;
    return fd_install(fd_file(fd));
}

int __wrap_fcntl(int fd, int command, ...)
{
    struct kfile *file = fd_file(fd);
    va_list args;
    int value;

    va_start(args, command);
    value = va_arg(args, int);
    va_end(args);
    calls_enter();
    if (!file)
        return (int)calls_leave(-EBADF);
    switch (command) {
    case F_GETFL:
        return O_RDWR | (file->is_nonblocking ? O_NONBLOCK : 0);
    case F_SETFL:
        file->is_nonblocking = value & O_NONBLOCK;
        return 0;
    case F_GETFD:
        return kernel.fds[fd - KERNEL_FD_FIRST].is_cloexec ? FD_CLOEXEC : 0;
    case F_SETFD:
        kernel.fds[fd - KERNEL_FD_FIRST].is_cloexec = value & FD_CLOEXEC;
        return 0;
    case F_DUPFD_CLOEXEC:
        return (int)calls_leave(duplicate(fd));
    case F_ADD_SEALS:
        file->u.memory.seals |= value;
        return 0;
    case F_GET_SEALS:
        return file->kind == FILE_MEMORY ? file->u.memory.seals : (int)calls_leave(-EINVAL);
    default:
        sim_fail("simulator: fcntl(%d)", command);
    }
}

int __wrap_memfd_create(const char *name, unsigned int flags)
{
    int fd = __real_memfd_create(name, MFD_CLOEXEC);
    struct kfile *file;

    (void)flags;
    calls_enter();
    if (fd < 0)
        return -1;
    file = file_new(FILE_MEMORY);
    file->u.memory.fd = fd;
    return (int)calls_leave(fd_install(file));
}

static struct kfile *memory_file(int fd)
{
    struct kfile *file = fd_file(fd);

    calls_enter();
    if (!file || file->kind != FILE_MEMORY)
        sim_fail("bad-descriptor: %d is no memory", fd);
    return file;
}

int __wrap_ftruncate(int fd, off_t length)
{
    return __real_ftruncate(memory_file(fd)->u.memory.fd, length);
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t length)
{
    return __real_fallocate(memory_file(fd)->u.memory.fd, mode, offset, length);
}

ssize_t __wrap_pwrite(int fd, const void *buf, size_t n, off_t offset)
{
    return __real_pwrite(memory_file(fd)->u.memory.fd, buf, n, offset);
}

ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t offset)
{
    int memory = memory_file(fd)->u.memory.fd;

    if (sim_fault(FAULT_INTERRUPT, 20))
        return calls_leave(-EINTR);
    if (n > 0 && sim_fault(FAULT_PARTIAL, 4))
        n = 1 + sim_random((uint32_t)n);
    return __real_pread(memory, buf, n, offset);
}

/* Standard error is a regular file, whatever it is outside: a program does the same everywhere. */
int __wrap_fstat(int fd, struct stat *st)
{
    memset(st, 0, sizeof(*st));
    if (fd == STDERR_FILENO)
        st->st_mode = S_IFREG;
    else if (fd_file(fd) && fd_file(fd)->kind == FILE_UNIX)
        st->st_mode = S_IFSOCK;
    else
        st->st_mode = S_IFREG, st->st_size = lseek(memory_file(fd)->u.memory.fd, 0, SEEK_END);
    return 0;
}

int __wrap_isatty(int fd)
{
    SIM_MUST(fd == STDERR_FILENO);
    calls_enter();
    errno = ENOTTY;
    return 0;
}

int __wrap_stat(const char *path, struct stat *st)
{
    (void)path;
    (void)st;
    calls_enter();
    return (int)calls_leave(-ENOENT);
}

void *__wrap_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    calls_enter();
    return __real_mmap(at, length, protection, flags, fd < 0 ? -1 : memory_file(fd)->u.memory.fd,
                       offset);
}

int __wrap_munmap(void *at, size_t length)
{
    calls_enter();
    return __real_munmap(at, length);
}

/* Of memory without a file. */
void *__wrap_mremap(void *at, size_t length, size_t new_length, int flags, void *to)
{
    calls_enter();
    return __real_mremap(at, length, new_length, flags, to);
}

int __wrap_madvise(void *at, size_t length, int advice)
{
    calls_enter();
    /* A run in a child of the driver's would find the fork mark wiped. */
    return advice == MADV_WIPEONFORK ? 0 : __real_madvise(at, length, advice);
}

int __wrap_eventfd(unsigned int count, int flags)
{
    struct kfile *file = file_new(FILE_EVENT);

    (void)flags;
    calls_enter();
    file->u.events = count;
    return (int)calls_leave(fd_install(file));
}

int __wrap_timerfd_create(int clock, int flags)
{
    (void)clock;
    (void)flags;
    calls_enter();
    return (int)calls_leave(fd_install(file_new(FILE_TIMER)));
}

/* Also for the close of a socket that a client holds: here no close blocks. */
int __wrap_setitimer(int which, const struct itimerval *at, struct itimerval *before)
{
    (void)which;
    (void)at;
    (void)before;
    calls_enter();
    return 0;
}

/* What the signal of that timer needs. */
sighandler_t __wrap_signal(int number, sighandler_t handler)
{
    (void)number;
    (void)handler;
    calls_enter();
    return SIG_DFL;
}

int __wrap_sigprocmask(int how, const sigset_t *set, sigset_t *before)
{
    (void)how;
    (void)set;
    (void)before;
    calls_enter();
    return 0;
}

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *at,
                           struct itimerspec *before)
{
    struct kfile *file = fd_file(fd);
    uint64_t ns = (uint64_t)at->it_value.tv_sec * 1000000000 + (uint64_t)at->it_value.tv_nsec;

    (void)flags;
    (void)before;
    calls_enter();
    SIM_MUST(file && file->kind == FILE_TIMER);
    file->u.timer = ns ? sim.now_ns + ns : 0;
    return 0;
}

ssize_t __wrap_read(int fd, void *data, size_t len)
{
    struct kfile *file = fd_file(fd);
    uint64_t count = 1;

    calls_enter();
    if (file && (file->kind == FILE_UNIX || file->kind == FILE_TCP))
        return recv(fd, data, len, 0);
    SIM_MUST(file && len == sizeof(count));
    if (!(file_events(file) & POLLIN))
        return calls_leave(-EAGAIN);
    if (file->kind == FILE_EVENT)
        count = file->u.events;
    file->u.events = 0;
    memcpy(data, &count, sizeof(count));
    return sizeof(count);
}

ssize_t __wrap___read_chk(int fd, void *data, size_t len, size_t cap)
{
    SIM_MUST(len <= cap);
    return __wrap_read(fd, data, len);
}

/* Lines of the log, and wake-ups. */
ssize_t __wrap_write(int fd, const void *data, size_t len)
{
    struct kfile *file = fd_file(fd);

    /* A trace has more of them, and must be of the same program: they take no time. */
    if (fd == STDERR_FILENO) {
        sim_trace("log: %.*s", (int)(len > 0 ? len - 1 : 0), (const char *)data);
        return (ssize_t)len;
    }
    calls_enter();
    SIM_MUST(file && file->kind == FILE_EVENT);
    file->u.events++;
    return (ssize_t)len;
}

int __wrap_open(const char *path, int flags, ...)
{
    (void)flags;
    calls_enter();
    if (strcmp(path, "/dev/null") == 0)
        return (int)calls_leave(fd_install(file_new(FILE_PLAIN)));
    return (int)calls_leave(-ENOENT);
}

int __wrap___openat_2(int dir, const char *path, int flags)
{
    (void)dir;
    return __wrap_open(path, flags);
}

/* No file exists but the list of services, which never changes. */
FILE *__wrap_fopen(const char *path, const char *mode)
{
    static char services[] = "echo 7/tcp\nsim 2007/tcp alias\n";

    calls_enter();
    if (strcmp(path, "/etc/services") == 0)
        return fmemopen(services, sizeof(services) - 1, mode[0] == 'r' ? "r" : mode);
    errno = ENOENT;
    return NULL;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
    (void)clock;
    calls_enter();
    ret->tv_sec = (time_t)(sim.now_ns / 1000000000);
    ret->tv_nsec = (long)(sim.now_ns % 1000000000);
    return 0;
}

time_t __wrap_time(time_t *ret)
{
    calls_enter();
    if (ret)
        *ret = (time_t)(sim.now_ns / 1000000000);
    return (time_t)(sim.now_ns / 1000000000);
}

int __wrap_getentropy(void *data, size_t len)
{
    calls_enter();
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)data)[i] = (uint8_t)sim_random(256);
    return 0;
}

char *__wrap_secure_getenv(const char *name)
{
    (void)name;
    return NULL;
}

char *__wrap_getenv(const char *name)
{
    (void)name;
    return NULL;
}

/* There is one thread, and one of the gateway's that is over at once. */
int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *),
                          void *data)
{
    (void)ret;
    (void)attr;
    return relay_thread(run, data);
}

int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    (void)cond;
    (void)mutex;
    sim_fail("waits-forever: pthread_cond_wait with one thread");
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *until)
{
    (void)until;
    return __wrap_pthread_cond_wait(cond, mutex);
}
