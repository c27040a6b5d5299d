/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_LISTENERS_H
#define ASOCK_TESTS_SIM_LISTENERS_H

/*
 * Listeners of the program's: steps, what must come of them (S61 to S63), and the scenes that they
 * are in.
 */
#include <stdbool.h>
#include <stdint.h>

#define LISTENER_STEP_KINDS(X)                                                                     \
    X(BIND)           /* socket, op, where, manner */                                              \
    X(LISTEN)         /* socket, op, backlog */                                                    \
    X(ACCEPT)         /* socket, op, time */                                                       \
    X(ACCEPT_BEGIN)   /* socket, op */                                                             \
    X(TAKE_SOCKET)    /* op, slot */                                                               \
    X(INCOMING)       /* listener, how many, host, family */                                       \
    X(RELOAD)         /* -, whether to close, policy, ms */                                        \
    X(RESTRICT_PEERS) /* context, -, -, ms */

struct client;
struct model_op;
struct program;
struct step;
struct submission;

void step_bind(const struct step *step);
void step_listen(const struct step *step);
void step_accept(const struct step *step);
void step_accept_begin(const struct step *step);
void step_take_socket(const struct step *step);
void step_incoming(const struct step *step);
void step_reload(const struct step *step);
void step_restrict_peers(const struct step *step);

/* A multishot accept tells of a connection, in its callback. */
void listeners_arrival(struct submission *s);
/* An op of a listener has ended. */
void listeners_done(struct submission *s);
/* asock_end() of an accept, in two parts: before and behind what is said of its end. */
int listeners_end(struct model_op *op, uint64_t *ret_bytes);
void listeners_ended(struct model_op *op);
/* Nothing waits for what is there. */
void listeners_judge_waiting(void);
/* What was taken from the kernel was reported. */
void listeners_judge_all(void);
/* It waits for a connection that may never come. */
bool listeners_is_endless(const struct submission *s);

/* generate_listeners.c: some programs have such steps, and some of those are a scene. */
void generate_listeners_begin(uint64_t seed);
/* True: steps were added. */
bool generate_listeners(struct program *program, uint32_t sockets, uint32_t ops);

#endif
