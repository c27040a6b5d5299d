/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The process that empties shared memory.
 * Happy path: each thread takes a request with its descriptor, empties or marks what that is, and
 * answers. The daemon has ended when nothing more comes: threads that are not busy end, and the
 * process with the last one.
 * Failures: an errno is the answer. The process cannot begin: the daemon sees that its socket is
 * closed. What it can do at most: the system calls of the filter below.
 */
#include "daemon/server/emptier_process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/core/capabilities.h"

#define STACK_BYTES (64u * 1024u)

static int empty_or_mark(int fd, uint64_t length)
{
    const uint32_t mark = 1;

    if (length == 0)
        return pwrite(fd, &mark, sizeof(mark), 0) < 0 ? -errno : 0;
    return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)length) < 0 ? -errno
                                                                                           : 0;
}

/* false: the daemon has ended. */
static bool take(struct emptier_request *ret, int *ret_fd)
{
    struct iovec data = {ret, sizeof(*ret)};
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(EMPTIER_FD, &message, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *head = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;

    *ret_fd = -1;
    if (head)
        memcpy(ret_fd, CMSG_DATA(head), sizeof(*ret_fd));
    return n == sizeof(*ret);
}

/* Of this thread alone, and without what pthread_exit(3) would still do. */
static _Noreturn void end_thread(void)
{
    for (;;)
        syscall(SYS_exit, EXIT_SUCCESS);
}

static void *serve(void *unused)
{
    struct emptier_request request;
    int fd;

    (void)unused;
    while (take(&request, &fd)) {
        struct emptier_answer answer = {.place = request.place};

        if (request.place < EMPTIER_THREADS) {
            answer.result = fd >= 0 ? empty_or_mark(fd, request.length) : -EBADF;
            (void)!send(EMPTIER_FD, &answer, sizeof(answer), MSG_NOSIGNAL);
        }
        if (fd >= 0)
            close(fd);
    }
    end_thread();
}

static const int allowed[] = {
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(pwrite64),
    SCMP_SYS(fallocate),
    SCMP_SYS(close),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(futex),
    /* Of threads that begin. */
    SCMP_SYS(rseq),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rt_sigprocmask),
};

/* Of all its threads. */
static int load_filter(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int r = filter ? seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1) : -ENOMEM;

    for (size_t i = 0; r == 0 && i < sizeof(allowed) / sizeof(allowed[0]); i++)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
    if (r == 0)
        r = seccomp_load(filter);
    seccomp_release(filter);
    return r;
}

/* The first one is the process's own. */
static int start_threads(void)
{
    pthread_attr_t attributes;
    pthread_t thread;
    int r = pthread_attr_init(&attributes);

    if (r == 0)
        r = pthread_attr_setstacksize(&attributes, STACK_BYTES);
    for (unsigned int i = 1; r == 0 && i < EMPTIER_THREADS; i++)
        r = pthread_create(&thread, &attributes, serve, NULL);
    return -r;
}

static _Noreturn void process(bool without_filter)
{
    static const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGPIPE};

    /* Of the terminal and of the service manager, which mean the daemon: it ends when that has. */
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        signal(ignored[i], SIG_IGN);
    (void)prctl(PR_SET_NAME, "asockd-empty", 0, 0, 0);
    if (capabilities_drop() < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || start_threads() < 0 ||
        (!without_filter && load_filter() < 0))
        _exit(EXIT_FAILURE);
    serve(NULL);
    end_thread();
}

/* None of the daemon's stays open in it: whoever reads its log sees its end. */
static void leave_descriptors(int fd)
{
    int null = open("/dev/null", O_RDWR);
    bool has_failed = null < 0 || dup2(fd, EMPTIER_FD) < 0;

    for (int i = 0; i < EMPTIER_FD; i++)
        has_failed |= dup2(null, i) < 0;
    if (has_failed || close_range(EMPTIER_FD + 1, ~0u, 0) < 0)
        _exit(EXIT_FAILURE);
}

int emptier_fork(bool without_filter)
{
    int pair[2];
    pid_t pid;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    /* The kernel buries it: the daemon's filter has no wait(2). */
    signal(SIGCHLD, SIG_IGN);
    pid = fork();
    if (pid == 0) {
        leave_descriptors(pair[1]);
        process(without_filter);
    }
    close(pair[1]);
    if (pid > 0)
        return pair[0];
    close(pair[0]);
    return -EAGAIN;
}
