/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/fault.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static enum fault_side running;
static int counts[FAULT_SIDES][FAULT_CALLS];
static enum fault_side armed_side;
static enum fault_call armed_call;
static int armed_n = -1;
static bool was_hit;
static long blocks;
static void (*on_poll)(void *data);
static void *on_poll_data;

enum fault_side fault_enter(enum fault_side side)
{
    enum fault_side before = running;

    running = side;
    return before;
}

void fault_arm(enum fault_side side, enum fault_call call, int n)
{
    memset(counts, 0, sizeof(counts));
    armed_side = side;
    armed_call = call;
    armed_n = n;
    was_hit = false;
}

bool fault_was_hit(void)
{
    return was_hit;
}

int fault_count(enum fault_side side, enum fault_call call)
{
    return counts[side][call];
}

long fault_blocks(void)
{
    return blocks;
}

int fault_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

bool fault_has_shared_memory(void)
{
    static char line[4096];
    FILE *maps = fopen("/proc/self/maps", "r");
    bool found = false;

    while (fgets(line, sizeof(line), maps))
        found |= strstr(line, "memfd:asock") != NULL;
    fclose(maps);
    return found;
}

const char *fault_call_name(enum fault_call call)
{
    static const char *const names[FAULT_CALLS] = {
        "malloc",     "calloc",      "realloc",     "socket",   "connect",
        "send",       "sendmsg",     "recv",        "recvmsg",  "setsockopt",
        "getsockopt", "getsockname", "getpeername", "shutdown", "memfd_create",
        "ftruncate",  "fallocate",   "madvise",     "mmap",
    };

    return names[call];
}

const char *fault_describe(void)
{
    static char text[64];

    if (armed_n < 0)
        return "nothing fails";
    snprintf(text, sizeof(text), "%s's %s %d fails",
             armed_side == FAULT_DAEMON ? "the daemon" : "the library", fault_call_name(armed_call),
             armed_n);
    return text;
}

static bool fails(enum fault_call call)
{
    int n;

    if (running == FAULT_NOBODY)
        return false;
    n = counts[running][call]++;
    if (running != armed_side || call != armed_call || n != armed_n)
        return false;
    was_hit = true;
    return true;
}

/* The blocks that a side has, open addressing; what was allocated elsewhere is not in it. */
#define OWNED 16384
static void *owned[OWNED];

static void **place_of(void *p)
{
    size_t i = ((uintptr_t)p >> 4) * 2654435761u % OWNED;

    while (owned[i] && owned[i] != p)
        i = (i + 1) % OWNED;
    return &owned[i];
}

static void *own(void *p)
{
    if (!p || running == FAULT_NOBODY)
        return p;
    *place_of(p) = p;
    blocks++;
    return p;
}

/* Those behind it in its run move up, so that they are found again. */
static void disown(void *p)
{
    void **place = place_of(p);
    size_t i;

    if (!p || !*place)
        return;
    *place = NULL;
    blocks--;
    for (i = (size_t)(place - owned + 1) % OWNED; owned[i]; i = (i + 1) % OWNED) {
        void *other = owned[i];

        owned[i] = NULL;
        *place_of(other) = other;
    }
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_realloc(void *p, size_t size);
void __real_free(void *p);
void __wrap_free(void *p);

void *__wrap_malloc(size_t size)
{
    return fails(FAULT_MALLOC) ? NULL : own(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails(FAULT_CALLOC) ? NULL : own(__real_calloc(count, size));
}

void *__wrap_realloc(void *p, size_t size)
{
    if (fails(FAULT_REALLOC))
        return NULL;
    disown(p);
    return own(__real_realloc(p, size));
}

void __wrap_free(void *p)
{
    disown(p);
    __real_free(p);
}

/* `error` is one that the kernel may really give there. */
#define WRAP(type, function, call, error, parameters, arguments)                                   \
    type __real_##function parameters;                                                             \
    type __wrap_##function parameters;                                                             \
    type __wrap_##function parameters                                                              \
    {                                                                                              \
        if (fails(call)) {                                                                         \
            errno = error;                                                                         \
            return -1;                                                                             \
        }                                                                                          \
        return __real_##function arguments;                                                        \
    }

WRAP(int, socket, FAULT_SOCKET, ENFILE, (int domain, int type, int protocol),
     (domain, type, protocol))
WRAP(int, connect, FAULT_CONNECT, ENETUNREACH, (int fd, const struct sockaddr *addr, socklen_t len),
     (fd, addr, len))
WRAP(ssize_t, send, FAULT_SEND, EPIPE, (int fd, const void *data, size_t len, int flags),
     (fd, data, len, flags))
WRAP(ssize_t, sendmsg, FAULT_SENDMSG, ECONNRESET, (int fd, const struct msghdr *msg, int flags),
     (fd, msg, flags))
WRAP(ssize_t, recv, FAULT_RECV, ECONNRESET, (int fd, void *data, size_t len, int flags),
     (fd, data, len, flags))
WRAP(ssize_t, recvmsg, FAULT_RECVMSG, ECONNRESET, (int fd, struct msghdr *msg, int flags),
     (fd, msg, flags))
WRAP(int, setsockopt, FAULT_SETSOCKOPT, ENOBUFS,
     (int fd, int level, int name, const void *value, socklen_t len), (fd, level, name, value, len))
WRAP(int, getsockopt, FAULT_GETSOCKOPT, ENOBUFS,
     (int fd, int level, int name, void *value, socklen_t *len), (fd, level, name, value, len))
WRAP(int, getsockname, FAULT_GETSOCKNAME, ENOBUFS, (int fd, struct sockaddr *addr, socklen_t *len),
     (fd, addr, len))
WRAP(int, getpeername, FAULT_GETPEERNAME, ENOTCONN, (int fd, struct sockaddr *addr, socklen_t *len),
     (fd, addr, len))
WRAP(int, shutdown, FAULT_SHUTDOWN, ENOTCONN, (int fd, int how), (fd, how))
WRAP(int, memfd_create, FAULT_MEMFD_CREATE, ENFILE, (const char *name, unsigned int flags),
     (name, flags))
WRAP(int, ftruncate, FAULT_FTRUNCATE, ENOSPC, (int fd, off_t len), (fd, len))
WRAP(int, fallocate, FAULT_FALLOCATE, ENOSPC, (int fd, int mode, off_t at, off_t len),
     (fd, mode, at, len))
WRAP(int, madvise, FAULT_MADVISE, ENOMEM, (void *at, size_t len, int advice), (at, len, advice))

void *__real_mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset);

void *__wrap_mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
    if (fails(FAULT_MMAP)) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return __real_mmap(at, len, protection, flags, fd, offset);
}

void fault_on_poll(void (*fn)(void *data), void *data)
{
    on_poll = fn;
    on_poll_data = data;
}

int __real_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    if (on_poll && running != FAULT_NOBODY) {
        on_poll(on_poll_data);
        timeout = 0;
    }
    return __real_poll(fds, count, timeout);
}
