/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_BOUND_H
#define ASOCK_TESTS_SIM_BOUND_H

struct session;

void bound_check(const struct session *s);

#endif
