/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Programs made by chance. Each leaves out some kinds of steps and has more of others, and some
 * kinds of faults (swarm testing): what is always there hides what it ends. Small worlds find more:
 * few sockets and ops, so that steps meet. Scenes are steps that belong together, on one socket;
 * chance leaves some of them out.
 */
#include <string.h>

#include "tests/sim/model.h"
#include "tests/sim/program.h"
#include "tests/sim/sim.h"

/* How often each kind comes. */
static const uint16_t weights[STEP_KIND_COUNT] = {
    [STEP_CONTEXT] = 5,
    [STEP_CONTEXT_UNREF] = 1,
    [STEP_RECONNECT] = 3,
    [STEP_SOCKET] = 30,
    [STEP_SOCKETS] = 2,
    [STEP_SOCKET_UNREF] = 10,
    [STEP_OP_UNREF] = 8,
    [STEP_CONNECT] = 50,
    [STEP_SEND] = 60,
    [STEP_RECEIVE] = 50,
    [STEP_SHUTDOWN] = 12,
    [STEP_CLOSE] = 15,
    [STEP_SET_OPTION] = 12,
    [STEP_GET_OPTION] = 4,
    [STEP_SYNC] = 6,
    [STEP_RESOLVE] = 6,
    [STEP_HANGUP] = 10,
    [STEP_CANCEL] = 10,
    [STEP_WAIT] = 12,
    [STEP_PROCESS] = 20,
    [STEP_FLUSH] = 10,
    [STEP_PASS] = 6,
    [STEP_WORLD] = 15,
    [STEP_SETTLE] = 6,
    [STEP_BUFFER] = 8,
    [STEP_BUFFER_UNREF] = 3,
    [STEP_POOL] = 8,
    [STEP_POOL_UNREF] = 3,
    [STEP_MULTISHOT] = 10,
    [STEP_TAKE] = 12,
    [STEP_GIVE] = 12,
    [STEP_PEER_WRITE] = 15,
    [STEP_NEXT] = 12,
    [STEP_BEGIN] = 15,
    [STEP_END] = 15,
    [STEP_SEND_ALL] = 8,
    [STEP_RECEIVE_SOME] = 8,
    [STEP_DIAL] = 6,
    [STEP_STOP] = 4,
    [STEP_INSPECT] = 3,
    [STEP_CONTROL] = 3,
    [STEP_RESTRICT] = 3,
    [STEP_DETACH] = 2,
    [STEP_PEER_READ] = 8,
    [STEP_PEER_FIN] = 4,
    [STEP_PEER_RESET] = 3,
    [STEP_KILL_SESSION] = 3,
    [STEP_KILL_SOCKET] = 2,
    [STEP_TERMINATE] = 2,
    [STEP_KILL] = 2,
    [STEP_SHARE] = 4,
    [STEP_JOIN] = 4,
    [STEP_DATAGRAMS] = 12,
    [STEP_DATAGRAM_SEND] = 40,
    [STEP_DATAGRAM_RECEIVE] = 30,
    [STEP_DATAGRAM_CONNECT] = 3,
    [STEP_DATAGRAM_CANCEL] = 3,
    [STEP_DATAGRAM_CLOSE] = 3,
};

/* Steps that end many things at once are in few programs. */
static bool is_rare(enum step_kind kind)
{
    return kind == STEP_KILL_SESSION || kind == STEP_KILL_SOCKET || kind == STEP_TERMINATE ||
           kind == STEP_KILL || kind == STEP_STOP || kind == STEP_CONTROL ||
           kind == STEP_RESTRICT || kind == STEP_CONTEXT_UNREF || kind == STEP_SOCKETS;
}

struct world {
    uint16_t weight[STEP_KIND_COUNT];
    uint32_t total, sockets, ops, scenes; /* scenes: one in so many steps begins one */
};

/*
 * What a step of a scene is about: two ops of its own, and one without a callback; INSIDE: run in
 * the callback of the first.
 */
enum about { ANY, FIRST, SECOND, SILENT, INSIDE };
struct scene_step {
    enum step_kind kind;
    enum about about;
};

#define SCENE_MAX 26
static const struct scene_step scenes[][SCENE_MAX] = {
    /* slices that are taken, given back and waited for in a callback */
    {{STEP_BUFFER, ANY},
     {STEP_POOL, ANY},
     {STEP_CONNECT, ANY},
     {STEP_SETTLE, ANY},
     {STEP_MULTISHOT, FIRST},
     {STEP_RECEIVE, SECOND},
     {STEP_TAKE, INSIDE},
     {STEP_PEER_WRITE, ANY},
     {STEP_SETTLE, ANY},
     {STEP_TAKE, INSIDE},
     {STEP_GIVE, INSIDE},
     {STEP_GIVE, INSIDE},
     {STEP_PEER_WRITE, INSIDE},
     {STEP_WAIT, INSIDE},
     {STEP_PEER_WRITE, INSIDE},
     {STEP_WAIT, INSIDE},
     {STEP_PEER_WRITE, ANY},
     {STEP_SETTLE, ANY}},
    /*
     * a slice that is filled again in the callback that gave it back, and once more before that is
     * reported
     */
    {{STEP_BUFFER, ANY},        {STEP_POOL, ANY},        {STEP_CONNECT, ANY},
     {STEP_SETTLE, ANY},        {STEP_MULTISHOT, FIRST}, {STEP_RECEIVE, SECOND},
     {STEP_TAKE, INSIDE},       {STEP_PEER_WRITE, ANY},  {STEP_SETTLE, ANY},
     {STEP_GIVE, INSIDE},       {STEP_TAKE, INSIDE},     {STEP_GIVE, INSIDE},
     {STEP_PEER_WRITE, INSIDE}, {STEP_WAIT, INSIDE},     {STEP_PEER_WRITE, INSIDE},
     {STEP_WAIT, INSIDE},       {STEP_PEER_WRITE, ANY},  {STEP_WORLD, ANY},
     {STEP_PROCESS, ANY},       {STEP_WORLD, ANY},       {STEP_PEER_WRITE, ANY},
     {STEP_WORLD, ANY},         {STEP_PEER_WRITE, ANY},  {STEP_WORLD, ANY},
     {STEP_PROCESS, ANY}},
    /* slices that are asked for */
    {{STEP_BUFFER, ANY},
     {STEP_POOL, ANY},
     {STEP_CONNECT, ANY},
     {STEP_SETTLE, ANY},
     {STEP_MULTISHOT, SILENT},
     {STEP_PEER_WRITE, ANY},
     {STEP_NEXT, SILENT},
     {STEP_NEXT, SILENT},
     {STEP_GIVE, ANY},
     {STEP_PEER_WRITE, ANY},
     {STEP_WORLD, ANY},
     {STEP_KILL_SESSION, ANY},
     {STEP_NEXT, SILENT},
     {STEP_PEER_FIN, ANY},
     {STEP_NEXT, SILENT}},
    /* the daemon is stopped while ops wait for it, some with a buffer of its own */
    {{STEP_BUFFER, ANY},
     {STEP_CONNECT, ANY},
     {STEP_SETTLE, ANY},
     {STEP_RECEIVE, FIRST},
     {STEP_SEND, SECOND},
     {STEP_FLUSH, ANY},
     {STEP_STOP, ANY},
     {STEP_PEER_WRITE, ANY},
     {STEP_RECEIVE_SOME, ANY},
     {STEP_SETTLE, ANY},
     {STEP_WAIT, ANY},
     {STEP_SETTLE, ANY},
     {STEP_SEND_ALL, ANY}},
    /* what was received is still unread when the session ends */
    {{STEP_BUFFER, ANY},
     {STEP_CONNECT, ANY},
     {STEP_SETTLE, ANY},
     {STEP_RECEIVE, FIRST},
     {STEP_FLUSH, ANY},
     {STEP_PEER_WRITE, ANY},
     {STEP_WORLD, ANY},
     {STEP_KILL_SESSION, ANY},
     {STEP_WORLD, ANY},
     {STEP_PROCESS, ANY}},
    /* everything is let go of at once */
    {{STEP_CONNECT, ANY},
     {STEP_SHUTDOWN, FIRST},
     {STEP_SHUTDOWN, SECOND},
     {STEP_SEND, ANY},
     {STEP_CLOSE, ANY},
     {STEP_SOCKET_UNREF, ANY},
     {STEP_OP_UNREF, FIRST},
     {STEP_OP_UNREF, SECOND}},
    /* datagrams, some before a receive is pending, some too long for the receive */
    {{STEP_DATAGRAM_CLOSE, ANY},
     {STEP_DATAGRAMS, ANY},
     {STEP_DATAGRAM_RECEIVE, ANY},
     {STEP_DATAGRAM_SEND, ANY},
     {STEP_DATAGRAM_SEND, ANY},
     {STEP_DATAGRAM_SEND, ANY},
     {STEP_DATAGRAM_SEND, ANY},
     {STEP_WORLD, ANY},
     {STEP_DATAGRAM_RECEIVE, ANY},
     {STEP_DATAGRAM_RECEIVE, ANY},
     {STEP_DATAGRAM_SEND, ANY},
     {STEP_DATAGRAM_CONNECT, ANY},
     {STEP_DATAGRAM_SEND, ANY},
     {STEP_DATAGRAM_RECEIVE, ANY},
     {STEP_DATAGRAM_SEND, ANY},
     {STEP_WORLD, ANY},
     {STEP_DATAGRAM_RECEIVE, ANY},
     {STEP_SETTLE, ANY}},
    /* more sockets than there may be, before that is known */
    {{STEP_CONTEXT_UNREF, ANY},
     {STEP_CONTEXT, ANY},
     {STEP_SOCKETS, ANY},
     {STEP_CONNECT, ANY},
     {STEP_SEND, FIRST},
     {STEP_CLOSE, SECOND},
     {STEP_SOCKET_UNREF, ANY},
     {STEP_OP_UNREF, SECOND}},
    /* sockets that linger when their client goes */
    {{STEP_CONNECT, ANY},
     {STEP_SETTLE, ANY},
     {STEP_SEND, FIRST},
     {STEP_CLOSE, SECOND},
     {STEP_WORLD, ANY},
     {STEP_CONTEXT_UNREF, ANY},
     {STEP_WORLD, ANY}},
    /* a session that shares goes, and others have sockets by it */
    {{STEP_SHARE, ANY},
     {STEP_SETTLE, ANY},
     {STEP_JOIN, ANY},
     {STEP_SOCKET, ANY},
     {STEP_CONNECT, ANY},
     {STEP_SEND, FIRST},
     {STEP_WORLD, ANY},
     {STEP_CONTEXT_UNREF, ANY},
     {STEP_WORLD, ANY}},
};
#define SCENES (sizeof(scenes) / sizeof(scenes[0]))

static enum step_kind choose(const struct world *world)
{
    uint32_t at = sim_random(world->total);

    for (unsigned int kind = 1; kind < STEP_KIND_COUNT; kind++) {
        if (at < world->weight[kind])
            return (enum step_kind)kind;
        at -= world->weight[kind];
    }
    return STEP_PROCESS;
}

static struct step make_step(enum step_kind kind, const struct world *world)
{
    struct step step = {.kind = kind};

    step.a = sim_random(world->sockets);
    step.b = sim_random(world->ops);
    step.c = sim_random(1u << 20);
    step.d = sim_random(1u << 20);
    step.salt = sim_mix(sim.rng, 3);
    if (kind == STEP_CONTEXT)
        step.b = sim_chance(4) ? 1 + sim_random(20) : 0;
    else if (kind == STEP_SOCKETS)
        step.b = sim_random(SOCKETS);
    else if (kind == STEP_WORLD || kind == STEP_SETTLE || kind == STEP_PASS)
        step.a = sim_random(sim_chance(16) ? 30000 : sim_chance(4) ? 3000 : 50);
    else if (kind == STEP_OP_UNREF || kind == STEP_CANCEL || kind == STEP_WAIT ||
             kind == STEP_TAKE || kind == STEP_NEXT || kind == STEP_END)
        step.b = step.a, step.a = sim_random(world->ops);
    return step;
}

static bool is_about_datagrams(unsigned int kind)
{
    return kind >= STEP_DATAGRAMS && kind <= STEP_DATAGRAM_CLOSE;
}

/* Its numbers meet those of the other steps of its scene. */
static void tie(struct step *step, enum about about, uint32_t socket, uint32_t op)
{
    uint32_t other = op + 1;

    if (is_about_datagrams(step->kind)) {
        step->a = 0;
        step->b = sim_chance(2) ? 0 : step->b; /* mostly to a host that answers */
        return;
    }
    switch (step->kind) {
    case STEP_POOL:
    case STEP_BUFFER:
        step->a = step->b = 0;
        step->c |= 1; /* the first client's */
        return;
    case STEP_GIVE:
    case STEP_PROCESS:
    case STEP_CONTEXT:
    case STEP_CONTEXT_UNREF:
        step->a = 0;
        return;
    case STEP_SHARE:
        step->a = 0;
        step->c = 0;
        return;
    case STEP_JOIN:
        step->a = 1;
        step->b = 0;
        return;
    case STEP_TAKE:
        step->a = op;
        return;
    case STEP_WAIT:
        step->a = other;
        step->b = 2 + step->b % 4; /* so long that something happens */
        return;
    case STEP_OP_UNREF:
        step->a = about == SECOND ? other : op;
        return;
    case STEP_NEXT:
        step->a = op + 3;
        return;
    case STEP_WORLD:
    case STEP_SETTLE:
    case STEP_STOP:
        return;
    default:
        step->a = step->kind == STEP_SOCKETS ? 0 : socket;
    }
    if (step->kind == STEP_MULTISHOT)
        step->c = 0;
    if (step->kind == STEP_SEND && sim_chance(3))
        step->c = 63 | step->c; /* more than half a window */
    if (about == FIRST)
        step->b = op;
    if (about == SECOND)
        step->b = other;
    if (about == SILENT)
        step->b = op + 3; /* their numbers say it: op_new() */
}

static void make_scene(const struct world *world, struct program *ret)
{
    const struct scene_step *scene = scenes[sim_random(SCENES)];
    uint32_t socket = sim_random(world->sockets), op = sim_random(world->ops) / 4 * 4;

    for (unsigned int i = 0; i < SCENE_MAX && ret->count < STEPS_MAX; i++) {
        struct step *step = &ret->steps[ret->count];

        if (scene[i].kind == STEP_NONE)
            return;
        if (sim_chance(20))
            continue;
        *step = make_step(scene[i].kind, world);
        tie(step, scene[i].about, socket, op);
        if (scene[i].about == INSIDE)
            step->inside = 1 + op;
        ret->count++;
    }
}

static void make_world(struct world *ret)
{
    bool is_for_datagrams = sim_chance(4);

    memset(ret, 0, sizeof(*ret));
    for (unsigned int i = 1; i < STEP_RESTART; i++) {
        bool is_left_out = is_rare((enum step_kind)i) ? !sim_chance(4) : sim_chance(6);

        ret->weight[i] = is_left_out ? 0 : weights[i];
        if (sim_chance(8))
            ret->weight[i] = (uint16_t)(ret->weight[i] * 5);
        if (is_for_datagrams && is_about_datagrams(i))
            ret->weight[i] = (uint16_t)(ret->weight[i] * 6);
        ret->total += ret->weight[i];
    }
    ret->sockets = sim_chance(6) ? SOCKETS : 1 + sim_random(6);
    ret->ops = 2 + sim_random(OPS - 2);
    ret->scenes = sim_chance(3) ? 4 : 30;
}

/* In every other program with datagram sockets these are bound, and hosts send to them. */
static void add_arrivals(struct program *program)
{
    struct program before = *program;

    if (sim_mix(program->seed, 29) % 2)
        return;
    program->count = 0;
    for (uint32_t i = 0; i < before.count && program->count < STEPS_MAX; i++) {
        const struct step *step = &before.steps[i];
        uint64_t salt = sim_mix(program->seed, 1000 + i);

        program->steps[program->count++] = *step;
        if (step->inside)
            continue;
        if (step->kind == STEP_DATAGRAMS && salt % 4) {
            program_add_step(program, STEP_DATAGRAM_BIND, salt / 4);
            program->steps[program->count - 1].a = step->a;
        } else if (step->kind == STEP_DATAGRAM_RECEIVE && salt % 2) {
            program_add_step(program, STEP_DATAGRAM_ARRIVES, salt / 4);
        }
    }
}

/* Up to three of these behind each step. */
static void add_between(struct program *program, uint64_t number, const enum step_kind *kinds,
                        unsigned int count)
{
    struct program before = *program;

    program->count = 0;
    for (uint32_t i = 0; i < before.count && program->count < STEPS_MAX; i++) {
        uint64_t salt = sim_mix(program->seed, number + i);

        program->steps[program->count++] = before.steps[i];
        for (unsigned int k = (unsigned int)(salt % 4); k > 0; k--) {
            salt = sim_mix(salt, k);
            program_add_step(program, kinds[salt % count], salt / 8);
        }
    }
}

/* In some programs there are lent connections between the other steps. */
static void add_lent(struct program *program)
{
    static const enum step_kind kinds[] = {STEP_LEND,     STEP_LEND,     STEP_LENT_USE,
                                           STEP_LENT_USE, STEP_LENT_USE, STEP_LENT_USE,
                                           STEP_LENT_USE, STEP_LENT_END};
    /* A client without the library reads late what was lent to it. */
    static const enum step_kind late[] = {STEP_RAW_LEND, STEP_RAW_LEND, STEP_RAW_LEND,
                                          STEP_RAW_MUTE, STEP_WORLD};

    if (sim_mix(program->seed, 47) % 5 == 0)
        add_between(program, 3000, kinds, 8);
    else if (sim_mix(program->seed, 53) % 8 == 0)
        add_between(program, 5000, late, 5);
}

/* The peer of this connect neither writes nor ends anything by itself (peer_set_manner()). */
static uint64_t quiet_peer(uint64_t seed)
{
    for (uint64_t i = 0;; i++) {
        uint64_t salt = sim_mix(seed, 4000 + i), manner = sim_mix(salt, 5);

        if (manner % 3 == 0 && manner / 1230000 % 4 && manner / 4560000 % 12)
            return salt;
    }
}

/*
 * In a few programs the first socket's receives are answered and not read when the daemon ends: one
 * in shared memory, which is taken back, and those behind it, whose bytes came through the socket.
 * Their program is in the callback of another op meanwhile.
 */
static void begin_with_a_loss(struct program *program, uint64_t seed)
{
    enum { OTHER = 9 };
    static const struct step scene[] = {
        {.kind = STEP_BUFFER, .b = 19, .c = 1},
        {.kind = STEP_CONNECT, .c = 32, .d = 1},
        {.kind = STEP_SETTLE, .a = 2000},
        /* The program looks at what was made last first. */
        {.kind = STEP_SYNC, .b = 8},
        {.kind = STEP_SYNC, .b = 6},
        {.kind = STEP_SYNC, .b = 5},
        {.kind = STEP_SYNC, .b = 4},
        {.kind = STEP_SYNC, .b = OTHER},
        {.kind = STEP_SETTLE, .a = 2000},
        {.kind = STEP_RECEIVE, .b = 4, .c = 6},
        {.kind = STEP_RECEIVE, .b = 5, .c = 2, .d = 16},
        {.kind = STEP_RECEIVE, .b = 6, .c = 3, .d = 17}, /* it peeks */
        {.kind = STEP_RECEIVE, .b = 8, .c = 3, .d = 16},
        {.kind = STEP_PEER_WRITE, .b = 2500, .d = 1, .inside = 1 + OTHER},
        {.kind = STEP_PASS, .a = 20, .d = 1, .inside = 1 + OTHER},
        {.kind = STEP_WORLD, .a = 49, .d = 1, .inside = 1 + OTHER},
        {.kind = STEP_PEER_WRITE, .b = 60, .d = 1, .inside = 1 + OTHER},
        {.kind = STEP_PASS, .a = 20, .d = 1, .inside = 1 + OTHER},
        {.kind = STEP_WORLD, .a = 49, .d = 1, .inside = 1 + OTHER},
        {.kind = STEP_TERMINATE, .d = 1, .inside = 1 + OTHER},
        {.kind = STEP_SYNC, .b = OTHER},
        {.kind = STEP_SETTLE, .a = 2000},
    };
    bool calls_back = sim_mix(seed, 53) % 2;

    if (sim_mix(seed, 43) % 8)
        return;
    for (unsigned int i = 0; i < sizeof(scene) / sizeof(scene[0]); i++) {
        struct step *step = &program->steps[program->count++];

        *step = scene[i];
        step->salt = sim_mix(seed, 2000 + i);
        if (step->kind == STEP_CONNECT)
            step->salt = quiet_peer(seed);
        /* Of these numbers an op has no callback. */
        if (!calls_back && step->b >= 4 && step->b <= 8)
            step->b = 11 + 4 * (step->b - 4);
    }
}

/* Of these, too, every other one has multicast groups. */
static void add_groups(struct program *program)
{
    struct program before = *program;

    if (sim_mix(program->seed, 31) % 2)
        return;
    program->count = 0;
    for (uint32_t i = 0; i < before.count && program->count < STEPS_MAX; i++) {
        const struct step *step = &before.steps[i];
        uint64_t salt = sim_mix(program->seed, 3000 + i);
        bool is_rare = step->kind != STEP_DATAGRAM_BIND && step->kind != STEP_DATAGRAM_ARRIVES;

        program->steps[program->count++] = *step;
        if (step->inside || step->kind < STEP_DATAGRAMS ||
            (step->kind > STEP_DATAGRAM_CLOSE && is_rare) || (is_rare && salt % 3))
            continue;
        program_add_step(program, STEP_DATAGRAM_GROUP, salt / 3);
        program->steps[program->count - 1].a = step->a;
        if (step->kind == STEP_DATAGRAM_BIND)
            program->steps[program->count - 1].b = 0;
        if (salt / 3 % 12 == 0)
            program_add_step(program, STEP_RELOAD, salt / 7);
    }
}

void program_make(uint64_t seed, struct program *ret)
{
    static const uint32_t paces[] = {1, 3, 12, 12, 40};
    struct world world;
    uint32_t count;

    memset(ret, 0, sizeof(*ret));
    sim.rng = sim_mix(seed, 11);
    ret->seed = seed;
    for (unsigned int i = 0; i < FAULT_IDLE; i++)
        if (sim_chance(3))
            ret->faults |= 1u << i;
    if (sim_mix(seed, 23) % 6 ==
        0) /* by itself: other programs are what they were before it came */
        ret->faults |= 1u << FAULT_IDLE;
    if (sim_mix(seed, 31) % 5 == 0) /* likewise */
        ret->faults |= 1u << FAULT_SMALL_LIMITS;
    make_world(&world);
    generate_listeners_begin(seed);
    ret->sockets = ret->faults & 1u << FAULT_FEW_SOCKETS ? 16 : 0;
    ret->pace = paces[sim_random(5)];
    count = 10 + sim_random(sim_chance(4) ? STEPS_MAX - 10 : 100);
    ret->steps[ret->count++] = make_step(STEP_CONTEXT, &world);
    ret->steps[ret->count++] = make_step(STEP_SOCKET, &world);
    ret->steps[0].a = ret->steps[1].a = 0;
    begin_with_a_loss(ret, seed);
    while (ret->count < count) {
        if (generate_listeners(ret, world.sockets, world.ops))
            continue;
        if (sim_chance(world.scenes)) {
            make_scene(&world, ret);
            continue;
        }
        ret->steps[ret->count] = make_step(choose(&world), &world);
        if (sim_chance(6))
            ret->steps[ret->count].inside = 1 + sim_random(world.ops);
        ret->count++;
    }
    add_arrivals(ret);
    add_lent(ret);
    add_groups(ret);
    generate_added(ret);
}

void program_add_restarts(struct program *program)
{
    struct program before = *program;
    uint32_t one_in;

    sim.rng = sim_mix(program->seed, 17);
    one_in = 3 + sim_random(40);
    program->count = 0;
    for (uint32_t i = 0; i < before.count && program->count < STEPS_MAX; i++) {
        struct step *step = &program->steps[program->count];

        *step = before.steps[i];
        program->count++;
        if (!sim_chance(one_in) || program->count == STEPS_MAX)
            continue;
        program->steps[program->count++] = (struct step){.kind = STEP_RESTART,
                                                         .salt = sim_mix(program->seed, i)};
    }
}
