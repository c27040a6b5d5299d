/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_IDLE_H
#define ASOCK_TESTS_SIM_IDLE_H

/*
 * IdleTimeout= of the policy: a connection on which nothing moves for so long is ended, and no
 * other.
 */
struct worker;

/* Of the simulated policy, where FAULT_IDLE is on. */
#define IDLE_MS 2000u

/* A daemon begins, and its serials with it; not one that takes over. */
void idle_begin(void);
void idle_check(const struct worker *w);

#endif
