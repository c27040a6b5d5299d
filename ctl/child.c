/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: fork -> signals of the caller's are passed on -> it ends, and so does the loop.
 * It is in asockctl's process group: what the terminal sends reaches both. One that makes groups of
 * its own, as a shell does, gets the terminal back when asockctl is continued.
 * Failures: no process (a message), no such command (its process says so, and ends with 126 or
 * 127).
 */
#include "ctl/child.h"
#include "ctl/ctl.h"
#include "ctl/signals.h"
#include "ctl/text.h"
#include "ctl/witness.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int child_exec(char **args)
{
    int err;

    execvp(args[0], args);
    err = errno;
    fputs("asockctl: ", stderr);
    text_print_escaped(stderr, args[0], 0);
    fprintf(stderr, ": %s\n", strerror(err));
    return err == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
}

/* The command has stopped: so does asockctl, for its shell to see; and both go on together. */
static void stop_with(pid_t pid)
{
    pid_t group = getpgid(pid);
    int terminal = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    bool is_foreground = terminal >= 0 && tcgetpgrp(terminal) == group, is_continued;

    is_continued = signals_stop();
    if (is_foreground && group != getpgrp() && tcgetpgrp(terminal) == getpgrp())
        (void)tcsetpgrp(terminal, group);
    if (terminal >= 0)
        close(terminal);
    if (!is_continued)
        kill(group > 0 && group != getpgrp() ? -group : pid, SIGCONT);
}

/* ---- its life ---- */

static void on_change(struct ev_loop *loop, ev_child *child, int events)
{
    (void)events;
    if (WIFSTOPPED(child->rstatus)) {
        stop_with(child->pid);
    } else if (WIFEXITED(child->rstatus) || WIFSIGNALED(child->rstatus)) {
        signals_forget();
        ev_child_stop(loop, child);
        ev_break(loop, EVBREAK_ALL);
    }
}

static pid_t start(char **args, void (*prepare)(const void *data), const void *data)
{
    sigset_t before;
    pid_t pid;

    fflush(NULL);
    witness_start();
    signals_hold(&before);
    pid = fork();
    if (pid > 0)
        signals_pass_to(pid, SIGNALS_TO_COMMAND);
    signals_release(&before);
    if (pid == 0) {
        prepare(data);
        _exit(child_exec(args));
    }
    return pid;
}

int child_run(struct ev_loop *loop, char **args, void (*prepare)(const void *data),
              const void *data)
{
    ev_child child;
    pid_t pid;

    pid = start(args, prepare, data);
    if (pid < 0) {
        report_error("cannot start a process: %s", strerror(errno));
        return EXIT_OWN;
    }
    ev_child_init(&child, on_change, pid, 1);
    ev_child_start(loop, &child);
    report_without_waiting();
    ev_run(loop, 0);
    return WIFSIGNALED(child.rstatus) ? 128 + WTERMSIG(child.rstatus) : WEXITSTATUS(child.rstatus);
}
