/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_WITNESS_H
#define CTL_WITNESS_H

/*
 * Whether a signal was sent to this process or to its whole process group, which the kernel does
 * not say: a small process in the group, which blocks all signals, has got it as well or not.
 */
#include <stdbool.h>

/* Forks. Without it every signal counts as sent to this process alone. */
void witness_start(void);
/* For a signal handler. True: the signal that has come was sent to the group. */
bool witness_saw(int number);
void witness_end(void);

#endif
