/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_EMPTIER_H
#define ASOCKD_EMPTIER_H

/*
 * A process that empties shared memory. A client has a descriptor of the memory, and whoever writes
 * to a file by write(2) holds a lock of it as long as the kernel copies: that is without an end
 * where the source is a page of a FUSE file. fallocate(2) and pwrite(2) wait for that lock, so the
 * loop makes neither. The process has EMPTIER_THREADS threads, a user occupies one of them at most,
 * and those of other users go on.
 */
#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "daemon/core/loop.h"

/* So many users have to block theirs before another one's memory is not taken back. */
#define EMPTIER_THREADS 16u

struct emptier_job {
    struct list node; /* in the queue, until a thread has it */
    const void *whom; /* the user */
    int fd;           /* stays its owner's */
    uint64_t length;  /* so many bytes are emptied; 0: the status page is marked */
    bool is_asked;    /* until done() is called */
    /*
     * 0: also if it has failed, which is in the log; -errno: the process cannot be asked, so the
     * owner does it. Never within emptier_ask().
     */
    void (*done)(struct emptier_job *job, int r);
};

struct emptier_place {
    bool is_busy;
    struct emptier_job *job; /* NULL: its owner has gone */
    const void *whom;
    struct list behind; /* the same user's next ones */
};

struct emptier {
    struct worker *worker;
    int fd; /* -1: the process has ended */
    struct emptier_place places[EMPTIER_THREADS];
    struct list waiting;
    struct ev_io io;
    struct task next;
    struct deadline retry;
    bool has_given_up;
};

/* fd: the process's (emptier_process.h); the emptier's from now on. */
void emptier_attach(struct emptier *e, struct worker *w, int fd);
/* NULL is accepted. false: there is no such process, so whoever would ask empties it himself. */
bool emptier_is_there(const struct emptier *e);
void emptier_ask(struct emptier *e, struct emptier_job *job);
/* done() will not be called. The process may still do it: it has a descriptor of its own. */
void emptier_forget(struct emptier_job *job, struct emptier *e);
/* Closes fd where the last one of a file frees its memory: not in the loop. */
void emptier_close(struct emptier *e, int fd);
/*
 * At the end of the daemon, which does not wait for users who block it: all jobs are done, as far
 * as the daemon is concerned, and so is each later one. The process goes on without the daemon.
 */
void emptier_give_up(struct emptier *e);
void emptier_detach(struct emptier *e);

/* ---- between both processes ---- */

#define EMPTIER_FD 3

/* With a descriptor. */
struct emptier_request {
    uint32_t place;  /* EMPTIER_THREADS: close it, and do not answer */
    uint32_t unused; /* 0 */
    uint64_t length; /* as in the job */
};

struct emptier_answer {
    uint32_t place;
    int result; /* 0 or -errno */
};

#endif
