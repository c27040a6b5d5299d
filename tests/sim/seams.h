/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_SEAMS_H
#define ASOCK_TESTS_SIM_SEAMS_H

struct resolver;

/* With its process. */
void seams_resolver_drop(struct resolver *resolver);

#endif
