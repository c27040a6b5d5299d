/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_INTERRUPT_H
#define ASOCKD_INTERRUPT_H

/*
 * What the kernel would wait for between these two is interrupted after a millisecond: the last
 * close of a TCP socket waits for its linger time, non-blocking or not, and clients have sockets of
 * their own whose last close can be the daemon's. They keep errno. SIGALRM is theirs.
 */
void interrupt_begin(void);
void interrupt_end(void);

#endif
