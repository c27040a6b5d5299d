/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_HELD_H
#define ASOCK_TESTS_SIM_HELD_H

#include "daemon/core/loop.h"

void held_check(const struct worker *w);

#endif
