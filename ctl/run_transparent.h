/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_RUN_TRANSPARENT_H
#define CTL_RUN_TRANSPARENT_H

#include "ctl/ctl.h"

/*
 * Runs the command in a network that leads to asockd. Returns its exit status, or 125 to 127 as
 * "asockctl run" does.
 */
int run_transparent(const struct settings *settings);

#endif
