/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_CAPABILITIES_H
#define ASOCKD_CAPABILITIES_H

/*
 * Gives up what capabilities(7) the calling thread has, and the way to get some. 1: it had some, 0:
 * none, or CAP_NET_BIND_SERVICE alone, which stays, or -errno. A thread keeps its own: each calls
 * for itself, before the system call filter.
 */
int capabilities_drop(void);

#endif
