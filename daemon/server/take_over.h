/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_TAKE_OVER_H
#define ASOCKD_TAKE_OVER_H

/*
 * asockd --take-over DIR: this daemon continues with the clients and connections of another one.
 * Until take_over_receive() returns the other one may still keep them, so nothing is read, written
 * or closed.
 */
#include <ev.h>

#include "daemon/server/listener.h"

struct arrival {
    const char *dir;
    int fd;          /* to the other one's control listener; -1: none */
    struct ev_io io; /* until the other one has ended */
    struct worker *worker;
    void (*alone)(struct arrival *a);
    uint32_t sessions, sockets, ops; /* that have come */
    uint64_t paused_ms;              /* from when it was asked */
};

/*
 * Connects to DIR/control.sock, in front of everything that takes time. 0, or -errno after a
 * message to the log.
 */
int take_over_connect(struct arrival *a, const char *dir);
/*
 * Everything comes, and is ours when it returns 0: listeners into ls, sessions into its worker.
 * -errno after a message to the log: nothing has come. When something that has come cannot be gone
 * on with the process ends at once: the other one goes on.
 */
int take_over_receive(struct arrival *a, struct listeners *ls, const struct listener_spec *specs,
                      unsigned int count);
/* The sessions go on. alone is called when the other one has ended. */
void take_over_resume(struct arrival *a, void (*alone)(struct arrival *a));
void take_over_deinit(struct arrival *a);

#endif
