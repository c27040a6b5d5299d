/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * asockctl passes on what was sent to itself alone: the terminal, and whoever signals the group,
 * reach the command too, unless it has a group of its own. To the first process of a namespace the
 * number goes as the value of another signal: that one gets the group's signals as well, and could
 * not tell them apart.
 */
#include "ctl/signals.h"

#include <errno.h>
#include <stdbool.h>
#include <unistd.h>

#include "ctl/witness.h"

#define CARRIER (SIGRTMIN + 1)
#define OF_GROUP 0x100

/* Signal handlers have no other way to know whose signals these are. */
static volatile sig_atomic_t target;
static volatile sig_atomic_t is_first; /* target: of a namespace */
/*
 * Of signals_stop(): this process is stopped, or about to be; the SIGCONT that ended that has
 * reached the command, too.
 */
static volatile sig_atomic_t is_stopped, is_continued;

static bool has_own_group(void)
{
    return getpgid(target) != getpgrp();
}

static void pass_on(int number, siginfo_t *info, void *context)
{
    bool is_meant = info->si_code <= 0 && info->si_pid != target;
    int err = errno;
    bool of_group = false;

    (void)context;
    if (target > 0)
        of_group = witness_saw(number); /* also of one that is not passed on: it is over with it */
    if (is_stopped && number == SIGCONT)
        is_continued = of_group && !has_own_group();
    else if (target > 0 && is_meant && is_first)
        (void)sigqueue(target, CARRIER,
                       (union sigval){.sival_int = number | (of_group ? OF_GROUP : 0)});
    else if (target > 0 && is_meant && (!of_group || has_own_group()))
        (void)kill(target, number);
    errno = err;
}

/* In the first process of a namespace. No process in there has the number of a process outside. */
static void pass_carried(int number, siginfo_t *info, void *context)
{
    int err = errno, carried = info->si_value.sival_int;

    (void)number;
    (void)context;
    if (info->si_code == SI_QUEUE && info->si_pid == 0 && target > 0 &&
        (!(carried & OF_GROUP) || has_own_group()))
        (void)kill(target, carried & ~OF_GROUP);
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

static void set_handler(int number, void (*handler)(int, siginfo_t *, void *))
{
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART}, old;

    sigfillset(&action.sa_mask); /* the witness answers one question at a time */
    if (sigaction(number, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
        (void)sigaction(number, &action, NULL);
}

/* The terminal's stops are caught because this process stops when the other one has stopped. */
static const int passed[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM,  SIGUSR1, SIGUSR2,
                             SIGTSTP, SIGTTIN, SIGTTOU, SIGWINCH, SIGCONT};

void signals_pass_to(pid_t pid, enum signals_target kind)
{
    target = pid;
    is_first = kind == SIGNALS_TO_FIRST;
    for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
        set_handler(passed[i], pass_on);
}

void signals_pass_carried_to(pid_t pid)
{
    target = pid;
    set_handler(CARRIER, pass_carried);
}

bool signals_stop(void)
{
    is_continued = 0;
    is_stopped = 1;
    raise(SIGSTOP);
    is_stopped = 0;
    return is_continued;
}

void signals_forget(void)
{
    target = 0;
    witness_end();
}

void signals_end(void)
{
    static const int ends[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    struct sigaction old;

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        if (sigaction(ends[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            (void)signal(ends[i], SIG_DFL);
}
