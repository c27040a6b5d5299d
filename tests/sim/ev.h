/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_EV_H
#define ASOCK_TESTS_SIM_EV_H

/* What the world asks the simulated event loop. */
#include <stdbool.h>
#include <stdint.h>

struct ev_loop;

/* A turn would not sleep. */
bool simulated_loop_is_ready(const struct ev_loop *loop);
/* When it would wake up by itself, in ns; UINT64_MAX: never. */
uint64_t simulated_loop_due(const struct ev_loop *loop);
/* With its process. */
void simulated_loop_drop(struct ev_loop *loop);

#endif
