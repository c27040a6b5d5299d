/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/signals.h"

#include <errno.h>
#include <stdbool.h>
#include <unistd.h>

/* Signal handlers have no other way to know whose signals these are. */
static volatile sig_atomic_t target;
static volatile sig_atomic_t is_outside_only;

/* The terminal's stops are caught because this process stops when the other one has stopped. */
static const int passed[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM,  SIGUSR1, SIGUSR2,
                             SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH, SIGCONT};

static void pass_on(int number, siginfo_t *info, void *context)
{
    bool is_meant = is_outside_only ? info->si_pid == 0 : info->si_pid != target;
    int err = errno;

    (void)context;
    if (info->si_code <= 0 && is_meant && target > 0)
        kill(target, number);
    errno = err;
}

void signals_hold(sigset_t *ret_before)
{
    sigset_t all;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, ret_before);
}

void signals_release(const sigset_t *before)
{
    sigprocmask(SIG_SETMASK, before, NULL);
}

void signals_pass_to(pid_t pid, enum signals_sender sender)
{
    struct sigaction action = {.sa_sigaction = pass_on, .sa_flags = SA_SIGINFO | SA_RESTART}, old;

    target = pid;
    is_outside_only = sender == SIGNALS_OF_OUTSIDE;
    for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
        if (sigaction(passed[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            (void)sigaction(passed[i], &action, NULL);
}

void signals_forget(void)
{
    target = 0;
}

void signals_end(void)
{
    static const int ends[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    struct sigaction old;

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        if (sigaction(ends[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            (void)signal(ends[i], SIG_DFL);
}
