/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_SEAMS_H
#define ASOCK_TESTS_SIM_SEAMS_H

#include <stdint.h>

struct resolver;
struct worker;

/* With its process. */
void seams_resolver_drop(struct resolver *resolver);

/* Name queries that are charged to a session. */
/* The process that empties shared memory (emptier.c). */
void seams_emptier_begin(struct worker *w);
void seams_emptier_end(struct worker *w);

uint64_t seams_resolver_charged(const struct resolver *resolver);

#endif
