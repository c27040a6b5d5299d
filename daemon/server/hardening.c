/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: the tables below become a filter, the kernel takes it for all threads.
 * Failures: whatever the kernel or libseccomp refuses ends the start; the daemon does not run with
 * less than was promised. Later: a call that is in no table ends the process with SIGSYS.
 *
 * What is used for every message stands in the plain table: such calls are decided by the kernel's
 * bitmap (Linux 5.11), not by running the filter.
 */
#include "daemon/server/hardening.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "base/log.h"
#include "daemon/wire/client_fd.h"

/* ---- the filter's tables ---- */

/*
 * Allowed with any argument. Names that this machine's architecture lacks are passed over. Besides
 * what our own code calls, there is what glibc makes of it in one version or the other (stat is
 * newfstatat, open is openat), what c-ares and libsystemd do, and what an assertion that fails
 * needs for its message.
 */
static const int plain_calls[] = {
    /* every turn of the loop */
    SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_ctl), SCMP_SYS(read),
    SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(recvfrom), SCMP_SYS(recvmsg),
    SCMP_SYS(recvmmsg), SCMP_SYS(sendto), SCMP_SYS(sendmsg), SCMP_SYS(sendmmsg),
    SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(futex),
    SCMP_SYS(restart_syscall),
    /* sockets; what can listen is TCP alone, for no other stream socket can be made */
    SCMP_SYS(accept4), SCMP_SYS(listen), SCMP_SYS(bind), SCMP_SYS(connect), SCMP_SYS(shutdown),
    SCMP_SYS(close), SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(getsockopt),
    SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(pidfd_open),
    /* libev makes a new epoll when its descriptors got confused */
    SCMP_SYS(epoll_create1), SCMP_SYS(eventfd2), SCMP_SYS(pipe2), SCMP_SYS(timerfd_create),
    SCMP_SYS(timerfd_settime),
    /* files that are only read */
    SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(statx),
    SCMP_SYS(fstatfs), SCMP_SYS(statfs), SCMP_SYS(access), SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(getdents64),
    SCMP_SYS(lseek), SCMP_SYS(pread64),
    /* memory */
    SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(memfd_create),
    SCMP_SYS(ftruncate), SCMP_SYS(fallocate), SCMP_SYS(pwrite64), SCMP_SYS(getrandom),
    SCMP_SYS(sysinfo),
    /* itself; the first steps of a thread, which was made before the filter (audit/file.c) */
    SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid),
    SCMP_SYS(getegid), SCMP_SYS(uname), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn), SCMP_SYS(rseq), SCMP_SYS(set_robust_list), SCMP_SYS(exit),
    SCMP_SYS(exit_group)};

/* Allowed where this argument, so masked, has this value. */
struct guarded_call {
    int call;
    unsigned int argument;
    uint64_t mask, value;
};

#define WHOLE UINT64_MAX
#define LOW 0xffffffffu /* an int: the kernel ignores the rest of the register */
/* O_TMPFILE has O_DIRECTORY in it, which is harmless. */
#define WRITES (O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND | (O_TMPFILE & ~O_DIRECTORY))

static const struct guarded_call guarded_calls[] = {
    {SCMP_SYS(openat), 2, WRITES, O_RDONLY},
    {SCMP_SYS(open), 1, WRITES, O_RDONLY},
    {SCMP_SYS(mmap), 2, PROT_EXEC, 0},
    {SCMP_SYS(mprotect), 2, PROT_EXEC, 0},
    {SCMP_SYS(fcntl), 1, LOW, F_GETFD},
    {SCMP_SYS(fcntl), 1, LOW, F_SETFD},
    {SCMP_SYS(fcntl), 1, LOW, F_GETFL},
    {SCMP_SYS(fcntl), 1, LOW, F_SETFL},
    {SCMP_SYS(fcntl), 1, LOW, F_ADD_SEALS},
    {SCMP_SYS(fcntl), 1, LOW, F_GET_SEALS},
    /* fopen() of a device (c-ares: /dev/urandom) asks whether it is a terminal */
    {SCMP_SYS(ioctl), 1, LOW, TCGETS},
    /* has a client read what it was sent? */
    {SCMP_SYS(ioctl), 1, LOW, SIOCOUTQ},
    /* what is still in a socket's queue */
    {SCMP_SYS(ioctl), 1, LOW, TIOCOUTQ},
    /* what a client could receive */
    {SCMP_SYS(ioctl), 1, LOW, SIOCINQ},
    /* if_nametoindex() */
    {SCMP_SYS(ioctl), 1, LOW, SIOCGIFINDEX},
    /* getrlimit() */
    {SCMP_SYS(prlimit64), 2, WHOLE, 0},
    /* the timer that interrupts a close that waits (interrupt.h) */
    {SCMP_SYS(setitimer), 0, LOW, ITIMER_REAL},
};

/* The type may carry flags; the protocol is the usual one, or named. */
static const struct {
    int domain, type, protocol;
} sockets[] = {
    {AF_INET, SOCK_STREAM, 0},
    {AF_INET, SOCK_STREAM, IPPROTO_TCP},
    {AF_INET6, SOCK_STREAM, 0},
    {AF_INET6, SOCK_STREAM, IPPROTO_TCP},
    {AF_INET, SOCK_DGRAM, 0},
    {AF_INET, SOCK_DGRAM, IPPROTO_UDP}, /* DNS */
    {AF_INET6, SOCK_DGRAM, 0},
    {AF_INET6, SOCK_DGRAM, IPPROTO_UDP},
    {AF_UNIX, SOCK_DGRAM, 0},              /* the service manager, the journal */
    {AF_NETLINK, SOCK_RAW, NETLINK_ROUTE}, /* which way packets go: RTM_GETROUTE */
};

/*
 * No packet filters, no repair mode, no upper layer protocols. libsystemd asks for a larger buffer
 * by SO_SNDBUFFORCE, which the kernel refuses to whom has no capability.
 */
static const struct {
    int level, name;
} socket_options[] = {
    {SOL_SOCKET, SO_BINDTODEVICE},         /* [Egress] */
    {IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT}, /* [Egress] */
    {SOL_SOCKET, SO_BROADCAST},
    {SOL_SOCKET, SO_KEEPALIVE},
    {SOL_SOCKET, SO_LINGER},
    {SOL_SOCKET, SO_PASSRIGHTS}, /* clients cannot send descriptors */
    {SOL_SOCKET, SO_PRIORITY},   /* counts who has read a state (store.c) */
    {SOL_SOCKET, SO_RCVBUF},
    {SOL_SOCKET, SO_REUSEADDR},
    {SOL_SOCKET, SO_RXQ_OVFL}, /* datagrams */
    {SOL_SOCKET, SO_SNDBUF},
    {SOL_SOCKET, SO_SNDBUFFORCE},
    {IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT}, /* [Egress] */
    {IPPROTO_IP, IP_MULTICAST_ALL},
    {IPPROTO_IP, IP_MULTICAST_IF},
    {IPPROTO_IP, IP_MULTICAST_LOOP},
    {IPPROTO_IP, IP_MULTICAST_TTL},
    {IPPROTO_IP, IP_PKTINFO},
    {IPPROTO_IP, IP_RECVERR},
    {IPPROTO_IP, IP_RECVTOS},
    {IPPROTO_IP, IP_TOS},
    {IPPROTO_IP, IP_TTL},
    {IPPROTO_IP, MCAST_JOIN_GROUP},
    {IPPROTO_IP, MCAST_LEAVE_GROUP},
    {IPPROTO_IPV6, IPV6_MULTICAST_ALL},
    {IPPROTO_IPV6, IPV6_MULTICAST_HOPS},
    {IPPROTO_IPV6, IPV6_MULTICAST_IF},
    {IPPROTO_IPV6, IPV6_MULTICAST_LOOP},
    {IPPROTO_IPV6, IPV6_RECVERR},
    {IPPROTO_IPV6, IPV6_RECVPKTINFO},
    {IPPROTO_IPV6, IPV6_RECVTCLASS},
    {IPPROTO_IPV6, IPV6_TCLASS},
    {IPPROTO_IPV6, IPV6_UNICAST_HOPS},
    {IPPROTO_IPV6, IPV6_V6ONLY},
    {IPPROTO_IPV6, MCAST_JOIN_GROUP},
    {IPPROTO_IPV6, MCAST_LEAVE_GROUP},
    {IPPROTO_TCP, TCP_KEEPCNT},
    {IPPROTO_TCP, TCP_KEEPIDLE},
    {IPPROTO_TCP, TCP_KEEPINTVL},
    {IPPROTO_TCP, TCP_NODELAY},
    {IPPROTO_TCP, TCP_QUICKACK},
    {IPPROTO_TCP, TCP_USER_TIMEOUT},
    {IPPROTO_UDP, UDP_GRO},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- from the tables to rules ---- */

static int add_plain(scmp_filter_ctx filter)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < COUNT(plain_calls); i++)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, plain_calls[i], 0);
    return r;
}

static int add_guarded(scmp_filter_ctx filter)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < COUNT(guarded_calls); i++) {
        const struct guarded_call *c = &guarded_calls[i];

        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, c->call, 1,
                             SCMP_CMP(c->argument, SCMP_CMP_MASKED_EQ, c->mask, c->value));
    }
    return r;
}

static int add_sockets(scmp_filter_ctx filter)
{
    const uint64_t type = LOW & ~(uint64_t)(SOCK_CLOEXEC | SOCK_NONBLOCK);
    int r = 0;

    for (size_t i = 0; r == 0 && i < COUNT(sockets); i++)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 3,
                             SCMP_A0(SCMP_CMP_MASKED_EQ, LOW, (uint64_t)sockets[i].domain),
                             SCMP_A1(SCMP_CMP_MASKED_EQ, type, (uint64_t)sockets[i].type),
                             SCMP_A2(SCMP_CMP_MASKED_EQ, LOW, (uint64_t)sockets[i].protocol));
    for (size_t i = 0; r == 0 && i < COUNT(socket_options); i++)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 2,
                             SCMP_A1(SCMP_CMP_MASKED_EQ, LOW, (uint64_t)socket_options[i].level),
                             SCMP_A2(SCMP_CMP_MASKED_EQ, LOW, (uint64_t)socket_options[i].name));
    return r;
}

/* What abort() does: a signal to its own process, and to no other. */
static int add_abort(scmp_filter_ctx filter)
{
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                            SCMP_A0(SCMP_CMP_MASKED_EQ, LOW, (uint64_t)getpid()));
}

static int add_unlink(scmp_filter_ctx filter)
{
    int r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(unlink), 0);

    return r < 0 ? r : seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(unlinkat), 0);
}

static int set_attributes(scmp_filter_ctx filter)
{
    int r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

    if (r == 0)
        r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
    if (r == 0)
        r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree, not a list */
    return r;
}

static int load_filter(bool removes_sockets)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int r;

    if (!filter)
        return -ENOMEM;
    r = set_attributes(filter);
    if (r == 0)
        r = add_plain(filter);
    if (r == 0)
        r = add_guarded(filter);
    if (r == 0)
        r = add_sockets(filter);
    if (r == 0)
        r = add_abort(filter);
    if (r == 0 && removes_sockets)
        r = add_unlink(filter);
    if (r == 0)
        r = seccomp_load(filter);
    seccomp_release(filter);
    return r;
}

int hardening_enter(bool removes_sockets)
{
    int r = 0;

    /* glibc's last words go to standard error: it would open the terminal for writing. */
    setenv("LIBC_FATAL_STDERR_", "1", 1);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        r = -errno;
    if (r == 0)
        r = load_filter(removes_sockets);
    if (r < 0)
        log_error("asockd: cannot install the system call filter: %s", strerror(-r));
    return r;
}

/* ---- descriptors ---- */

static int activated(void)
{
#ifdef HAVE_SYSTEMD
    int count = sd_listen_fds(0);

    return count > 0 ? count : 0;
#else
    return 0;
#endif
}

int hardening_close_inherited(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    /* A number below 3 that was free now stands for nothing; otherwise our sockets would be taken
     * for the standard streams. */
    while (fd >= 0 && fd <= STDERR_FILENO)
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0 || dup2(fd, STDIN_FILENO) < 0)
        return -errno;
    close(fd);
    if (close_range((unsigned int)(STDERR_FILENO + 1 + activated()), ~0u, 0) < 0)
        return -errno;
    return 0;
}
