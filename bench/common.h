/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

/*
 * What client and server agree on. The first byte of a connection says what it is for:
 *
 *   'e'                    everything is echoed, this byte too
 *   'u' and a 64-bit n     n bytes of the pattern follow; the server looks at each, then answers n
 *   'd' and a 64-bit n     the server sends n bytes of the pattern
 *
 * A datagram to the same port begins with such a byte and a 64-bit n; bytes of the pattern from 64
 * n on follow:
 *
 *   'e'                    it is echoed
 *   'u', 'U'               the server looks at it; 'U' is answered with its first 9 bytes
 *
 * The last two of a connection may follow each other there. The byte at a position is the pattern's
 * at that position: its period is a prime, so that pieces that change places, or are missing, are
 * seen.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PATTERN_PERIOD 65521u
/* From any position so much can be sent or compared in one piece. */
#define PATTERN_PIECE (1024u * 1024u)
#define HEADER_BYTES 9u

/* PATTERN_PERIOD + PATTERN_PIECE bytes; with spoil >= 0 the one at that position is wrong. */
void pattern_fill(unsigned char *table, long spoil);
unsigned char *pattern_new(long spoil);
/* Whether what is said to begin at this position does so. */
bool pattern_is(const unsigned char *table, uint64_t position, const void *data, size_t len);

static inline const unsigned char *pattern_at(const unsigned char *table, uint64_t position)
{
    return table + position % PATTERN_PERIOD;
}

void header_fill(unsigned char header[HEADER_BYTES], char what, uint64_t bytes);

/* Ends the program, with errno's text if there is any. */
void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* r: of a call of libasock; below 0 it is -errno, and the program ends. */
void check(int r, const char *what);

#endif
