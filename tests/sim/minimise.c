/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Delta debugging: halves of the steps, quarters, and so on; then the kinds of faults. */
#include "tests/sim/minimise.h"

#include <string.h>

#include "tests/sim/program.h"
#include "tests/sim/sim.h"

#define RUNS_MAX 3000

static unsigned int runs;

static bool is_same(const struct program *candidate, const char *text)
{
    char other[VERDICT_TEXT];
    size_t len = strcspn(text, ":");

    if (runs >= RUNS_MAX)
        return false;
    runs++;
    return main_fails(candidate, other) && strncmp(text, other, len + 1) == 0;
}

static bool drop_some(struct program *program, uint32_t part, const char *text)
{
    static struct program candidate;
    bool has_dropped = false;

    for (uint32_t at = 0; at < program->count;) {
        uint32_t n = part < program->count - at ? part : program->count - at;

        candidate = *program;
        memmove(candidate.steps + at, candidate.steps + at + n,
                (program->count - at - n) * sizeof(struct step));
        candidate.count -= n;
        if (candidate.count > 0 && is_same(&candidate, text)) {
            *program = candidate;
            has_dropped = true;
        } else {
            at += n;
        }
    }
    return has_dropped;
}

static void drop_faults(struct program *program, const char *text)
{
    static struct program candidate;

    for (unsigned int i = 0; i < FAULT_COUNT; i++) {
        candidate = *program;
        candidate.faults &= ~(1u << i);
        if (candidate.faults != program->faults && is_same(&candidate, text))
            *program = candidate;
    }
}

void minimise(struct program *program, char text[VERDICT_TEXT])
{
    bool is_tracing = sim.is_tracing;

    sim.is_tracing = false;
    runs = 0;
    drop_faults(program, text);
    for (uint32_t part = program->count / 2; part > 0; part /= 2)
        while (drop_some(program, part, text) && part == 1)
            ;
    drop_faults(program, text);
    sim.is_tracing = is_tracing;
    if (!main_fails(program, text))
        strcpy(text, "not repeatable");
}
