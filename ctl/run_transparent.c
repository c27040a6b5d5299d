/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * run --transparent: the gateway's side.
 * Happy path: session -> namespaces -> a child that is their first process (inside.c) -> cable,
 * packet socket, name server -> the loop, until the command has ended.
 * Failures: the message names the feature that the kernel lacks, and the option that does without
 * it; nothing has run then.
 */
#include "ctl/run_transparent.h"
#include "ctl/inside.h"
#include "ctl/child.h"
#include "ctl/proxy.h"
#include "ctl/published.h"
#include "ctl/session.h"
#include "ctl/signals.h"
#include "ctl/witness.h"

#include "gateway/transparent.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

struct run {
    struct gateway *gateway; /* until transparent has it */
    struct transparent *transparent;
    struct published published;
    int control;
    int inside; /* the command's network namespace; -1: not known yet */
    pid_t pid;  /* of the first process */
    int status;
    ev_io io;
    ev_child child;
};

/* ---- what the kernel does not give ---- */

static bool has_number(const char *path, char number)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char byte = 0;

    if (fd < 0)
        return false;
    if (read(fd, &byte, 1) != 1)
        byte = 0;
    close(fd);
    return byte == number;
}

static const char *remedy(int err)
{
    if (err != EPERM && err != EACCES && err != ENOSPC && err != ENOSYS && err != EINVAL &&
        err != EOPNOTSUPP && err != EAFNOSUPPORT && err != EROFS)
        return NULL;
    if (has_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", '1'))
        return "AppArmor restricts user namespaces: load asockctl's profile (see asockctl(1))";
    if (has_number("/proc/sys/kernel/unprivileged_userns_clone", '0'))
        return "the sysctl kernel.unprivileged_userns_clone is 0: set it to 1";
    if (has_number("/proc/sys/user/max_user_namespaces", '0'))
        return "the sysctl user.max_user_namespaces is 0: raise it";
    return "the cause may be a container's seccomp filter, or a kernel without this feature";
}

/* err 0: what says it all. */
static int complain_of(const char *what, int err)
{
    const char *why = remedy(err);

    if (err == 0)
        report_error("--transparent: cannot %s; asockctl run --proxy does not require this", what);
    else
        report_error("--transparent: cannot %s: %s%s%s; asockctl run --proxy does not require this",
                     what, strerror(err), why ? "; " : "", why ? why : "");
    return EXIT_OWN;
}

/* ---- messages ---- */

/*
 * The command was stopped: asockctl stops too, so that its shell notices, and both continue
 * together.
 */
static void stop_together(const struct run *run)
{
    if (run->pid == 0)
        return; /* it has ended since */
    raise(SIGSTOP);
    kill(run->pid, SIGCONT);
}

static void take_message(struct run *run, const struct inside_message *message)
{
    if (message->kind == INSIDE_STOPPED)
        stop_together(run);
    else if (message->kind == INSIDE_FAILED)
        run->status = complain_of(message->what, message->status);
    else
        run->status = message->status;
}

/* false: no more for now. */
static bool read_message(struct run *run)
{
    struct inside_message message;

    if (recv(run->control, &message, sizeof(message), MSG_DONTWAIT) != sizeof(message))
        return false;
    take_message(run, &message);
    return true;
}

static void on_message(struct ev_loop *loop, ev_io *io, int events)
{
    (void)events;
    /* At the end on_first() follows. */
    if (!read_message(io->data))
        ev_io_stop(loop, io);
}

/* Its messages stay behind it; without its last one it was killed. */
static void on_first(struct ev_loop *loop, ev_child *child, int events)
{
    struct run *run = child->data;

    (void)events;
    run->pid = 0;
    signals_forget();
    if (WIFSIGNALED(child->rstatus))
        run->status = 128 + WTERMSIG(child->rstatus);
    while (read_message(run))
        ;
    ev_break(loop, EVBREAK_ALL);
}

/* ---- start ---- */

/* Where the session of ASOCK_FD has come from; NULL: it is not known. */
static const char *path_of_descriptor(struct sockaddr_storage *peer)
{
    const char *text = session_environment("ASOCK_FD");
    const char *path = ((struct sockaddr_un *)peer)->sun_path;
    socklen_t len = sizeof(*peer);

    memset(peer, 0, sizeof(*peer)); /* it has room behind the path for the end of the string */
    if (!text || getpeername(atoi(text), (struct sockaddr *)peer, &len) < 0 ||
        peer->ss_family != AF_UNIX || path[0] != '/')
        return NULL;
    return path;
}

static const char *socket_path(const struct settings *settings, struct sockaddr_storage *peer)
{
    const char *path = settings->socket ? settings->socket : path_of_descriptor(peer);

    if (!path)
        path = session_environment("ASOCK_SOCKET");
    return path ? path : CLIENT_SOCKET;
}

/*
 * A child in a process namespace of its own. unshare(2) with CLONE_NEWPID would do for fork(), but
 * the kernel lets a process that has called it start no thread, and opening.c needs one.
 */
static pid_t fork_first(void)
{
#ifdef __s390__
    return (pid_t)syscall(SYS_clone, 0, CLONE_NEWPID | SIGCHLD, 0, 0, 0);
#else
    return (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
#endif
}

static int start_first(struct run *run, const struct settings *settings, void (*pipe_action)(int))
{
    struct sockaddr_storage peer;
    struct inside inside = {.args = settings->args,
                            .socket = socket_path(settings, &peer),
                            .has_sandbox = settings->sandbox,
                            .pipe_action = pipe_action};
    int pair[2], r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    signals_hold(&inside.signals);
    run->pid = fork_first();
    r = run->pid < 0 ? -errno : 0;
    if (run->pid == 0) {
        close(pair[0]);
        inside.control = pair[1];
        inside_run(&inside);
    }
    if (run->pid > 0)
        signals_pass_to(run->pid, SIGNALS_TO_FIRST);
    signals_release(&inside.signals);
    close(pair[1]);
    run->control = pair[0];
    return r;
}

/* 0: it wants its cable. Else an exit status. */
static int wait_for_first(struct run *run)
{
    struct inside_message message;
    struct iovec part = {&message, sizeof(message)};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr head = {.msg_iov = &part,
                          .msg_iovlen = 1,
                          .msg_control = &control,
                          .msg_controllen = sizeof(control)};
    const struct cmsghdr *rights;
    ssize_t n;

    do
        n = recvmsg(run->control, &head, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    rights = n == sizeof(message) ? CMSG_FIRSTHDR(&head) : NULL;
    if (rights && rights->cmsg_type == SCM_RIGHTS && rights->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&run->inside, CMSG_DATA(rights), sizeof(int));
    if (n == sizeof(message) && message.kind == INSIDE_WAITS)
        return run->inside >= 0 ? 0 : complain_of("open a network namespace", EMFILE);
    if (n == sizeof(message))
        return complain_of(message.what, message.status);
    return complain_of("start a process", ECHILD);
}

/* A descriptor for each connection and port, beside those that the command inherits. */
static void raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* 0, or an exit status. */
static int lay_cable(struct run *run)
{
    struct network_problem why;
    struct network network;
    int r;

    if (network_make_outside(run->pid, &network, &why) < 0)
        return complain_of(why.what, why.error);
    if (run->published.count > 0 && network_reach_inside(&network, run->inside, &why) < 0) {
        network_close(&network);
        return complain_of(why.what, why.error);
    }
    r = transparent_new(run->gateway, &network, &run->transparent);
    run->gateway = NULL;
    if (r < 0) {
        network_close(&network);
        return complain_of("serve the command's network", -r);
    }
    published_start(&run->published, run->transparent);
    if (send(run->control, "", 1, MSG_NOSIGNAL) != 1)
        return complain_of("start a process", errno);
    return 0;
}

static int start(struct run *run, const struct settings *settings, void (*pipe_action)(int))
{
    struct network_problem why;
    int r;

    witness_start(); /* not in there */
    if (network_unshare(&why) < 0)
        return complain_of(why.what, why.error);
    r = start_first(run, settings, pipe_action);
    if (r < 0)
        return complain_of("create a PID namespace", -r);
    raise_limit();
    r = wait_for_first(run);
    return r ? r : lay_cable(run);
}

int run_transparent(const struct settings *settings)
{
    struct ev_loop *loop = ev_default_loop(EVFLAG_AUTO);
    struct run run = {.control = -1, .inside = -1, .status = EXIT_OWN};
    void (*pipe_action)(int) = signal(SIGPIPE, SIG_IGN);
    int r;

    if (proxy_make_gateway(settings, &run.gateway) < 0)
        return EXIT_OWN;
    r = published_open(&run.published, settings, run.gateway, proxy_answer_timeout(settings));
    if (r == 0)
        r = start(&run, settings, pipe_action);
    if (r == 0) {
        ev_io_init(&run.io, on_message, run.control, EV_READ);
        run.io.data = &run;
        ev_io_start(loop, &run.io);
        ev_child_init(&run.child, on_first, run.pid, 0);
        run.child.data = &run;
        ev_child_start(loop, &run.child);
        report_without_waiting();
        ev_run(loop, 0);
        ev_io_stop(loop, &run.io);
        ev_child_stop(loop, &run.child);
        signals_end();
        transparent_drain(run.transparent, CHILD_DRAIN_SECONDS);
        r = run.status;
    }
    if (run.control >= 0)
        close(run.control);
    if (run.inside >= 0)
        close(run.inside);
    if (run.pid > 0) {
        /* Its namespaces end with it, if it has not ended: nothing in there is left to run. */
        kill(run.pid, SIGKILL);
        (void)waitpid(run.pid, NULL, 0);
    }
    transparent_free(run.transparent);
    gateway_free(run.gateway);
    published_free(&run.published);
    return r;
}
