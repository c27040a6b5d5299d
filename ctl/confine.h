/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKCTL_CONFINE_H
#define ASOCKCTL_CONFINE_H

/*
 * From here on this process, and every program that it runs, cannot connect, bind or listen with
 * any socket, including one that asockd has lent to it. -errno: the process is not confined.
 */
int confine(void);

/*
 * From here on they cannot put input into a terminal, which a shell outside of a sandbox would read
 * as a command. They need "no new privileges". -errno: they still can.
 */
int confine_from_terminals(void);

#endif
