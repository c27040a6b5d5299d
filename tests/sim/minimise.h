/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_MINIMISE_H
#define ASOCK_TESTS_SIM_MINIMISE_H

#include <stdbool.h>
#include <stdint.h>

struct program;

#define VERDICT_TEXT 1024

struct verdict {
    uint64_t seed, count;
    uint32_t step;
    bool is_abort_wanted;
    char text[VERDICT_TEXT];
};

/* main.c: in a child. */
bool main_fails(const struct program *candidate, char ret_text[VERDICT_TEXT]);

/*
 * Leaves out of a program whatever it fails without, in the same way: by the first word of the
 * text.
 */
void minimise(struct program *program, char text[VERDICT_TEXT]);

#endif
