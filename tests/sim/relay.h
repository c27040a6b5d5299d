/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_RELAY_H
#define ASOCK_TESTS_SIM_RELAY_H

/*
 * The gateway, an ordinary program on the library and on a loop of its own, between programs that
 * speak SOCKS or HTTP and peers of the network. Programs write, read late, end their stream, go
 * away.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define RELAY_STEP_KINDS(X)                                                                        \
    X(RELAY_PROGRAM) /* slot, how, bytes, manner */                                                \
    X(RELAY_MORE)    /* slot, bytes */                                                             \
    X(RELAY_FIN)     /* slot */                                                                    \
    X(RELAY_CLOSE)   /* slot */                                                                    \
    X(RELAY_MUTE)    /* slot */

struct step;

void step_relay_program(const struct step *step);
void step_relay(const struct step *step);

/*
 * The gateway or a program runs, if it can; whether one could; when the gateway's next timer is due
 * (ns).
 */
bool relay_run(void);
bool relay_has_work(void);
uint64_t relay_due(void);
/* Sessions, or sockets, may have been ended from outside. */
void relay_killed(void);
/* At the end: every program reads, and ends its stream; then nothing is left. */
void relay_calm_down(void);
void relay_judge(void);
void relay_end(void);
/*
 * The gateway's thread is run at once: the world goes on meanwhile. EAGAIN: it is none of the
 * gateway's.
 */
int relay_thread(void *(*run)(void *), void *data);

#endif
