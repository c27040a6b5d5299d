/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_HELP_H
#define CTL_HELP_H

/* What --help prints, and the names of options. */
#include "ctl/ctl.h"

#include <stddef.h>

/* Of this command; command NULL: of all of them. Returns the exit status. */
int help_print(const struct command *command, const struct command *const *all, size_t count);

/* For "list does not accept NAME": of the first one among these bits. */
const char *help_option_name(unsigned int bits);

#endif
