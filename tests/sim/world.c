/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who is next: chance chooses among the parties that have something to do; if none has, time jumps.
 */
#include "tests/sim/world.h"

#include "tests/sim/daemon.h"
#include "tests/sim/kernel.h"
#include "tests/sim/sim.h"
#include "tests/sim/udp.h"

#define WORK_MAX 1000000u

static struct tcp *due_connection(void)
{
    unsigned int first = sim_random(kernel.tcp_count);

    for (unsigned int i = 0; i < kernel.tcp_count; i++) {
        struct tcp *tcp = kernel.tcps[(first + i) % kernel.tcp_count];

        if (tcp_due(tcp) <= sim.now_ns)
            return tcp;
    }
    return NULL;
}

static uint64_t next_due(void)
{
    uint64_t due = daemon_due();

    for (unsigned int i = 0; i < kernel.tcp_count; i++) {
        uint64_t at = tcp_due(kernel.tcps[i]);

        if (at < due)
            due = at;
    }
    for (unsigned int i = 0; i < kernel.udp_count; i++) {
        uint64_t at = udp_due(kernel.udps[i]);

        if (at < due)
            due = at;
    }
    return due;
}

bool world_has_work(void)
{
    return daemon_is_ready() || due_connection();
}

static void run_connection(struct tcp *tcp)
{
    sim.work++;
    tcp_step(tcp);
}

bool world_step(uint64_t until)
{
    enum actor before = sim.actor;
    struct tcp *tcp = due_connection();
    bool is_ready = daemon_is_ready();
    uint64_t due;

    if (++sim.work > WORK_MAX)
        sim_fail("spins: no end after %u steps", WORK_MAX);
    sim.now_ns += sim_random(100000);
    sim.actor = ACTOR_NONE;
    if (tcp && (!is_ready || sim_chance(2))) {
        run_connection(tcp);
    } else if (is_ready) {
        daemon_turn();
    } else {
        due = next_due();
        if (due > until)
            due = until;
        sim.actor = before;
        if (due == UINT64_MAX)
            return false;
        if (sim_fault(FAULT_LATE, 5))
            due += (uint64_t)sim_random(200) * 1000000;
        if (due > sim.now_ns)
            sim.now_ns = due;
        return true;
    }
    sim.actor = before;
    return true;
}
