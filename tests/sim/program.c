/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Programs: made by chance, run, written and read as text. */
#include "tests/sim/program.h"

#include <inttypes.h>
#include <string.h>

#include "tests/sim/daemon.h"
#include "tests/sim/kernel.h"
#include "tests/sim/main.h"
#include "tests/sim/steps.h"

static const char *const names[STEP_KIND_COUNT] = {
#define X(name) [STEP_##name] = #name,
    STEP_KINDS(X)
#undef X
};

const char *step_name(enum step_kind kind)
{
    return names[kind];
}

/* How often each kind comes; some kinds are left out of a program as a whole. */
static const uint16_t weights[STEP_KIND_COUNT] = {
    [STEP_CONTEXT] = 5,      [STEP_CONTEXT_UNREF] = 1, [STEP_RECONNECT] = 3,
    [STEP_SOCKET] = 30,      [STEP_SOCKET_UNREF] = 10, [STEP_OP_UNREF] = 8,
    [STEP_CONNECT] = 50,     [STEP_SEND] = 60,         [STEP_RECEIVE] = 50,
    [STEP_SHUTDOWN] = 12,    [STEP_CLOSE] = 15,        [STEP_SET_OPTION] = 12,
    [STEP_GET_OPTION] = 4,   [STEP_SYNC] = 6,          [STEP_CANCEL] = 10,
    [STEP_WAIT] = 12,        [STEP_PROCESS] = 20,      [STEP_FLUSH] = 10,
    [STEP_PASS] = 6,         [STEP_SETTLE] = 6,        [STEP_BUFFER] = 8,
    [STEP_BUFFER_UNREF] = 3, [STEP_POOL] = 8,          [STEP_POOL_UNREF] = 3,
    [STEP_MULTISHOT] = 10,   [STEP_TAKE] = 12,         [STEP_GIVE] = 12,
    [STEP_PEER_WRITE] = 15,  [STEP_PEER_READ] = 8,     [STEP_PEER_FIN] = 4,
    [STEP_PEER_RESET] = 3,   [STEP_KILL_SESSION] = 1,  [STEP_KILL_SOCKET] = 1,
    [STEP_TERMINATE] = 1,    [STEP_KILL] = 1,
};

static enum step_kind choose(const uint16_t *weight, uint32_t total)
{
    uint32_t at = sim_random(total);

    for (unsigned int kind = 0; kind < STEP_KIND_COUNT; kind++) {
        if (at < weight[kind])
            return (enum step_kind)kind;
        at -= weight[kind];
    }
    return STEP_PROCESS;
}

static struct step make_step(enum step_kind kind, uint32_t sockets, uint32_t ops)
{
    struct step step = {.kind = kind};

    step.a = sim_random(sockets);
    step.b = sim_random(ops);
    step.c = sim_random(1u << 20);
    step.d = sim_random(1u << 20);
    step.salt = sim_mix(sim.rng, 3);
    if (kind == STEP_CONTEXT) {
        step.b = sim_chance(4) ? 1 + sim_random(20) : 0;
    } else if (kind == STEP_OP_UNREF || kind == STEP_CANCEL || kind == STEP_WAIT ||
               kind == STEP_TAKE) {
        step.b = step.a, step.a = sim_random(ops);
    }
    return step;
}

/* Small worlds find more: few sockets and ops, so that steps meet. */
void program_make(uint64_t seed, struct program *ret)
{
    uint16_t weight[STEP_KIND_COUNT];
    uint32_t total = 0, sockets, ops;

    memset(ret, 0, sizeof(*ret));
    sim.rng = sim_mix(seed, 11);
    ret->seed = seed;
    for (unsigned int i = 0; i < FAULT_COUNT; i++)
        if (sim_chance(3))
            ret->faults |= 1u << i;
    for (unsigned int i = 0; i < STEP_KIND_COUNT; i++) {
        weight[i] = sim_chance(6) ? 0 : weights[i];
        if (weight[i] && sim_chance(8))
            weight[i] = (uint16_t)(weight[i] * 5);
        total += weight[i];
    }
    sockets = sim_chance(6) ? SOCKETS : 1 + sim_random(6);
    ops = 2 + sim_random(OPS - 2);
    ret->sockets = ret->faults & 1u << FAULT_FEW_SOCKETS ? 16 : 0;
    ret->count = 10 + sim_random(sim_chance(4) ? STEPS_MAX - 10 : 100);
    for (uint32_t i = 0; i < ret->count; i++) {
        ret->steps[i] = make_step(choose(weight, total), sockets, ops);
        if (i < 2)
            ret->steps[i].kind = i == 0 ? STEP_CONTEXT : STEP_SOCKET;
        else if (sim_chance(6))
            ret->steps[i].inside = 1 + sim_random(ops);
    }
    ret->steps[0].a = 0;
    ret->steps[1].a = 0;
}

void program_write(const struct program *program, FILE *to)
{
    fprintf(to, "seed %" PRIu64 "\nfaults", program->seed);
    for (unsigned int i = 0; i < FAULT_COUNT; i++)
        if (program->faults & 1u << i)
            fprintf(to, " %s", sim_fault_name((enum fault)i));
    fprintf(to, "\nlimits %u %u\n", program->sockets, program->ops);
    for (uint32_t i = 0; i < program->count; i++) {
        const struct step *s = &program->steps[i];

        fprintf(to, "%s %u %u %u %u inside %u salt %016" PRIx64 "\n", names[s->kind], s->a, s->b,
                s->c, s->d, s->inside, s->salt);
    }
}

static bool read_faults(char *line, struct program *ret)
{
    char *rest = line;

    for (char *word = strtok_r(line, " \n", &rest); word; word = strtok_r(NULL, " \n", &rest))
        for (unsigned int i = 0; i < FAULT_COUNT; i++)
            if (strcmp(word, sim_fault_name((enum fault)i)) == 0)
                ret->faults |= 1u << i;
    return true;
}

static bool read_step(const char *line, struct program *ret)
{
    struct step *s = &ret->steps[ret->count];
    char name[32];

    if (ret->count == STEPS_MAX || sscanf(line, "%31s %u %u %u %u inside %u salt %" SCNx64, name,
                                          &s->a, &s->b, &s->c, &s->d, &s->inside, &s->salt) != 7)
        return false;
    for (unsigned int i = 0; i < STEP_KIND_COUNT; i++) {
        if (strcmp(name, names[i]) != 0)
            continue;
        s->kind = (enum step_kind)i;
        ret->count++;
        return true;
    }
    return false;
}

bool program_read(FILE *from, struct program *ret)
{
    char line[512];

    memset(ret, 0, sizeof(*ret));
    while (fgets(line, sizeof(line), from)) {
        if (line[0] == '#' || line[0] == '\n')
            continue;
        if (sscanf(line, "seed %" SCNu64, &ret->seed) == 1 ||
            sscanf(line, "limits %u %u", &ret->sockets, &ret->ops) == 2)
            continue;
        if (strncmp(line, "faults", 6) == 0 ? !read_faults(line + 6, ret) : !read_step(line, ret))
            return false;
    }
    return ret->count > 0;
}

void program_run(const struct program *program)
{
    struct daemon_manner manner = {.sockets = program->sockets, .ops = program->ops};

    memset(&sim, 0, offsetof(struct sim, is_tracing));
    sim.work = 0;
    sim.faults = program->faults;
    sim.now_ns = UINT64_C(1000000000000);
    sim.rng = program->seed;
    kernel.next_port = 32768;
    daemon_start(&manner);
    for (uint32_t i = 0; i < program->count; i++) {
        sim.rng = program->steps[i].salt;
        main_at_step(i);
        step_run(&program->steps[i]);
        model_look();
        step_world(sim_random(12));
    }
    main_at_step(program->count);
    sim.rng = program->seed;
    step_finish();
    model_reset();
    kernel_reset();
    alloc_reset();
}
