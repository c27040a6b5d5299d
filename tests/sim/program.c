/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Programs: run, written and read as text. */
#include "tests/sim/program.h"

#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "tests/sim/daemon.h"
#include "tests/sim/groups.h"
#include "tests/sim/kernel.h"
#include "tests/sim/main.h"
#include "tests/sim/steps.h"

static const char *const names[STEP_KIND_COUNT] = {
#define X(name) [STEP_##name] = #name,
    STEP_KINDS(X) LISTENER_STEP_KINDS(X) RAW_STEP_KINDS(X) RELAY_STEP_KINDS(X) ADDED_STEP_KINDS(X)
        LENT_STEP_KINDS(X)
#undef X
};

void program_add_step(struct program *program, enum step_kind kind, uint64_t salt)
{
    if (program->count < STEPS_MAX)
        program->steps[program->count++] = (struct step){.kind = kind,
                                                         .a = (uint32_t)salt,
                                                         .b = (uint32_t)(salt >> 16) % 100,
                                                         .c = (uint32_t)(salt >> 32) % 1000000,
                                                         .d = (uint32_t)(salt >> 52),
                                                         .salt = salt};
}

const char *step_name(enum step_kind kind)
{
    return names[kind];
}

void program_write(const struct program *program, FILE *to)
{
    fprintf(to, "seed %" PRIu64 "\nfaults", program->seed);
    for (unsigned int i = 0; i < FAULT_COUNT; i++)
        if (program->faults & 1u << i)
            fprintf(to, " %s", sim_fault_name((enum fault)i));
    fprintf(to, "\nlimits %u %u pace %u\n", program->sockets, program->ops, program->pace);
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
    for (unsigned int i = 1; i < STEP_KIND_COUNT; i++) {
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
            sscanf(line, "limits %u %u pace %u", &ret->sockets, &ret->ops, &ret->pace) == 3)
            continue;
        if (strncmp(line, "faults", 6) == 0 ? !read_faults(line + 6, ret) : !read_step(line, ret))
            return false;
    }
    return ret->count > 0;
}

/* The seed says which limits are small, so that each of them is met by itself, too. */
static void set_manner(const struct program *program, struct daemon_manner *ret)
{
    static const uint64_t queues[] = {0, 65536, 100000, 300000};
    static const uint64_t kernels[] = {0, 0, 200000, 1000000};
    static const uint64_t shares[] = {0, 0, 8192, 100000};
    static const uint64_t memories[] = {0, 3 << 20, 6 << 20, 20 << 20};
    uint64_t chance = sim_mix(program->seed, 37);

    *ret = (struct daemon_manner){.sockets = program->sockets, .ops = program->ops};
    if (!(program->faults & 1u << FAULT_SMALL_LIMITS))
        return;
    ret->queued = queues[chance % 4];
    ret->kernel = kernels[chance / 4 % 4];
    ret->shared = shares[chance / 16 % 4];
    ret->memory = memories[chance / 64 % 4];
    if (ret->ops == 0 && chance / 256 % 2)
        ret->ops = 64;
}

void program_run(const struct program *program)
{
    struct daemon_manner manner;

    set_manner(program, &manner);
    asock_log_setup(LOG_LEVEL_ERROR); /* its first call in a process takes more than others */
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
        step_world(sim_random(program->pace));
    }
    main_at_step(program->count);
    sim.rng = program->seed;
    step_finish();
    model_reset();
    datagrams_reset();
    lent_reset();
    groups_reset();
    kernel_reset();
    alloc_reset();
}
