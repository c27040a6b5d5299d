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
#include <string.h>

#include "base/list.h"
#include "daemon/core/loop.h"
#include "daemon/server/listener_spec.h"

#define MAKER_NAME_DIGITS 32u /* of a directory's name, hexadecimal */
#define MAKER_NAME_BYTES (MAKER_NAME_DIGITS + 1)
/*
 * Longer than mkdir, bind and listen take on a slow machine: it has stopped, or the directory's
 * disk has, for a while.
 */
#define MAKER_PATIENCE_MS 10000u
/*
 * A session that ends removes its listeners; when the daemon ends the process removes all that are
 * left, unless another daemon may continue with them.
 */
#define MAKER_FAREWELL_MS 1000

/* Can it be one? */
static inline bool maker_is_name(const char *name)
{
    return strspn(name, "0123456789abcdef") == MAKER_NAME_DIGITS && !name[MAKER_NAME_DIGITS];
}

struct maker_job {
    struct list node; /* of each user's first: maker->users; of his others: of that one's: */
    struct list makings, removals; /* behind it, his first ones; makings before removals */
    const void *whom;              /* the user; NULL: none */
    bool is_removal;
    char name[MAKER_NAME_BYTES];
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
    bool is_ready;           /* it knows what to keep, or it has ended */
    struct ev_io io;
    struct task next;
    struct deadline patience;
    char directory[LISTENER_PATH_BYTES]; /* absolute; "": none */
    void (*on_lost)(struct maker *maker, const char *why);
    void (*on_late)(struct maker *maker); /* is_late has changed */
};

/* Before the first thread, and before anything is opened. 0 or -errno. */
int maker_fork(struct maker *maker, bool without_filter);
/* Jobs may be asked for from here on, and wait until maker_keep(). */
void maker_attach(struct maker *maker, struct worker *w);
/*
 * It makes DIR/share, if need be, once an earlier daemon's process has left it. Waits for that. 0,
 * or -errno after a message to the log: it has ended then.
 */
int maker_begin(struct maker *maker, const char *dir);
/*
 * It removes what is left there of earlier daemons, but not those names; gives up all rights but
 * those it needs; and does its jobs. Waits for that, as maker_begin(). What it has kept stays when
 * this daemon ends, too, until maker_leave(maker, false).
 */
int maker_keep(struct maker *maker, const char (*names)[MAKER_NAME_BYTES], size_t count);
/* What is there when the daemon ends stays, for another daemon; or does not. */
void maker_leave(struct maker *maker, bool stays);
/* Done in its turn, never within this call. */
void maker_ask(struct maker *maker, struct maker_job *job);
/* True: its turn had not come, and never will. False: it is being done. */
bool maker_withdraw(struct maker *maker, struct maker_job *job);
/* Jobs that are left end with -ESHUTDOWN. The process removes what is there, and has ended soon. */
void maker_deinit(struct maker *maker);

/* ---- between both processes ---- */

#define MAKER_FD 3

/* The names that are kept, in messages; the last one has room for more. Answered once. */
#define MAKER_KEPT 256u
struct maker_kept {
    uint32_t count;
    char names[MAKER_KEPT][MAKER_NAME_BYTES];
};

enum maker_kind {
    MAKER_MAKE,
    MAKER_REMOVE,
    MAKER_STAYS, /* when the daemon ends, what is there stays; without an answer, as the next one */
    MAKER_GOES,
};

struct maker_request {
    uint8_t kind;                /* enum maker_kind */
    char name[MAKER_NAME_BYTES]; /* of one to be made, or removed */
};

/* A descriptor comes with the 0 of a making. */
struct maker_answer {
    int result;
};

/* The process: its directory comes first, as a path. */
_Noreturn void maker_process(bool without_filter);

#endif
