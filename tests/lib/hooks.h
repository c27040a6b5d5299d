/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_HOOKS_H
#define ASOCKD_HOOKS_H

/*
 * For asockd-hooks, which is built for tests and never installed: what SIGUSR2 makes it do. It
 * hangs, or does what ASOCKD_TEST_HOOK names.
 */
void (*hooks_find(void))(void);

#endif
