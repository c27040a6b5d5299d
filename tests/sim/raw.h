/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_RAW_H
#define ASOCK_TESTS_SIM_RAW_H

/*
 * Clients without the library, which speak the protocol as a runtime of another language would: an
 * ACCEPT with a range of ids, ids that are used again at once, answers that are read late. They
 * keep the rules until they break one.
 */
#include <stdbool.h>
#include <stdint.h>

#define RAW_STEP_KINDS(X)                                                                          \
    X(RAW_JOIN)   /* slot */                                                                       \
    X(RAW_LISTEN) /* slot, backlog, where, port */                                                 \
    X(RAW_ACCEPT) /* slot, how many, which listener, time */                                       \
    X(RAW_USE)    /* slot, what, which socket, length */                                           \
    X(RAW_CLOSE)  /* slot, -, which socket */                                                      \
    X(RAW_CANCEL) /* slot, -, which op */                                                          \
    X(RAW_ASK)    /* slot, what, time */                                                           \
    X(RAW_MUTE)   /* slot */                                                                       \
    X(RAW_BREAK)  /* slot, how */                                                                  \
    X(RAW_LEAVE)  /* slot */

struct step;
struct tcp;

void step_raw_join(const struct step *step);
void step_raw_listen(const struct step *step);
void step_raw_accept(const struct step *step);
void step_raw_use(const struct step *step);
void step_raw_close(const struct step *step);
void step_raw_cancel(const struct step *step);
void step_raw_mute(const struct step *step);
void step_raw_break(const struct step *step);
void step_raw_leave(const struct step *step);

/* One of them reads and writes, if it can; and whether one could. */
bool raw_run(void);
bool raw_has_work(void);
/* Sessions, or sockets, may have been ended from outside. */
void raw_killed(void);
/* 1: it has a listener with that port, and is under policy alone. */
bool raw_has_port(uint16_t port);
/* At the end: all read again; everything has ended as it should; they leave. */
void raw_calm_down(void);
void raw_judge_ends(void);
void raw_leave_all(void);

#endif
