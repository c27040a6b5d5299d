/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_PROXY_H
#define CTL_PROXY_H

/* The gateway, as a command of its own and around another program. */
#include "ctl/ctl.h"

/* Listens at settings->listen until a signal ends it. Returns the exit status. */
int proxy_serve(const struct settings *settings);

/*
 * Runs the command behind a proxy. Returns its exit status, or 125 to 127 as "asockctl run" does.
 */
int proxy_run_command(const struct settings *settings);

struct gateway;

/* Milliseconds to wait for an answer of the daemon. */
int proxy_answer_timeout(const struct settings *settings);
/* A gateway with a session for the command. Complains and returns a negative number. */
int proxy_make_gateway(const struct settings *settings, struct gateway **ret);

#endif
