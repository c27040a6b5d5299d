/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/common.h"

void fail(const char *format, ...)
{
    int error = errno;
    va_list args;

    fprintf(stderr, "%s: ", program_invocation_short_name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, error != 0 ? ": %s\n" : "\n", strerror(error));
    exit(1);
}

void pattern_fill(unsigned char *table, long spoil)
{
    uint32_t x = 1;

    for (size_t i = 0; i < PATTERN_PERIOD; i++) {
        x = x * 1664525u + 1013904223u;
        table[i] = (unsigned char)(x >> 24);
    }
    for (size_t i = PATTERN_PERIOD; i < PATTERN_PERIOD + PATTERN_PIECE; i++)
        table[i] = table[i - PATTERN_PERIOD];
    if (spoil >= 0 && spoil < (long)(PATTERN_PERIOD + PATTERN_PIECE))
        table[spoil] ^= 1;
}

unsigned char *pattern_new(long spoil)
{
    unsigned char *table = malloc(PATTERN_PERIOD + PATTERN_PIECE);

    if (table == NULL)
        fail("no memory");
    pattern_fill(table, spoil);
    return table;
}

/*
 * By periods: the table stays in the cache, which costs the same whatever the size of an operation.
 */
bool pattern_is(const unsigned char *table, uint64_t position, const void *data, size_t len)
{
    const unsigned char *p = data;

    while (len > 0) {
        size_t n = len < PATTERN_PERIOD ? len : PATTERN_PERIOD;

        if (memcmp(pattern_at(table, position), p, n) != 0)
            return false;
        p += n;
        position += n;
        len -= n;
    }
    return true;
}

void header_fill(unsigned char header[HEADER_BYTES], char what, uint64_t bytes)
{
    header[0] = (unsigned char)what;
    memcpy(header + 1, &bytes, sizeof bytes);
}

void check(int r, const char *what)
{
    if (r >= 0)
        return;
    errno = -r;
    fail("%s", what);
}
