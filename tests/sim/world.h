/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_WORLD_H
#define ASOCK_TESTS_SIM_WORLD_H

/* Everything but the program: the daemon's turns, the network, the peers, time. */
#include <stdbool.h>
#include <stdint.h>

/*
 * One thing happens, or time jumps, but not beyond `until` (ns). False: nothing will ever happen.
 */
bool world_step(uint64_t until);
/* A client's own next deadline (ns; UINT64_MAX: none), and whether it has something to do now. */
bool world_has_work(void);

#endif
