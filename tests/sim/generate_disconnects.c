/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Programs whose sockets disconnect, with chance of their own: others stay what they are. */
#include "tests/sim/program.h"
#include "tests/sim/sim.h"

/* In every third program sockets disconnect now and then, and most of them connect again. */
static void of_streams(struct program *program)
{
    static const enum step_kind scene[] = {STEP_SOCKET,  STEP_CONNECT,    STEP_SETTLE, STEP_SEND,
                                           STEP_RECEIVE, STEP_DISCONNECT, STEP_SETTLE, STEP_CONNECT,
                                           STEP_SETTLE,  STEP_SEND,       STEP_RECEIVE};
    struct program before = *program;

    if (sim_mix(program->seed, 59) % 3)
        return;
    program->count = 0;
    for (uint32_t i = 0; i < before.count && program->count < STEPS_MAX; i++) {
        const struct step *step = &before.steps[i];
        uint64_t salt = sim_mix(program->seed, 5000 + i);

        program->steps[program->count++] = *step;
        if (step->inside || salt % 2 || step->kind != STEP_CONNECT)
            continue;
        for (unsigned int k = 0; k < sizeof(scene) / sizeof(scene[0]); k++) {
            salt = sim_mix(salt, k);
            if (salt % 9 == 0 || program->count == STEPS_MAX)
                continue;
            program_add_step(program, scene[k], salt / 9);
            program->steps[program->count - 1].a = scene[k] == STEP_SETTLE ? 200 : step->a;
        }
    }
}

/* The same of datagram sockets, in others. */
static void of_datagrams(struct program *program)
{
    static const enum step_kind scene[] = {STEP_DATAGRAM_CONNECT,
                                           STEP_SETTLE,
                                           STEP_DATAGRAM_SEND,
                                           STEP_DATAGRAM_RECEIVE,
                                           STEP_DATAGRAM_SEND,
                                           STEP_DATAGRAM_RECEIVE,
                                           STEP_DATAGRAM_DISCONNECT,
                                           STEP_DATAGRAM_SEND,
                                           STEP_SETTLE,
                                           STEP_DATAGRAM_SEND,
                                           STEP_DATAGRAM_RECEIVE,
                                           STEP_DATAGRAM_CONNECT,
                                           STEP_SETTLE,
                                           STEP_DATAGRAM_SEND,
                                           STEP_DATAGRAM_DISCONNECT};
    struct program before = *program;

    if (sim_mix(program->seed, 61) % 3)
        return;
    program->count = 0;
    for (uint32_t i = 0; i < before.count && program->count < STEPS_MAX; i++) {
        const struct step *step = &before.steps[i];
        uint64_t salt = sim_mix(program->seed, 6000 + i);
        bool begins = step->kind == STEP_DATAGRAMS || step->kind == STEP_DATAGRAM_CONNECT;

        program->steps[program->count++] = *step;
        if (step->inside || !begins || salt % 2)
            continue;
        for (unsigned int k = 0; k < sizeof(scene) / sizeof(scene[0]); k++) {
            salt = sim_mix(salt, k);
            if (salt % 6 == 0 || program->count == STEPS_MAX)
                continue;
            program_add_step(program, scene[k], salt / 6);
            program->steps[program->count - 1].a = scene[k] == STEP_SETTLE ? 200 : step->a;
        }
    }
}

void generate_disconnects(struct program *program)
{
    of_streams(program);
    of_datagrams(program);
}
