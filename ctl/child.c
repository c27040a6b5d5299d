/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: fork -> signals of the caller's are passed on -> it ends, and so does the loop.
 * It is in asockctl's process group: what the terminal sends reaches both. One that makes groups of its own, as a shell does,
 * gets the terminal back when asockctl is continued.
 * Failures: no process (a message), no such command (its process says so, and ends with 126 or 127).
 */
#include "ctl/child.h"
#include "ctl/ctl.h"
#include "ctl/text.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Signal handlers have no other way to know whose signals these are. */
static volatile sig_atomic_t command_pid;

int exec_command(char **args)
{
    int err;

    execvp(args[0], args);
    err = errno;
    fputs("asockctl: ", stderr);
    text_print_escaped(stderr, args[0], 0);
    fprintf(stderr, ": %s\n", strerror(err));
    return err == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
}

/* ---- signals ---- */

/* From the terminal both get it; from a program only asockctl does. */
static void pass_on(int number, siginfo_t *info, void *context)
{
    int err = errno;

    (void)context;
    if (info->si_code <= 0 && info->si_pid != command_pid && command_pid > 0)
        kill(command_pid, number);
    errno = err;
}

static const int passed[] = {SIGHUP,  SIGINT,  SIGQUIT,  SIGTERM, SIGUSR1,
                             SIGUSR2, SIGTSTP, SIGWINCH, SIGCONT};
#define PASSED_COUNT (sizeof(passed) / sizeof(passed[0]))

/* But those that the caller ignores, as nohup(1) does. */
static void catch_signals(void)
{
    struct sigaction action = {.sa_sigaction = pass_on, .sa_flags = SA_SIGINFO | SA_RESTART}, old;

    for (size_t i = 0; i < PASSED_COUNT; i++)
        if (sigaction(passed[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            (void)sigaction(passed[i], &action, NULL);
}

void child_end_signals(void)
{
    static const int ends[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    struct sigaction old;

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        if (sigaction(ends[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            (void)signal(ends[i], SIG_DFL);
}

/* The command has stopped: so does asockctl, for its shell to see; and both go on together. */
static void stop_with(pid_t pid)
{
    pid_t group = getpgid(pid);
    int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    bool is_foreground = terminal >= 0 && tcgetpgrp(terminal) == group;

    raise(SIGSTOP);
    if (is_foreground && group != getpgrp() && tcgetpgrp(terminal) == getpgrp())
        (void)tcsetpgrp(terminal, group);
    if (terminal >= 0)
        close(terminal);
    kill(group > 0 && group != getpgrp() ? -group : pid, SIGCONT);
}

/* ---- its life ---- */

static void on_change(struct ev_loop *loop, ev_child *child, int events)
{
    (void)events;
    if (WIFSTOPPED(child->rstatus)) {
        stop_with(child->pid);
    } else if (WIFEXITED(child->rstatus) || WIFSIGNALED(child->rstatus)) {
        command_pid = 0;
        ev_child_stop(loop, child);
        ev_break(loop, EVBREAK_ALL);
    }
}

static pid_t start(char **args, void (*prepare)(const void *data), const void *data)
{
    sigset_t all, old;
    pid_t pid;

    fflush(NULL);
    sigfillset(&all);
    /* Until it is known whose signals they are, they wait. */
    sigprocmask(SIG_SETMASK, &all, &old);
    pid = fork();
    if (pid > 0)
        command_pid = pid;
    if (pid == 0) {
        /* exec resets what is caught; what the caller ignored stays ignored. */
        sigprocmask(SIG_SETMASK, &old, NULL);
        prepare(data);
        _exit(exec_command(args));
    }
    sigprocmask(SIG_SETMASK, &old, NULL);
    return pid;
}

int child_run(struct ev_loop *loop, char **args, void (*prepare)(const void *data),
              const void *data)
{
    ev_child child;
    pid_t pid;

    catch_signals();
    pid = start(args, prepare, data);
    if (pid < 0) {
        complain("cannot start a process: %s", strerror(errno));
        return EXIT_OWN;
    }
    ev_child_init(&child, on_change, pid, 1);
    ev_child_start(loop, &child);
    ev_run(loop, 0);
    return WIFSIGNALED(child.rstatus) ? 128 + WTERMSIG(child.rstatus) : WEXITSTATUS(child.rstatus);
}
