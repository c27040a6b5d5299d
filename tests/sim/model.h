/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_MODEL_H
#define ASOCK_TESTS_SIM_MODEL_H

/*
 * What the program has, and what it knows. A slot is where a step of a program finds an object; a
 * stream, an op and a submission live until the end of the run, for the oracle.
 */
#include <asock/asock.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/kernel.h"
#include "tests/sim/program.h"

#define CONTEXTS 3
#define SOCKETS 24
#define OPS 32
#define BUFFERS 4
#define POOLS 3
#define INTENTS 1024
#define QUEUED_STEPS 8
#define TAKEN_MAX 16

struct client {
    asock_context *context;  /* NULL: none */
    unsigned int generation; /* of its session: what an earlier one had is lost */
    bool is_lost;            /* the daemon, or the session, was ended from outside */
    unsigned int denies;     /* restrictions that are in force: bits, by their number in asks.c */
    bool may_deny;           /* there may be one */
    bool has_given_up;       /* it takes the daemon to hang: its buffers are its own */
    char share[108];         /* socket of the last listener of its session; "": none */
    unsigned int share_generation;
    const struct client *sharer; /* by whose listener it came; NULL: by the daemon's */
    unsigned int sharer_generation;
};

/* A socket's life, from asock_socket_new() on. */
struct stream {
    struct stream *next;
    struct client *client;
    unsigned int generation, number;
    asock_socket *socket; /* NULL: no reference left */
    struct submission *first, *last;
    struct tcp *tcp;                  /* of the connect that succeeded */
    const struct submission *connect; /* that one */
    bool is_closing;                  /* CLOSE was submitted, or the last reference went */
    bool was_killed;                  /* by the administrator */
    bool is_receive_shut;             /* asked for */
    bool is_blurred;      /* a receive was lost: where the next one begins is not known */
    unsigned int gap;     /* the first receive that ended CONNECTION_ABORTED, + 1; 0: none has */
    bool linger_was_told; /* a close with time for it has succeeded */
    uint64_t received;    /* bytes of the peer's that were verified */
    uint64_t sent;        /* bytes in the log that were verified */
    struct submission *next_send, *next_receive;
    const struct submission *disconnect; /* that has ended its connection; NULL: none has */
    const struct stream *before;         /* of the same socket; NULL: it is the first */
    int family;
    struct tcp *bound; /* the kernel's socket, of one that is bound; NULL: which one is not known */
    bool was_bound;    /* or asked to be: it is no stream then */
    bool is_bound_certain; /* it is that socket: another one may have the same port */
};

/* An op of the program's; its slot may have another one meanwhile. */
struct model_op {
    struct model_op *next;
    struct client *client;
    asock_op *op;                /* NULL: no reference left */
    bool has_callback, is_begun; /* is_begun: asock_end() is still to come */
    unsigned int in_callback;
    struct submission *submission;
    struct step queued[QUEUED_STEPS]; /* run in its next callback */
    unsigned int queued_count, repeats;
    asock_pool *pool; /* that it is set to */
    unsigned int pool_slot;
};

struct submission {
    struct submission *next, *next_of_stream;
    struct model_op *op;
    struct stream *stream; /* NULL: concerns no socket */
    enum asock_operation operation;
    unsigned int number, intent, flags, timeout_ms, generation;
    int how, linger_ms, option;
    int64_t value;
    uint64_t submitted, deadline; /* ms; deadline 0: none */
    uint64_t away;                /* model.away at submission */
    size_t len;
    uint8_t *data;   /* of ordinary memory: the buffer; else what was received */
    uint8_t *shared; /* where in shared memory; NULL: in none */
    struct model_buffer *buffer;
    size_t offset;           /* in it */
    struct byte_queue shots; /* what a multishot has reported */
    bool is_multishot, is_done, is_cancelled, is_refused, is_after_close, is_counted;
    bool is_unseen;     /* what was received cannot be looked at */
    bool is_unknown;    /* it was lost: how it ended is not known */
    bool is_partial;    /* how much of it went is not known */
    bool is_told_early; /* by asock_end(): its callback is still to come */
    bool is_at_once;    /* it ended as it was submitted: the daemon never had it */
    bool was_connected; /* at submission a connect had succeeded */
    int error;
    uint64_t bytes;
    unsigned int result_flags;
    uint64_t done_at;
    unsigned int changes; /* of policy, before it was submitted */
    struct tcp *accepted; /* by a successful accept */
    bool is_taken;        /* its socket */
    bool is_cut;          /* the file that it sends became shorter */
    bool accepts_on;      /* a multishot accept: `accepted` is the last one */
};

struct model_buffer {
    asock_buffer *buffer;
    struct client *client;
    unsigned int generation, uses;
    size_t used; /* up to there it is, or was, some op's */
    size_t size;
    uint8_t *at;
    bool is_pool, is_frozen; /* is_frozen: of a session that was given up, with this sum */
    uint64_t sum;
};

struct model_pool {
    asock_pool *pool;
    struct client *client;
    void *taken[TAKEN_MAX];
    unsigned int taken_count;
};

struct model {
    struct client clients[CONTEXTS];
    struct stream *sockets[SOCKETS];
    struct model_op *ops[OPS];
    struct model_buffer *buffers[BUFFERS];
    struct model_pool pools[POOLS];
    struct stream *streams;
    struct model_op *all_ops;
    struct submission *submissions;
    struct {
        struct submission *submission;
        struct step peer;
    } intents[INTENTS];
    unsigned int intent_count, stream_count, submission_count, depth;
    uint64_t blocked_until; /* ms: the program did something else than run its event loop */
    uint64_t stopped_from, stopped_until; /* ms: the daemon was stopped */
    uint64_t carried;                     /* ms: another daemon has taken over; 0: none has */
    uint64_t away;                        /* ms in all, between one daemon and the next */
    uint64_t late_until; /* ms: the program was, so that what it had submitted left late */
};

extern struct model model;

void model_reset(void);

/* ---- model.c: submissions and their ends ---- */

struct submission *submission_new(struct model_op *op, struct stream *stream,
                                  enum asock_operation operation);
/* What the submitting call has returned. */
void submission_made(struct submission *submission, int r);
/* Its op says that it has completed. */
void submission_done(struct submission *submission);
void model_callback(asock_op *op, void *userdata);
/* Ops without a callback that have ended meanwhile. */
void model_look(void);
bool model_is_pending(const struct model_op *op);
/* Its session may have ended, or that of one by whose listener it came. */
bool model_may_be_lost(const struct client *client);
/* What restrictions forbid it: its own, and those of the ones by whose listeners it came. */
unsigned int model_denies(const struct client *client);
bool model_may_deny(const struct client *client);
/* Everything that it has is lost: with the daemon, its session, or its context. */
void model_lost(struct client *client);

/* ---- oracle.c ---- */

void oracle_done(struct submission *submission);
void oracle_shot(struct submission *submission, const void *data, size_t len);
/* A connection begins: nothing denies it. */
void oracle_check_connect(const struct tcp *tcp);
/* No op is pending beyond its deadline. */
void oracle_check_deadlines(void);
/* The same of a call that waits, for so long at most. */
void oracle_check_call(const char *name, uint64_t began, uint64_t timeout_ms);
/* Which sessions the library has given up, and whether it was right. */
void oracle_look(void);
/* What has to end by itself has. */
void oracle_judge_ends(void);
/* And everything, without a socket that is left. */
void oracle_judge_all(void);

/* ---- steps.c ---- */

void step_run(const struct step *step);
/* Lets the world and the programs' event loops go on, for so many steps. */
void step_world(unsigned int count);
/* Until nothing moves, or so much time has passed. */
void step_settle(uint64_t ms);

#endif
