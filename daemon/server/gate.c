/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: a client of a user who owes time -> it waits, in order -> the user's turn -> it is
 * let in, or refused.
 * Failures: too many of the user's clients wait, or there is no memory: the next one is refused.
 * The listener goes: its clients are let in before.
 */
#include "daemon/server/gate.h"

#include <assert.h>
#include <errno.h>

#include "base/alloc.h"
#include "daemon/core/loop.h"
#include "daemon/core/quota.h"
#include "daemon/identity/identity_proc.h"

struct waiting {
    struct listener *listener;
    int fd;
    uint64_t accepted;
};

struct gate {
    struct list node; /* gates->list */
    struct gates *gates;
    struct quota *user; /* below the daemon: of all listeners */
    struct share share; /* below the user's */
    struct task gone;   /* nobody waits any more */
    struct waiting clients[GATE_CLIENTS_MAX];
    unsigned int first, count;
};

static struct waiting take_first(struct gate *gate)
{
    struct waiting client = gate->clients[gate->first];

    gate->first = (gate->first + 1) % GATE_CLIENTS_MAX;
    gate->count--;
    gate->gates->waiting--;
    return client;
}

static bool on_turn(struct share *share)
{
    struct gate *gate = container_of(share, struct gate, share);
    struct gates *gates = gate->gates;

    while (gate->count > 0) {
        struct waiting client = take_first(gate);

        gates->admit(client.listener, client.fd, client.accepted);
        if (share_step_is_over(&gates->worker->shares))
            break;
    }
    if (gate->count > 0)
        return true;
    worker_defer(gates->worker, &gate->gone);
    return false;
}

static void gate_free(struct gate *gate)
{
    task_deinit(&gate->gone);
    share_deinit(&gate->share);
    list_remove(&gate->node);
    quota_uncharge(gate->user, QUOTA_MEMORY, sizeof(*gate));
    quota_unref(gate->user);
    mem_free(gate);
}

static void on_gone(struct task *task)
{
    struct gate *gate = container_of(task, struct gate, gone);

    if (gate->count == 0)
        gate_free(gate);
}

static struct gate *find(const struct gates *gates, const struct quota *user)
{
    list_for_each (&gates->list, it) {
        struct gate *gate = container_of(it, struct gate, node);

        if (gate->user == user)
            return gate;
    }
    return NULL;
}

static struct gate *make(struct gates *gates, struct quota *user)
{
    struct gate *gate;

    if (quota_charge(user, QUOTA_MEMORY, sizeof(*gate)) < 0)
        return NULL;
    gate = mem_zalloc(1, sizeof(*gate));
    if (!gate) {
        quota_uncharge(user, QUOTA_MEMORY, sizeof(*gate));
        return NULL;
    }
    gate->gates = gates;
    gate->user = quota_ref(user);
    share_init(&gate->share, quota_share(user, &gates->worker->shares.root), on_turn);
    task_init(&gate->gone, on_gone);
    list_append(&gates->list, &gate->node);
    return gate;
}

void gates_init(struct gates *gates, struct worker *w,
                void (*admit)(struct listener *l, int fd, uint64_t accepted))
{
    list_init(&gates->list);
    gates->worker = w;
    gates->waiting = 0;
    gates->most = GATES_CLIENTS_MAX;
    gates->admit = admit;
}

/* Nobody overtakes those who wait. */
bool gate_is_needed(const struct gates *gates, struct quota *user)
{
    const struct gate *gate = find(gates, quota_person(user));

    if (gate && gate->count > 0)
        return true;
    return quota_share(user, &gates->worker->shares.root)->left < -SLICE_NS;
}

/* How many of one may wait: as with a quota, half of what the others leave. */
static unsigned int share_of(const struct gates *gates, const struct gate *gate)
{
    unsigned int others = gates->waiting - (gate ? gate->count : 0);
    unsigned int half = others < gates->most ? (gates->most - others + 1) / 2 : 0;

    return half < GATE_CLIENTS_MAX ? half : GATE_CLIENTS_MAX;
}

int gate_hold(struct gates *gates, struct quota *user, struct listener *l, int fd)
{
    struct quota *person = quota_person(user);
    struct gate *gate = find(gates, person);

    if ((gate ? gate->count : 0) >= share_of(gates, gate))
        return -ENOBUFS;
    if (!gate)
        gate = make(gates, person);
    if (!gate)
        return -ENOMEM;
    gate->clients[(gate->first + gate->count) % GATE_CLIENTS_MAX] = (struct waiting){
        l, fd, identity_proc_now()};
    gate->count++;
    gates->waiting++;
    share_wake(&gate->share);
    return 0;
}

/* Those of other listeners keep their order. */
static void empty(struct gate *gate, const struct listener *l)
{
    for (unsigned int left = gate->count; left > 0; left--) {
        struct waiting client = take_first(gate);

        if (!l || client.listener == l) {
            gate->gates->admit(client.listener, client.fd, client.accepted);
            continue;
        }
        gate->clients[(gate->first + gate->count) % GATE_CLIENTS_MAX] = client;
        gate->count++;
        gate->gates->waiting++;
    }
}

void gates_empty(struct gates *gates, const struct listener *l)
{
    list_for_each (&gates->list, it) {
        struct gate *gate = container_of(it, struct gate, node);

        empty(gate, l);
        if (gate->count == 0)
            worker_defer(gates->worker, &gate->gone);
    }
}

void gates_deinit(struct gates *gates)
{
    gates_empty(gates, NULL);
    list_for_each_safe (&gates->list, it) {
        gate_free(container_of(it, struct gate, node));
    }
    assert(gates->waiting == 0);
}
