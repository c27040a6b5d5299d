/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_LENT_H
#define ASOCK_TESTS_SIM_LENT_H

/*
 * Steps with connections whose socket the daemon lends or gives (S68 to S70). Programs write, read
 * and end them by themselves, while their sessions and the daemon come and go.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LENT_STEP_KINDS(X)                                                                         \
    X(LEND)     /* slot, how, context, where to */                                                 \
    X(LENT_USE) /* slot, what, length */                                                           \
    X(LENT_END) /* slot, what goes first */                                                        \
    X(RAW_LEND) /* slot, how many, what is closed, how */

/* A connect to such a port is one of these. */
#define LENT_PORT_FIRST 900u
#define LENTS_MAX 96u
#define LENT_PORT_RAW 999u

struct client;
struct step;
struct tcp;

void step_lend(const struct step *step);
void step_lent_use(const struct step *step);
void step_lent_end(const struct step *step);
/* raw_steps.c: a client that closes sockets whose descriptors it has not fetched. */
void step_raw_lend(const struct step *step);

/* There may be too little memory, or too small limits. */
bool lent_may_be_refused(void);
/* How the peer of such a connection behaves; false: it is none. */
bool lent_assign(struct tcp *tcp);
/* Between turns: what was lent is in the daemon's hand, and what was given in the program's. */
void lent_check(void);
/* The daemon was killed: the kernel has closed what it had, and dissolved nothing. */
void lent_daemon_killed(void);
/* Of a context that goes; at the end; of all. */
void lent_lost(const struct client *client);
void lent_close_all(void);
void lent_judge(void);
void lent_reset(void);

#endif
