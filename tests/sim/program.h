/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_PROGRAM_H
#define ASOCK_TESTS_SIM_PROGRAM_H

/*
 * A program: which faults are on, how the daemon is made, and a list of steps. A step's numbers
 * choose among the objects that there are, so that a program without some of its steps is still
 * one; each has a salt of its own for what chance decides until the next step.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/sim/lent.h"
#include "tests/sim/listeners.h"
#include "tests/sim/raw.h"
#include "tests/sim/relay.h"

#define STEPS_MAX 400

/* NAME, what its numbers say */
#define STEP_KINDS(X)                                                                              \
    X(CONTEXT)          /* slot, limit of sockets */                                               \
    X(JOIN)             /* slot, of which context's listener */                                    \
    X(CONTEXT_UNREF)    /* slot */                                                                 \
    X(RECONNECT)        /* slot */                                                                 \
    X(SOCKET)           /* slot */                                                                 \
    X(SOCKETS)          /* first slot, how many */                                                 \
    X(SOCKET_UNREF)     /* slot */                                                                 \
    X(OP_UNREF)         /* op */                                                                   \
    X(CONNECT)          /* socket, op, how, data */                                                \
    X(SEND)             /* socket, op, length, manner */                                           \
    X(RECEIVE)          /* socket, op, length, manner */                                           \
    X(SHUTDOWN)         /* socket, op, how */                                                      \
    X(CLOSE)            /* socket, op, linger */                                                   \
    X(SET_OPTION)       /* socket, op, option, value */                                            \
    X(GET_OPTION)       /* socket, op, option */                                                   \
    X(SYNC)             /* context, op */                                                          \
    X(RESOLVE)          /* context, op, name, time */                                              \
    X(HANGUP)           /* socket, op, time */                                                     \
    X(SHARE)            /* context, op, timeout */                                                 \
    X(CANCEL)           /* op */                                                                   \
    X(WAIT)             /* op, ms */                                                               \
    X(PROCESS)          /* context */                                                              \
    X(FLUSH)            /* context */                                                              \
    X(PASS)             /* ms */                                                                   \
    X(WORLD)            /* steps, in which no program runs */                                      \
    X(SETTLE)           /* ms */                                                                   \
    X(BUFFER)           /* slot, pages */                                                          \
    X(BUFFER_UNREF)     /* slot */                                                                 \
    X(POOL)             /* slot, buffer, size */                                                   \
    X(POOL_UNREF)       /* slot */                                                                 \
    X(MULTISHOT)        /* socket, op, pool */                                                     \
    X(TAKE)             /* op */                                                                   \
    X(GIVE)             /* pool, which */                                                          \
    X(NEXT)             /* op, ms */                                                               \
    X(BEGIN)            /* socket, op, what, how much */                                           \
    X(END)              /* op, whether it is to be cancelled first */                              \
    X(SEND_ALL)         /* socket, -, length, ms */                                                \
    X(RECEIVE_SOME)     /* socket, -, length, ms */                                                \
    X(DIAL)             /* socket, -, how, ms */                                                   \
    X(INSPECT)          /* context, -, query, ms */                                                \
    X(CONTROL)          /* -, id, what, ms */                                                      \
    X(RESTRICT)         /* context, -, rules, ms */                                                \
    X(DETACH)           /* context, -, -, ms */                                                    \
    X(DATAGRAMS)        /* slot, family */                                                         \
    X(DATAGRAM_SEND)    /* slot, where to, length, manner */                                       \
    X(DATAGRAM_RECEIVE) /* slot, -, length, manner */                                              \
    X(DATAGRAM_CONNECT) /* slot, where to */                                                       \
    X(DATAGRAM_CANCEL)  /* -, -, which */                                                          \
    X(DATAGRAM_CLOSE)   /* slot, linger */                                                         \
    X(PEER_WRITE)       /* connection, bytes */                                                    \
    X(PEER_READ)        /* connection */                                                           \
    X(PEER_FIN)         /* connection */                                                           \
    X(PEER_RESET)       /* connection */                                                           \
    X(KILL_SESSION)     /* number */                                                               \
    X(KILL_SOCKET)      /* number */                                                               \
    X(STOP)             /* ms */                                                                   \
    X(TERMINATE)        /* and start again */                                                      \
    X(KILL)             /* and start again */

/*
 * Behind all others: the chance that makes a program knows none of them, so that each seed stays
 * what it is.
 */
#define ADDED_STEP_KINDS(X)                                                                        \
    X(RESTART)             /* another process goes on */                                           \
    X(DATAGRAM_BIND)       /* slot, where */                                                       \
    X(DATAGRAM_ARRIVES)    /* slot, from which host, length, how many */                           \
    X(DATAGRAM_GROUP)      /* slot, join, leave, option or arrival, which */                       \
    X(DISCONNECT)          /* socket, op, time */                                                  \
    X(DATAGRAM_DISCONNECT) /* slot, -, which, time */                                              \
    X(SEND_FILE)           /* socket, op, length, manner */

enum step_kind {
    STEP_NONE, /* the end of a list */
#define X(name) STEP_##name,
    STEP_KINDS(X) LISTENER_STEP_KINDS(X) RAW_STEP_KINDS(X) RELAY_STEP_KINDS(X) ADDED_STEP_KINDS(X)
        LENT_STEP_KINDS(X)
#undef X
            STEP_KIND_COUNT
};

struct step {
    enum step_kind kind;
    uint32_t a, b, c, d;
    uint32_t inside; /* 0: now; else in the next callback of this op, + 1 */
    uint64_t salt;
};

struct program {
    uint64_t seed;
    uint32_t faults;
    uint32_t sockets, ops; /* the daemon's limits; 0: default */
    uint32_t pace;         /* so much happens at most between two steps */
    uint32_t count;
    struct step steps[STEPS_MAX];
};

void program_make(uint64_t seed, struct program *ret);
/* The same one, restarted now and then. */
void program_add_restarts(struct program *program);
/* At its end, with the numbers that chance says; nothing where it is full. */
void program_add_step(struct program *program, enum step_kind kind, uint64_t salt);
/* generate_added.c */
void generate_added(struct program *program);
void program_write(const struct program *program, FILE *to);
bool program_read(FILE *from, struct program *ret);
const char *step_name(enum step_kind kind);

/* Runs it; returns if nothing was wrong. */
void program_run(const struct program *program);

#endif
