/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What some programs have beside: with chance of its own, so that others stay what they are. */
#include <string.h>

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
        for (unsigned int k = 0; k < sizeof(scene) / sizeof(scene[0]);
             k++, salt = sim_mix(salt, k)) {
            /* Now and then so many receives that some wait in the library. */
            bool are_many = scene[k] == STEP_DATAGRAM_RECEIVE && salt / 6 % 8 == 0;

            for (unsigned int n = are_many ? 40 : salt % 6 > 0; n > 0; n--) {
                if (program->count == STEPS_MAX)
                    break;
                program_add_step(program, scene[k], sim_mix(salt / 6, n));
                program->steps[program->count - 1].a = scene[k] == STEP_SETTLE ? 200 : step->a;
            }
        }
    }
}

/* In some programs a part of the sends is of files. */
static void send_files(struct program *program)
{
    if (sim_mix(program->seed, 67) % 4)
        return;
    for (uint32_t i = 0; i < program->count; i++)
        if (program->steps[i].kind == STEP_SEND && sim_mix(program->seed, 7000 + i) % 3)
            program->steps[i].kind = STEP_SEND_FILE;
}

/* This peer reads, and ends nothing by itself (peer_set_manner()). */
static uint64_t reading_peer(uint64_t seed)
{
    for (uint64_t i = 0;; i++) {
        uint64_t salt = sim_mix(seed, 8000 + i), manner = sim_mix(salt, 5);

        if (manner / 1000 % 4 && manner / 5000 % 3 == 0 && manner / 1230000 % 4 &&
            manner / 4560000 % 12)
            return salt;
    }
}

/*
 * So much goes out in large pieces that the library asks for memory of its own for them; most
 * sends and receives behind it are large, too.
 */
static void move_much(struct program *program)
{
    static const struct step scene[] = {{.kind = STEP_CONNECT, .c = 32, .d = 1},
                                        {.kind = STEP_SETTLE, .a = 2000},
                                        {.kind = STEP_SEND, .b = 1, .c = 63, .d = 1},
                                        {.kind = STEP_SEND, .b = 2, .c = 127, .d = 1},
                                        {.kind = STEP_SEND, .b = 4, .c = 63, .d = 1},
                                        {.kind = STEP_SEND, .b = 5, .c = 63, .d = 1},
                                        {.kind = STEP_SETTLE, .a = 9000}};
    const uint32_t count = sizeof(scene) / sizeof(scene[0]), begin = 2;
    uint64_t seed = program->seed;

    if (sim_mix(seed, 71) % 6 || program->count + count > STEPS_MAX)
        return;
    memmove(program->steps + begin + count, program->steps + begin,
            (program->count - begin) * sizeof(*program->steps));
    program->count += count;
    for (uint32_t i = 0; i < count; i++) {
        program->steps[begin + i] = scene[i];
        program->steps[begin + i].salt = i ? sim_mix(seed, 8500 + i) : reading_peer(seed);
    }
    for (uint32_t i = begin + count; i < program->count; i++) {
        struct step *step = &program->steps[i];
        uint64_t salt = sim_mix(seed, 9000 + i);

        if ((step->kind == STEP_SEND || step->kind == STEP_RECEIVE) && salt % 4)
            step->c = (uint32_t)(step->c / 8 * 8 + (salt % 3 ? 5 : 7));
        if (step->kind == STEP_PEER_WRITE && salt % 2)
            step->b = 2999;
    }
}

void generate_added(struct program *program)
{
    of_streams(program);
    of_datagrams(program);
    send_files(program);
    move_much(program);
}
