/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_RUN_SHARED_H
#define CTL_RUN_SHARED_H

/* "asockctl run": the command and its processes share the session. */
#include "ctl/session.h"

/* Returns the command's exit status, or one of "asockctl run"'s own. */
int run_shared(struct session *session, const struct settings *settings);

#endif
