/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: new mount and network namespace -> asockctl lays the cable -> network, mounts ->
 * rights are dropped -> the command -> its end, which is everybody's in here.
 * Failures: something cannot be had: asockctl says so, and nothing has run. asockctl ends: so does
 * this process.
 */
#include "ctl/inside.h"
#include "ctl/child.h"
#include "ctl/confine.h"
#include "ctl/proxy.h"
#include "ctl/signals.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/ctl.h"

static void tell(const struct inside *inside, enum inside_kind kind, int status, const char *what)
{
    struct inside_message message = {.kind = kind, .status = status};

    if (what)
        snprintf(message.what, sizeof(message.what), "%s", what);
    /* If asockctl is gone, so is this process in a moment. */
    (void)send(inside->control, &message, sizeof(message), MSG_NOSIGNAL);
}

/*
 * INSIDE_WAITS, with this process's network namespace: asockctl cannot open that of a process that
 * shields itself.
 */
static void tell_namespace(const struct inside *inside)
{
    struct inside_message message = {.kind = INSIDE_WAITS};
    struct iovec part = {&message, sizeof(message)};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
                          .cmsg_level = SOL_SOCKET,
                          .cmsg_type = SCM_RIGHTS}};
    struct msghdr head = {.msg_iov = &part,
                          .msg_iovlen = 1,
                          .msg_control = &control,
                          .msg_controllen = sizeof(control)};
    int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        tell(inside, INSIDE_FAILED, errno, "open a network namespace");
        _exit(EXIT_OWN);
    }
    memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
    (void)sendmsg(inside->control, &head, MSG_NOSIGNAL);
    close(fd);
}

static _Noreturn void give_up(const struct inside *inside, const char *what, int err)
{
    tell(inside, INSIDE_FAILED, err, what);
    _exit(EXIT_OWN);
}

/* What would have been closed by exec: asockctl's session and loop. */
static void close_foreign(const struct inside *inside)
{
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        int fd = atoi(entry->d_name); /* "." and "..": 0 */
        int flags = fd > 2 ? fcntl(fd, F_GETFD) : 0;

        if (flags > 0 && flags & FD_CLOEXEC && fd != inside->control && fd != dirfd(dir))
            close(fd);
    }
    if (dir)
        closedir(dir);
}

/*
 * Over its namespaces; nothing that it runs gets them back. Root keeps one: without CAP_SETFCAP no
 * process may map root in a user namespace of his own, as bubblewrap does. It gives root nothing
 * that its user id does not give.
 */
static void drop_rights(const struct inside *inside)
{
    const unsigned long kept = geteuid() == 0 ? CAP_SETFCAP : ~0ul;
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};

    if (kept == CAP_SETFCAP)
        data[0].permitted = data[0].effective = CAP_TO_MASK(CAP_SETFCAP);
    for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (cap != kept && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            give_up(inside, "drop capabilities", errno);
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_capset, &head, data) < 0)
        give_up(inside, "drop capabilities", errno);
}

static void make_namespaces(const struct inside *inside)
{
    struct network_problem why;
    int outside = network_watch_outside(&why);
    char go;

    if (outside < 0)
        give_up(inside, why.what, why.error);
    if (unshare(CLONE_NEWNS) < 0)
        give_up(inside, "create a mount namespace", errno);
    if (unshare(CLONE_NEWNET) < 0)
        give_up(inside, "create a network namespace", errno);
    tell_namespace(inside);
    if (recv(inside->control, &go, 1, 0) != 1)
        _exit(EXIT_OWN);
    if (network_make_inside(outside, &why) < 0 || mounts_make(inside->socket, &why) < 0)
        give_up(inside, why.what, why.error);
}

/* ---- the command ---- */

static _Noreturn void run_command(const struct inside *inside)
{
    char **args = inside->has_sandbox ? sandbox_arguments(inside->args) : inside->args;
    int status, r = inside->has_sandbox ? confine_from_terminals() : 0;

    if (r < 0)
        give_up(inside, "prevent the command from inserting terminal input", -r);
    signal(SIGPIPE, inside->pipe_action);
    signals_release(&inside->signals);
    unsetenv("ASOCK_FD");
    unsetenv("ASOCK_SOCKET");
    unsetenv("ASOCK_CONTROL");
    unsetenv("LOCALDOMAIN"); /* search domains: names are whole here */
    status = child_exec(args);
    if (inside->has_sandbox)
        report_error("--sandbox requires bwrap (package bubblewrap)");
    _exit(inside->has_sandbox ? EXIT_OWN : status);
}

/* Everybody's child is this process's one day. Returns the command's exit status. */
static int wait_for_command(const struct inside *inside, pid_t command)
{
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WUNTRACED);

        if (pid < 0 && errno != EINTR)
            return EXIT_OWN;
        if (pid != command)
            continue;
        if (WIFSTOPPED(status))
            tell(inside, INSIDE_STOPPED, 0, NULL);
        else
            return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
}

void inside_run(const struct inside *inside)
{
    pid_t pid;

    close_foreign(inside);
    /* The command is to have no way to this process. */
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        give_up(inside, "set a parent-death signal", errno);
    signal(SIGCHLD, SIG_DFL);
    make_namespaces(inside);
    drop_rights(inside);
    pid = fork();
    if (pid < 0)
        give_up(inside, "start a process", errno);
    if (pid == 0)
        run_command(inside);
    signals_pass_carried_to(pid);
    signals_release(&inside->signals);
    tell(inside, INSIDE_ENDED, wait_for_command(inside, pid), NULL);
    _exit(0);
}
