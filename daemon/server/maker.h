/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_MAKER_H
#define ASOCKD_MAKER_H

/*
 * A process that makes listening sockets for SHARE, and removes them: the daemon's own filter lets
 * nothing listen. It is forked before there are threads, works in DIR/share alone, and ends when
 * the daemon does. The loop never waits for it: jobs are done one after the other, those of each
 * user in turn with those of others. While one takes too long nothing new is made; it is not given
 * up before it ends.
 */
#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "daemon/core/loop.h"
#include "daemon/server/listener_spec.h"

#define MAKER_NAME_DIGITS 32u /* of a directory's name, hexadecimal */
/*
 * Longer than mkdir, bind and listen take on a slow machine: it has stopped, or the directory's
 * disk has, for a while.
 */
#define MAKER_PATIENCE_MS 10000u
/*
 * A session that ends removes its listeners; when the daemon ends the process removes all that are
 * left.
 */
#define MAKER_FAREWELL_MS 1000

struct maker_job {
    struct list node; /* of each user's first: maker->users; of his others: of that one's: */
    struct list makings, removals; /* behind it, his first ones; makings before removals */
    const void *whom;              /* the user; NULL: none */
    bool is_removal;
    char name[MAKER_NAME_DIGITS + 1];
    /*
     * r: of a removal 0, else the listening socket, which is the callee's; or -errno. The job is in
     * no queue then.
     */
    void (*done)(struct maker_job *job, int r);
    /* It takes too long, and may still be done. */
    void (*late)(struct maker_job *job);
};

struct maker {
    struct worker *worker;
    int fd, pidfd;           /* -1: it has ended, or there never was one */
    struct list users;       /* a job each; whose turn is next comes first */
    struct maker_job *asked; /* is being done; NULL: none */
    bool is_late;            /* that takes too long */
    struct ev_io io;
    struct task next;
    struct deadline patience;
    char directory[LISTENER_PATH_BYTES]; /* absolute; "": none */
    void (*on_lost)(struct maker *maker, const char *why);
    void (*on_late)(struct maker *maker); /* is_late has changed */
};

/* Before the first thread, and before anything is opened. 0 or -errno. */
int maker_fork(struct maker *maker, bool without_filter);
/*
 * It makes DIR/share, if need be, removes what is left there of earlier daemons, and gives up all
 * rights but those it needs. Waits for that. 0, or -errno after a message to the log: it has ended
 * then.
 */
int maker_begin(struct maker *maker, struct worker *w, const char *dir);
/* Done in its turn, never within this call. */
void maker_ask(struct maker *maker, struct maker_job *job);
/* True: its turn had not come, and never will. False: it is being done. */
bool maker_withdraw(struct maker *maker, struct maker_job *job);
/* Jobs that are left end with -ESHUTDOWN. The process removes what is there, and has ended soon. */
void maker_deinit(struct maker *maker);

/* ---- between both processes ---- */

#define MAKER_FD 3

struct maker_request {
    bool is_removal;
    char name[MAKER_NAME_DIGITS + 1];
};

/* A descriptor comes with the 0 of a making. */
struct maker_answer {
    int result;
};

/* The process: its directory comes first, as a path. */
_Noreturn void maker_process(bool without_filter);

#endif
