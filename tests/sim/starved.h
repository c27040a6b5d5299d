/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_STARVED_H
#define ASOCK_TESTS_SIM_STARVED_H

struct worker;

/* After each turn: a client that reads its replies and writes is read, whatever others do. */
void starved_check(const struct worker *w);

#endif
