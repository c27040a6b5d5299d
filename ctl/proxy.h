/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_PROXY_H
#define CTL_PROXY_H

/* The gateway, as a command of its own and around another program. */
#include "ctl/ctl.h"

/* Listens at settings->listen until a signal ends it. Returns the exit status. */
int proxy_serve(const struct settings *settings);

/* Runs the command behind a proxy. Returns its exit status, or 125 to 127 as "asockctl run" does. */
int proxy_run_command(const struct settings *settings);

struct gateway;

/* A gateway with a session for the command. Complains and returns a negative number. */
int proxy_make_gateway(const struct settings *settings, struct gateway **ret);

/* The command has ended: signals that would have ended it end asockctl. */
void proxy_end_signals(void);

/* For what the command has sent last: seconds. */
#define DRAIN_SECONDS 30.0

/* exec, in its place. Returns the exit status when that fails. */
int exec_command(char **args);

/* As env(1), nohup(1) and the shell have it. */
enum { EXIT_OWN = 125, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

#endif
