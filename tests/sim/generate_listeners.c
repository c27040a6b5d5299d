/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Programs with listeners: in some of them (swarm testing), with chance of its own, so that other
 * programs stay what they are.
 */
#include <string.h>

#include "tests/sim/model.h"
#include "tests/sim/program.h"
#include "tests/sim/sim.h"

static uint64_t chance;
static uint32_t share;       /* one step in so many; 0: none */
static uint32_t relay_share; /* the same of the gateway's */
static bool is_watching;     /* in a scene of the administrator's */

static uint32_t random_of(uint32_t n)
{
    uint64_t before = sim.rng;
    uint32_t ret;

    sim.rng = chance;
    ret = sim_random(n);
    chance = sim.rng;
    sim.rng = before;
    return ret;
}

void generate_listeners_begin(uint64_t seed)
{
    static const uint32_t shares[] = {0, 0, 0, 2, 3, 8};

    chance = sim_mix(seed, 17);
    share = shares[random_of(6)];
    relay_share = random_of(2) ? shares[random_of(6)] : 0;
}

/* How often each comes by itself. */
static const struct {
    uint16_t kind, weight;
} kinds[] = {
    {STEP_BIND, 10},        {STEP_LISTEN, 10},        {STEP_ACCEPT, 30},   {STEP_INCOMING, 30},
    {STEP_ACCEPT_BEGIN, 6}, {STEP_TAKE_SOCKET, 10},   {STEP_RAW_JOIN, 6},  {STEP_RAW_LISTEN, 6},
    {STEP_RAW_ACCEPT, 20},  {STEP_RAW_USE, 8},        {STEP_RAW_CLOSE, 8}, {STEP_RAW_CANCEL, 4},
    {STEP_RAW_MUTE, 2},     {STEP_RAW_ASK, 12},       {STEP_RAW_BREAK, 1}, {STEP_RAW_LEAVE, 1},
    {STEP_RELOAD, 3},       {STEP_RESTRICT_PEERS, 1},
};

#define SCENE_MAX 20
/* Of one socket; what is not of its kind is as chance has it. */
static const uint16_t scenes[][SCENE_MAX] = {
    /* accepts before and behind what comes */
    {STEP_SOCKET_UNREF, STEP_SOCKET, STEP_BIND, STEP_LISTEN, STEP_ACCEPT, STEP_ACCEPT, STEP_WORLD,
     STEP_INCOMING, STEP_WORLD, STEP_ACCEPT, STEP_INCOMING, STEP_INCOMING, STEP_ACCEPT, STEP_WORLD,
     STEP_PROCESS, STEP_TAKE_SOCKET, STEP_ACCEPT_BEGIN, STEP_END},
    /* it is closed while they wait */
    {STEP_SOCKET_UNREF, STEP_SOCKET, STEP_BIND, STEP_LISTEN, STEP_ACCEPT, STEP_ACCEPT, STEP_ACCEPT,
     STEP_FLUSH, STEP_WORLD, STEP_INCOMING, STEP_CLOSE, STEP_WORLD, STEP_PROCESS},
    /* policy changes while they wait */
    {STEP_SOCKET_UNREF, STEP_SOCKET, STEP_BIND, STEP_LISTEN, STEP_ACCEPT, STEP_ACCEPT, STEP_FLUSH,
     STEP_WORLD, STEP_INCOMING, STEP_RELOAD, STEP_INCOMING, STEP_ACCEPT, STEP_WORLD, STEP_RELOAD,
     STEP_INCOMING, STEP_ACCEPT, STEP_WORLD, STEP_PROCESS},
    /* what was accepted is used */
    {STEP_SOCKET_UNREF, STEP_SOCKET, STEP_BIND, STEP_LISTEN, STEP_INCOMING, STEP_ACCEPT,
     STEP_SETTLE, STEP_INCOMING, STEP_ACCEPT, STEP_WORLD, STEP_INCOMING, STEP_ACCEPT, STEP_SETTLE,
     STEP_SETTLE},
    /* a client that names ids, and ranges of them */
    {STEP_RAW_JOIN, STEP_WORLD, STEP_RAW_LISTEN, STEP_RAW_ACCEPT, STEP_WORLD, STEP_INCOMING,
     STEP_RAW_ACCEPT, STEP_WORLD, STEP_INCOMING, STEP_INCOMING, STEP_WORLD, STEP_RAW_USE,
     STEP_RAW_CLOSE, STEP_RAW_ACCEPT, STEP_RAW_CANCEL, STEP_INCOMING, STEP_WORLD, STEP_RAW_ACCEPT,
     STEP_INCOMING},
    /* one that does not read while many come */
    {STEP_RAW_JOIN, STEP_WORLD, STEP_RAW_LISTEN, STEP_WORLD, STEP_RAW_MUTE, STEP_RAW_ACCEPT,
     STEP_INCOMING, STEP_INCOMING, STEP_RAW_ACCEPT, STEP_WORLD, STEP_INCOMING, STEP_RAW_ACCEPT,
     STEP_INCOMING, STEP_WORLD, STEP_RAW_MUTE, STEP_WORLD, STEP_RAW_CLOSE},
    /* a slow client lists sessions that come and go */
    {STEP_RAW_JOIN, STEP_WORLD, STEP_RAW_ASK, STEP_RAW_ASK, STEP_WORLD, STEP_RAW_ASK, STEP_RAW_MUTE,
     STEP_RAW_ASK, STEP_RAW_ASK, STEP_KILL_SESSION, STEP_RECONNECT, STEP_WORLD, STEP_RAW_ASK,
     STEP_RAW_CANCEL, STEP_CONTEXT, STEP_WORLD, STEP_RAW_MUTE, STEP_RAW_ASK, STEP_WORLD},
    /* a client waits for events and asks nothing else */
    {STEP_RAW_JOIN, STEP_WORLD, STEP_RAW_ASK, STEP_WORLD, STEP_RAW_ASK, STEP_WORLD, STEP_RAW_ASK,
     STEP_SETTLE, STEP_RECONNECT, STEP_CONTEXT, STEP_WORLD},
    /* the session goes */
    {STEP_SOCKET_UNREF, STEP_SOCKET, STEP_BIND, STEP_LISTEN, STEP_ACCEPT, STEP_INCOMING, STEP_FLUSH,
     STEP_WORLD, STEP_INCOMING, STEP_KILL_SESSION, STEP_WORLD, STEP_RECONNECT},
};
#define SCENES (sizeof(scenes) / sizeof(scenes[0]))

/* Mostly one client, or the administrator's. */
static uint32_t raw_slot(uint32_t kind)
{
    bool is_both = kind == STEP_RAW_JOIN || kind == STEP_RAW_MUTE || kind == STEP_RAW_CANCEL ||
                   kind == STEP_RAW_LEAVE;

    if (kind >= STEP_RELAY_PROGRAM)
        return random_of(4);
    if (is_watching || (kind == STEP_RAW_ASK && random_of(5)) || (is_both && random_of(3) == 0))
        return 2;
    return random_of(8) == 0;
}

static void add(struct program *program, uint32_t kind, uint32_t socket, uint32_t op)
{
    struct step *step = &program->steps[program->count++];

    step->kind = (enum step_kind)kind;
    step->a = socket;
    step->b = op;
    step->c = random_of(1u << 20);
    step->d = random_of(1u << 20);
    step->salt = sim_mix(chance, 3);
    if (kind == STEP_SOCKET)
        step->b = random_of(8) ? 0 : random_of(4), step->c = 1;
    else if (kind == STEP_WORLD || kind == STEP_SETTLE)
        step->a = random_of(60);
    else if (kind == STEP_TAKE_SOCKET)
        step->a = op, step->b = random_of(8);
    else if (kind == STEP_END)
        step->a = op, step->b = random_of(4);
    else if (kind == STEP_RAW_ASK && is_watching && random_of(2))
        step->a = 2, step->b = 4; /* MONITOR */
    else if (kind >= STEP_RAW_JOIN)
        step->a = raw_slot(kind), step->b = random_of(1u << 20);
    else if (kind == STEP_CONTEXT)
        step->a = random_of(3), step->b = 0;
    else if (kind == STEP_FLUSH || kind == STEP_PROCESS || kind == STEP_RECONNECT)
        step->a = 0;
}

static void make_scene(struct program *program, uint32_t sockets, uint32_t ops)
{
    const uint16_t *scene = scenes[random_of(SCENES)];
    uint32_t socket = random_of(sockets), op = random_of(ops);

    is_watching = scene[0] == STEP_RAW_JOIN && scene[2] == STEP_RAW_ASK;

    for (unsigned int i = 0; i < SCENE_MAX && scene[i] && program->count < STEPS_MAX; i++) {
        bool is_rare = scene[i] == STEP_KILL_SESSION || scene[i] == STEP_RELOAD;

        if (random_of(is_rare ? 3 : 20) == 0)
            continue;
        add(program, scene[i], socket, op++);
        /*
         * Accepted sockets go into the first slots, so that the steps of the settling read and
         * write them mostly.
         */
        if (scene[i] == STEP_SETTLE && !is_watching && program->count < STEPS_MAX)
            add(program, random_of(2) ? STEP_RECEIVE : STEP_SEND, random_of(8), op++);
    }
    is_watching = false;
}

bool generate_listeners(struct program *program, uint32_t sockets, uint32_t ops)
{
    uint32_t total = 0, at;

    if (relay_share && random_of(relay_share) == 0) {
        static const uint16_t relay[] = {STEP_RELAY_PROGRAM, STEP_RELAY_PROGRAM, STEP_RELAY_MORE,
                                         STEP_RELAY_MORE,    STEP_RELAY_FIN,     STEP_RELAY_CLOSE,
                                         STEP_RELAY_MUTE,    STEP_RELAY_MUTE};

        add(program, relay[random_of(8)], 0, 0);
        return true;
    }
    if (share == 0 || random_of(share))
        return false;
    if (random_of(4) == 0) {
        make_scene(program, sockets, ops);
        return true;
    }
    for (unsigned int i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        total += kinds[i].weight;
    at = random_of(total);
    for (unsigned int i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (at < kinds[i].weight) {
            add(program, kinds[i].kind, random_of(sockets), random_of(ops));
            if (random_of(6) == 0)
                program->steps[program->count - 1].inside = 1 + random_of(ops);
            return true;
        }
        at -= kinds[i].weight;
    }
    return false;
}
