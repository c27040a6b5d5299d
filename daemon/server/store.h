/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STORE_H
#define ASOCKD_STORE_H

/*
 * What one process of the unit leaves to the next, by way of the service manager's descriptor store
 * (sd_notify(3), FDSTORE=1).
 *
 * All of it is one descriptor there: the end of a socket pair in whose queue the state and all
 * other descriptors lie, as the messages of take_over_link.h. The next process looks at them
 * without taking them out, so that the store is whole if it dies before it is ready; then it takes
 * them out, and only then goes on with a connection. An empty queue says nothing.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/server/listener.h"
#include "daemon/server/notify.h"

/* Not a listener's name: those have no dots. */
#define STORE_NAME "asockd.state"
/* For the manager to store it; clients wait meanwhile. The unit's TimeoutStopSec= is longer. */
#define STORE_MS 3000u
/*
 * So many processes may end while they read a state: a second one, because the first may have been
 * short of memory.
 */
#define STORE_ATTEMPTS 2

struct store {
    int pair
        [2]; /* for the next process: what is written into [0] is kept by [1]; -1: nothing can be left */
    int found; /* from the process before; -1 */
    struct listeners *listeners;
    uint32_t sessions, sockets, ops; /* that were restored */
    uint32_t lost;                   /* sessions that were not */
    uint64_t paused_ms;              /* since the process before wrote it down */
};

void store_init(struct store *s);
void store_deinit(struct store *s);
/*
 * A descriptor that the manager has kept under STORE_NAME; taken, or closed if there is nothing in
 * it.
 */
void store_find(struct store *s, int fd);
/*
 * Before the system call filter. Without a manager, or where the listeners are not its, there will
 * be no next process.
 */
void store_prepare(struct store *s, struct listeners *ls);

/*
 * Makes sessions of what was found, without touching a connection; the listeners are there. What
 * cannot be read is lost, its connections are reset. If it can be read, and not be restored, the
 * process ends.
 */
void store_restore(struct store *s);
/* READY=1 has been sent: what was restored goes on, and the store is emptied. */
void store_resume(struct store *s, struct notifier *n);

/* Something can be left to a next process. */
static inline bool store_is_prepared(const struct store *s)
{
    return s->pair[0] >= 0;
}
/*
 * Ends the sessions that cannot go over: those of administrators, and clients of a listener that
 * will not be there, are among them. Listeners are still open.
 */
void store_end_others(struct store *s);
/* All that is left can go over. */
bool store_is_settled(const struct store *s);
/*
 * Leaves everything to the next process. 0; -errno after a message to the log: nothing has changed.
 */
int store_put(struct store *s, struct notifier *n);

#endif
