/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_SEAMS_H
#define ASOCK_TESTS_SIM_SEAMS_H

#include <stdint.h>

struct resolver;

/* With its process. */
void seams_resolver_drop(struct resolver *resolver);

/* Name queries that are charged to a session. */
uint64_t seams_resolver_charged(const struct resolver *resolver);

#endif
