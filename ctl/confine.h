/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKCTL_CONFINE_H
#define ASOCKCTL_CONFINE_H

/*
 * From here on this process, and whatever it runs, cannot connect, bind or listen with any socket: not with one that asockd
 * has lent to it either. -errno: it is not so.
 */
int confine(void);

#endif
