/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_FUZZ_H
#define ASOCK_FUZZ_H

/*
 * A fuzz target is one function; what calls it is libFuzzer (--enable-fuzzers) or replay.c, which
 * runs the kept corpus with any compiler. A target checks more than that nothing crashes: what must
 * be true of every input is said with MUST.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
