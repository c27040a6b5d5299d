/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chance, time, failure, and memory of the simulator's own. */
#include "tests/sim/sim.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/sim/main.h"
#include "tests/sim/real.h"

struct sim sim;

uint64_t sim_mix(uint64_t a, uint64_t b)
{
    uint64_t x = a + b * UINT64_C(0x9e3779b97f4a7c15);

    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

void sim_pattern(uint64_t number, uint64_t offset, uint8_t *ret, size_t len)
{
    uint64_t word = 0;

    for (size_t i = 0; i < len; i++) {
        if (i == 0 || (offset + i) % 8 == 0)
            word = sim_mix(number, (offset + i) / 8);
        ret[i] = (uint8_t)(word >> (offset + i) % 8 * 8);
    }
}

size_t sim_compare(uint64_t number, uint64_t offset, const uint8_t *data, size_t len)
{
    uint64_t word = 0;

    for (size_t i = 0; i < len; i++) {
        if (i == 0 || (offset + i) % 8 == 0)
            word = sim_mix(number, (offset + i) / 8);
        if (data[i] != (uint8_t)(word >> (offset + i) % 8 * 8))
            return i;
    }
    return len;
}

uint64_t sim_sum(const uint8_t *data, size_t len)
{
    uint64_t sum = len;

    for (size_t i = 0; i < len; i++)
        sum = (sum ^ data[i]) * UINT64_C(0x100000001b3);
    return sum;
}

uint32_t sim_random(uint32_t n)
{
    sim.rng += UINT64_C(0x9e3779b97f4a7c15);
    return n == 0 ? 0 : (uint32_t)((sim_mix(sim.rng, 1) >> 32) % n);
}

bool sim_chance(uint32_t one_in)
{
    return sim_random(one_in) == 0;
}

bool sim_fault(enum fault fault, uint32_t one_in)
{
    return sim.faults & 1u << fault && !sim.is_calm && sim_chance(one_in);
}

const char *sim_fault_name(enum fault fault)
{
    static const char *const names[FAULT_COUNT] = {
        [FAULT_PARTIAL] = "partial",
        [FAULT_INTERRUPT] = "interrupt",
        [FAULT_SMALL_BUFFERS] = "small-buffers",
        [FAULT_SLOW_NET] = "slow-net",
        [FAULT_NO_MEMORY] = "no-memory",
        [FAULT_ALLOC] = "alloc",
        [FAULT_LIBRARY_ALLOC] = "library-alloc",
        [FAULT_DENIES] = "denies",
        [FAULT_AUDIT] = "audit",
        [FAULT_LATE] = "late",
        [FAULT_FEW_SOCKETS] = "few-sockets",
        [FAULT_SPARSE_EVENTS] = "sparse-events",
        [FAULT_IDLE] = "idle",
        [FAULT_SMALL_LIMITS] = "small-limits",
    };

    return names[fault];
}

uint64_t sim_now_ms(void)
{
    return sim.now_ns / 1000000;
}

void sim_fail(const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    main_failed(text);
}

void sim_trace(const char *format, ...)
{
    va_list args;

    if (!sim.is_tracing)
        return;
    printf("%9llu.%06llu ", (unsigned long long)(sim.now_ns / 1000000),
           (unsigned long long)(sim.now_ns % 1000000));
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

void *sim_alloc(size_t size)
{
    void *p = __real_calloc(1, size ? size : 1);

    if (!p)
        abort();
    return p;
}

void *sim_grow(void *p, size_t size)
{
    p = __real_realloc(p, size);
    if (!p)
        abort();
    return p;
}

void sim_free(void *p)
{
    __real_free(p);
}

void byte_queue_append(struct byte_queue *b, const void *data, size_t len)
{
    if (len == 0)
        return;
    if (b->end + len > b->cap && b->start > 0) {
        memmove(b->at, b->at + b->start, b->end - b->start);
        b->end -= b->start;
        b->start = 0;
    }
    if (b->end + len > b->cap) {
        b->cap = 2 * (b->end + len);
        b->at = sim_grow(b->at, b->cap);
    }
    memcpy(b->at + b->end, data, len);
    b->end += len;
}

void byte_queue_drop(struct byte_queue *b, size_t len)
{
    SIM_MUST(len <= byte_queue_len(b));
    b->start += len;
    if (b->start == b->end)
        b->start = b->end = 0;
}

void byte_queue_free(struct byte_queue *b)
{
    sim_free(b->at);
    *b = (struct byte_queue){0};
}
