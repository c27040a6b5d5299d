/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_HELD_H
#define ASOCK_TESTS_SIM_HELD_H

#include "daemon/core/loop.h"

void held_check(const struct worker *w);

/*
 * Before a restart, and behind it: sessions that have ended, whose clients have descriptors to
 * fetch, go over.
 */
void held_remember_unread(const struct worker *w);
void held_check_unread(const struct worker *w);

#endif
