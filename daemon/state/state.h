/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STATE_H
#define ASOCKD_STATE_H

/*
 * Moves what a daemon has of its clients to another process (docs/RESTART.md).
 *
 *     the old one: state_carries() -> state_save_*() ... handed over ... -> state_leave_session()
 *     the new one: state_restore() ... it is ours ... -> state_resume()
 *
 * In between neither process reads or writes a connection, because the old one may still keep it. A
 * session goes over whole or not at all. One that does not go over ends in the old process, as at a
 * stop.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/session/session.h"
#include "daemon/state/image.h"

struct worker;

#define STATE_REPLY_MAX                                                                            \
    (64u * 1024u) /* of one that waits for room: records, and texts, are far shorter */

/* ---- the old one ---- */

/*
 * Nothing of it is of a kind that only this process can go on with. state_may_carry(): or it is for
 * a moment only.
 */
bool state_may_carry(const struct session *s);
bool state_carries(const struct session *s);
/* Marks those that go (is_handed_over), which their sharers do too. How many. */
uint32_t state_choose(struct worker *w);
/*
 * The first record, with what has no session any more, for state_leave_drains(), and connections
 * of sessions that have ended; if the reader knows that. lock: of the runtime directory. Counts of
 * what follows.
 */
void state_save_daemon(struct state_writer *out, const struct worker *w, int lock,
                       uint32_t listeners, uint32_t sessions);
void state_save_listener(struct state_writer *out, const char *name, bool is_control,
                         const char *path, int fd);
/* With its sockets and their ops. */
void state_save_session(struct state_writer *out, const struct session *s);
/*
 * Another process has it: here it ends without a word, to its client, its peers, the audit or the
 * log. Its memory goes in later steps.
 */
void state_leave_session(struct session *s);
/* The same of the connections that have no session any more. */
void state_leave_drains(struct worker *w);
/*
 * While nobody goes on with it: a TCP connection that is closed then is reset. state_resume() ends
 * that, too.
 */
void state_end_in_reset(const struct session *s, bool on);

/* ---- the new one ---- */

struct state_listener {
    const char *name, *path;
    bool is_control;
    int fd; /* not duplicated: it stays the caller's */
};

struct state_restorer {
    struct worker *worker;
    const int *descriptors; /* those that came with it, in order */
    bool *taken;            /* of each: somebody owns it now */
    uint32_t descriptor_count;
    /*
     * Whose session it will be: fills config (listener's quota, dispatch, on_gone). -errno: there
     * is no such listener.
     */
    int (*configure)(void *data, const char *listener, struct session_config *config);
    int (*listener)(void *data, const struct state_listener *listener);
    void *data;
    int lock;                    /* descriptor, taken; -1 */
    struct session *last_sharer; /* that a record has named */
    const char *what;            /* that could not be restored, and why, for people */
    /*
     * No other process would continue: a session that lacks a descriptor, or its listener, ends
     * alone.
     */
    bool saves_what_it_can;
    const char *lost_what; /* of a session that was lost, the last one */
    uint64_t next_id;      /* so far */
    pid_t pid;             /* of the process that wrote it; 0: unknown */
    uint64_t saved; /* when the state was written, by CLOCK_MONOTONIC in milliseconds; 0: unknown */
    uint32_t sessions, sockets, ops; /* so far */
    uint32_t lost;                   /* sessions that end, or were not made */
};

/*
 * All of it; nothing starts. 0, or -errno with what: then what was made stays as it is, and the
 * process has to end without touching a connection.
 */
int state_restore(struct state_restorer *r, struct state_reader *in);
/*
 * Closes what no other process may continue: a TCP connection is reset, because what it should
 * carry is not known to be whole. A lent one is over for its holder, too.
 */
void state_discard(int fd);
/*
 * It is ours from here on: every session that was restored goes on, or ends if it could not be
 * restored whole.
 */
void state_resume(struct worker *w);

#endif
