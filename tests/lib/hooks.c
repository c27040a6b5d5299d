/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a daemon must not do, or what must not be done to it. */
#include "tests/lib/hooks.h"

#include <linux/netlink.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <unistd.h>

/* What the watchdog is there for: a callback that never returns. */
static void hang(void)
{
    for (;;) /* a signal ends the call */
        poll(NULL, 0, -1);
}

static void try_execve(void)
{
    static char *const nothing[] = {NULL};

    execve("/bin/true", nothing, nothing);
}

static void try_ptrace(void)
{
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static void try_write(void)
{
    open("/dev/null", O_WRONLY | O_CLOEXEC);
}

static void try_fork(void)
{
    if (fork() == 0)
        _exit(0);
}

static void try_mmap(void)
{
    mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void try_listen(void)
{
    listen(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), 1);
}

static void try_socket(void)
{
    socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
}

static void try_kill(void)
{
    kill(getppid(), 0);
}

static void free_twice(void)
{
    void *volatile memory = malloc(1);

    free(memory);
    free(memory);
}

void (*hooks_find(void))(void)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } hooks[] = {
        {"execve", try_execve}, {"ptrace", try_ptrace}, {"write", try_write},
        {"fork", try_fork},     {"mmap", try_mmap},     {"listen", try_listen},
        {"socket", try_socket}, {"kill", try_kill},     {"free", free_twice},
    };
    const char *name = getenv("ASOCKD_TEST_HOOK");

    for (size_t i = 0; name && i < sizeof(hooks) / sizeof(hooks[0]); i++)
        if (strcmp(hooks[i].name, name) == 0)
            return hooks[i].run;
    return hang;
}
