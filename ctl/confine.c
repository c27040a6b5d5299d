/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * run --confine: lets a command use a lent socket, but not connect, bind or listen with it; and run
 * --sandbox: keeps a command from putting input into the terminal.
 *
 * Happy path: set "no new privileges"; load Landlock, if the kernel has it: it keeps the command
 * from the memory of other processes of the user (ptrace(2), /proc/PID/mem), and denies the TCP
 * ports that it knows rules for; load a filter of system calls. Children inherit all of it, and it
 * cannot be undone.
 * Failures: without the filter the command is not run. Landlock is only a second protection: a
 * kernel without it is recognised by its error, and accepted.
 */
#include "ctl/confine.h"

#include <errno.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SOCKET_TYPE_MASK 0xfu /* the other bits are flags */

/* ---- Landlock; Debian 12's headers only have its rules for files ---- */

struct ruleset {
    uint64_t files;
    uint64_t net;
};

#define NET_BIND_TCP UINT64_C(1)
#define NET_CONNECT_TCP UINT64_C(2)
#define NET_SINCE_ABI 4

/*
 * No rule allows a TCP port, so none can be bound or connected to. An older kernel gets a rule
 * about something that needs a privilege anyway: with any rules a process cannot reach into a
 * process that has other rules.
 */
static int restrict_with_landlock(void)
{
    struct ruleset rules = {.net = NET_BIND_TCP | NET_CONNECT_TCP};
    size_t size = sizeof(rules);
    long abi = syscall(__NR_landlock_create_ruleset, NULL, (size_t)0,
                       LANDLOCK_CREATE_RULESET_VERSION);
    int fd, r = 0;

    if (abi < 1)
        return 0;
    if (abi < NET_SINCE_ABI) {
        rules = (struct ruleset){.files = LANDLOCK_ACCESS_FS_MAKE_BLOCK};
        size = sizeof(rules.files);
    }
    fd = (int)syscall(__NR_landlock_create_ruleset, &rules, size, 0u);
    if (fd < 0)
        return -errno;
    if (syscall(__NR_landlock_restrict_self, fd, 0u) < 0)
        r = -errno;
    close(fd);
    return r;
}

/* ---- the filter ---- */

/*
 * Denied with any arguments. The last three lead into processes that are not confined, if there is
 * no Landlock.
 */
static const int denied[] = {SCMP_SYS(connect),        SCMP_SYS(bind),
                             SCMP_SYS(listen),         SCMP_SYS(io_uring_setup),
                             SCMP_SYS(io_uring_enter), SCMP_SYS(io_uring_register),
                             SCMP_SYS(ptrace),         SCMP_SYS(process_vm_writev),
                             SCMP_SYS(pidfd_getfd)};

/* The same: what is pushed into a terminal, a shell outside may read as a command. */
static const unsigned long denied_ioctls[] = {TIOCSTI, TIOCLINUX};

static int deny_terminals(scmp_filter_ctx filter)
{
    int r = 0;

    for (size_t i = 0; i < sizeof(denied_ioctls) / sizeof(denied_ioctls[0]) && r == 0; i++)
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                             SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, denied_ioctls[i]));
    return r;
}

/*
 * A filter cannot see the address of a sendmsg(2). TCP uses the address only with MSG_FASTOPEN, and
 * Unix sockets only for datagrams; so these two are denied.
 */
static const struct {
    int call;
    unsigned int argument;
} fast_open[] = {{SCMP_SYS(sendto), 3}, {SCMP_SYS(sendmsg), 2}, {SCMP_SYS(sendmmsg), 3}};

/*
 * Some protocols connect without connect(2): SCTP by setsockopt(2) and by sendmsg(2), as TIPC and
 * others do. Sockets of Unix and of Netlink, which tells of interfaces, are left.
 */
static int deny_families(scmp_filter_ctx filter)
{
    const uint32_t no = SCMP_ACT_ERRNO(EPERM);
    int r = seccomp_rule_add(filter, no, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_GT, AF_NETLINK));

    for (unsigned int family = 0; family < AF_NETLINK && r == 0; family++)
        if (family != AF_UNIX)
            r = seccomp_rule_add(filter, no, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, family));
    return r;
}

static const int makers[] = {SCMP_SYS(socket), SCMP_SYS(socketpair)};
static const uint32_t datagrams[] = {SOCK_DGRAM, SOCK_RAW}; /* of Unix sockets the same */

static int add_rules(scmp_filter_ctx filter)
{
    const uint32_t no = SCMP_ACT_ERRNO(EPERM);
    int r = 0;

    for (size_t i = 0; i < sizeof(denied) / sizeof(denied[0]) && r == 0; i++)
        r = seccomp_rule_add(filter, no, denied[i], 0);
    if (r == 0)
        r = deny_terminals(filter);
    if (r == 0)
        r = deny_families(filter);
    for (size_t i = 0; i < sizeof(fast_open) / sizeof(fast_open[0]) && r == 0; i++)
        r = seccomp_rule_add(
            filter, no, fast_open[i].call, 1,
            SCMP_CMP(fast_open[i].argument, SCMP_CMP_MASKED_EQ, MSG_FASTOPEN, MSG_FASTOPEN));
    if (r == 0)
        r = seccomp_rule_add(filter, no, SCMP_SYS(sendto), 1, SCMP_A4(SCMP_CMP_NE, 0));
    for (size_t i = 0; i < 4 && r == 0; i++)
        r = seccomp_rule_add(filter, no, makers[i / 2], 2,
                             SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, AF_UNIX),
                             SCMP_A1(SCMP_CMP_MASKED_EQ, SOCKET_TYPE_MASK, datagrams[i % 2]));
    return r;
}

/*
 * A system call of another architecture, also x32, ends the process, because its numbers have other
 * meanings.
 */
static int load_filter(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int r;

    if (!filter)
        return -ENOMEM;
    r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (r == 0)
        r = add_rules(filter);
    if (r == 0)
        r = seccomp_load(filter);
    seccomp_release(filter);
    return r;
}

int confine(void)
{
    int r;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    r = restrict_with_landlock();
    return r < 0 ? r : load_filter();
}

/*
 * Programs of the processor's other architectures run there, too; what is not of the same byte
 * order is not added, and is none of the processor's.
 */
static int add_architectures(scmp_filter_ctx filter)
{
    static const uint32_t architectures[] = {SCMP_ARCH_X86_64, SCMP_ARCH_X86, SCMP_ARCH_X32,
                                             SCMP_ARCH_AARCH64, SCMP_ARCH_ARM};
    int r = 0;

    for (size_t i = 0; i < sizeof(architectures) / sizeof(architectures[0]) && r == 0; i++) {
        r = seccomp_arch_add(filter, architectures[i]);
        if (r == -EEXIST || r == -EDOM)
            r = 0;
    }
    return r;
}

int confine_from_terminals(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    int r;

    if (!filter)
        return -ENOMEM;
    r = add_architectures(filter);
    if (r == 0)
        r = deny_terminals(filter);
    if (r == 0)
        r = seccomp_load(filter);
    seccomp_release(filter);
    return r;
}
