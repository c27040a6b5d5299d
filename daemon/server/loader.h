/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_LOADER_H
#define ASOCKD_LOADER_H

/*
 * A thread that reads files for the loop: a large policy takes a second or two, and a disk may
 * hang. It begins before the filter, which lets no thread begin. Jobs are done one after the other.
 */
#include "base/list.h"
#include "daemon/core/loop.h"

/* At the end of the daemon, for the job that is being done. */
#define LOADER_STOP_MS 1000u
/* Below the loop's, so that it has the processor whenever it needs it. */
#define LOADER_NICE 10

struct loader;

struct loader_job {
    struct list node;
    void (*run)(struct loader_job *job);  /* in the thread: the job is its own, nothing else is */
    void (*done)(struct loader_job *job); /* on the loop, in a later turn */
    void (*drop)(struct loader_job *job); /* instead of one of them, or both: the daemon ends */
};

/* 0 or -errno. Its thread is on the way. */
int loader_new(struct worker *w, struct loader **ret);
/* Before the system call filter: until the thread has begun. */
void loader_await(struct loader *loader);
/*
 * Waits for the job that is being done; one that does not end goes with the process. Accepts NULL;
 * returns it.
 */
struct loader *loader_free(struct loader *loader);
/* The same for a process that is in a hurry to end: does not wait for the thread. */
struct loader *loader_leave(struct loader *loader);
void loader_ask(struct loader *loader, struct loader_job *job);

#endif
