/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_SIGNALS_H
#define CTL_SIGNALS_H

/*
 * Signals of a process that stays beside one that it has started, and is to be no more than that process to whoever signals
 * it. What the terminal sends reaches both, since they are in one group; what a program sends is passed on.
 */
#include <signal.h>
#include <sys/types.h>

enum signals_sender {
    SIGNALS_OF_PROGRAMS, /* but not of the process itself */
    SIGNALS_OF_OUTSIDE,  /* of the process namespace that this process is in, alone */
};

/*
 * Around fork(): all signals wait, in both processes, until it is known whose they are. The new one may hold them for longer: the
 * first process of a namespace loses what comes before it has handlers.
 */
void signals_hold(sigset_t *ret_before);
void signals_release(const sigset_t *before);

/* From now on; but not those that the caller ignores, as nohup(1) does. */
void signals_pass_to(pid_t pid, enum signals_sender sender);

/* The process has been reaped: its id may be another's. */
void signals_forget(void);

/* Signals that would have ended the process end this one. */
void signals_end(void);

#endif
