/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_NOTIFY_H
#define ASOCKD_NOTIFY_H

/*
 * Messages to the service manager, see sd_notify(3). Nothing where there is none, or without
 * libsystemd. sd_notify() itself waits while the manager's queue is full; this does not: what the
 * manager does not take is sent again later.
 */
#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/server/listener.h"
#include "daemon/core/loop.h"

/* How often STATUS= is looked at, in seconds. */
#define NOTIFY_STATUS_PERIOD 5.

struct notifier {
    struct worker *worker;
    const struct listeners *listeners;
    struct ev_timer status;
    struct ev_timer watchdog;
    struct task proof;         /* of a whole turn */
    unsigned int turns_to_go;  /* before WATCHDOG=1 */
    uint32_t clients, sockets; /* reported last */
    const char *problem;       /* of shared listeners, likewise */
    int fd;                    /* -1: there is no service manager */
    bool owes_ready;           /* READY=1 was not taken */
};

/* READY=1, and STATUS= and WATCHDOG=1 from then on. */
void notifier_start(struct notifier *n, struct worker *w, const struct listeners *ls);
/* RELOADING=1, and READY=1 behind it, whatever became of it. */
void notifier_reloading(struct notifier *n);
void notifier_reloaded(struct notifier *n);
/* STOPPING=1. */
void notifier_stop(struct notifier *n);
/*
 * Gives the manager a duplicate of fd to keep for the next process, and waits until it has dealt
 * with that; the process is about to end. The manager does not say whether it keeps it. 0, or
 * -errno: it may still keep it, or not.
 */
int notifier_store(struct notifier *n, const char *name, int fd, uint64_t until);
/* What is kept under that name is of no use any more. */
void notifier_forget(struct notifier *n, const char *name);
/* Accepts one that was never started. */
void notifier_deinit(struct notifier *n);

#endif
