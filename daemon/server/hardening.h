/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_HARDENING_H
#define ASOCKD_HARDENING_H

/* What the daemon takes away from itself, wherever and by whom it was started. */
#include <stdbool.h>

/*
 * Before anything is opened: what the starter left open, beside standard streams and the service
 * manager's listeners, is closed; standard input is /dev/null. 0 or -errno.
 */
int hardening_close_inherited(void);

/*
 * Once descriptors and configuration are there, and permanently: no new privileges, no core dump,
 * no tracing by a process of the same user, and a system call filter that kills. removes_sockets:
 * it has made its sockets itself, and unlinks them at the end. 0, or -errno after a message to the
 * log.
 */
int hardening_enter(bool removes_sockets);

#endif
