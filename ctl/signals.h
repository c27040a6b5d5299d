/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_SIGNALS_H
#define CTL_SIGNALS_H

/*
 * Signals of a process that stays beside one that it has started, and is to be no more than that
 * process to whoever signals it. What is sent to the group, as the terminal does, reaches both;
 * what is sent to this process alone is passed on. The witness (witness.h) has to be started
 * before.
 */
#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

enum signals_target {
    SIGNALS_TO_COMMAND,
    SIGNALS_TO_FIRST, /* process of a namespace, which calls signals_pass_carried_to() */
};

/*
 * Around fork(): all signals wait, in both processes, until it is known whose they are. The new one
 * may hold them for longer: the first process of a namespace loses what comes before it has
 * handlers.
 */
void signals_hold(sigset_t *ret_before);
void signals_release(const sigset_t *before);

/* From now on; but not those that the caller ignores, as nohup(1) does. */
void signals_pass_to(pid_t pid, enum signals_target kind);
/* In the first process of a namespace: to the command. */
void signals_pass_carried_to(pid_t pid);

/*
 * Stops this process until SIGCONT, which is not passed on meanwhile. True: it was sent to the
 * group, so the command has got it as well.
 */
bool signals_stop(void);

/* The process has been reaped: its id may be another's. */
void signals_forget(void);

/* Signals that would have ended the process end this one. */
void signals_end(void);

#endif
