/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_CHILD_H
#define CTL_CHILD_H

/*
 * A command that asockctl stays beside: it has asockctl's signals, stops and goes on with it, and
 * its status is asockctl's.
 */
#include <ev.h>

/* Exit statuses of "asockctl run" that are not the command's. */
enum { EXIT_OWN = 125, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

/* exec, in its place. Returns the exit status when that fails. */
int child_exec(char **args);

/*
 * Runs it, while the loop runs; prepare is called in the new process. Returns its exit status, 128
 * + n where signal n ended it, or EXIT_OWN after a complaint.
 */
int child_run(struct ev_loop *loop, char **args, void (*prepare)(const void *data),
              const void *data);

/* For what it has sent last: seconds. */
#define CHILD_DRAIN_SECONDS 30.0

#endif
