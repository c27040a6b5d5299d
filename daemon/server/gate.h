/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_GATE_H
#define ASOCKD_GATE_H

/*
 * Clients whose user owes more than a slice of time wait here. To learn who a client is takes as
 * long as hundreds of requests, also for one that is refused then, so the clients of such a user
 * are let in when it is the user's turn, in the user's time (daemon/core/share.h). Where nobody
 * else has work that is at once.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct listener;
struct quota;
struct worker;

/*
 * Of one user, by whichever listeners; those beyond are refused, which takes no time worth sharing.
 */
#define GATE_CLIENTS_MAX 32u
/* Of all users together, a descriptor each: the plan of descriptors may leave fewer (server.h). */
#define GATES_CLIENTS_MAX 256u

struct gates {
    struct list list; /* struct gate */
    struct worker *worker;
    unsigned int waiting, most; /* most: of all users together */
    /* Its time is accounted for. accepted: when, by identity_proc_now(). */
    void (*admit)(struct listener *l, int fd, uint64_t accepted);
};

void gates_init(struct gates *gates, struct worker *w,
                void (*admit)(struct listener *l, int fd, uint64_t accepted));
/* Must its next client wait? user: at whichever listener. */
bool gate_is_needed(const struct gates *gates, struct quota *user);
/*
 * Takes fd on success. -ENOBUFS: too many of the user's wait, or half of the places that other
 * users leave are taken; -ENOMEM.
 */
int gate_hold(struct gates *gates, struct quota *user, struct listener *l, int fd);
/* Lets those in who came by that listener; NULL: all of them. */
void gates_empty(struct gates *gates, const struct listener *l);
/* Nobody may wait. */
void gates_deinit(struct gates *gates);

#endif
