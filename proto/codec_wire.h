/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_PROTO_CODEC_WIRE_H
#define ASOCK_PROTO_CODEC_WIRE_H

/* protobuf's wire format, as far as the short ways of the codec need it (codec_plain.h). */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct endpoint;
struct segment;

/* Wire types, the low three bits of a key. */
enum { WIRE_VARINT = 0, WIRE_LENGTH = 2 };

/* Bytes of the longest segment, with its key. */
#define WIRE_SEGMENT_MAX 32u

/* ---- writing ---- */

static inline uint8_t *asock_wire_put_varint(uint8_t *out, uint64_t value)
{
    while (value >= 0x80) {
        *out++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}

/* Zero is "not set": it does not go. */
static inline uint8_t *asock_wire_put(uint8_t *out, unsigned int number, uint64_t value)
{
    if (value == 0)
        return out;
    *out++ = (uint8_t)(number << 3 | WIRE_VARINT);
    return asock_wire_put_varint(out, value);
}

/*
 * A message of fewer than 16,384 bytes. Its fields begin where the first function says, and the
 * message ends where the second one says: one byte later if its length takes two.
 */
uint8_t *asock_wire_begin(uint8_t *out, unsigned int number);
uint8_t *asock_wire_end(uint8_t *begin, uint8_t *end);

/* Without an address it does not go. */
uint8_t *asock_wire_put_endpoint(uint8_t *out, unsigned int number,
                                 const struct endpoint *endpoint);
bool asock_wire_is_sound(const struct endpoint *endpoint);

uint8_t *asock_wire_put_segment(uint8_t *out, unsigned int number, const struct segment *segment);

/* ---- reading ---- */

/* Whether what was read of a field is a value of its type. */
#define WIRE_FITS(numbers, field) ((numbers)[field] <= (uint64_t)(field##_MAX))

struct wire_reader {
    const uint8_t *at, *end;
    unsigned int last; /* number of the field before */
};

/*
 * The fields of a message that has numbers only, in a table by field, up to the last one. False:
 * one is not of the usual form.
 */
bool asock_wire_numbers(struct wire_reader *r, uint64_t *numbers, unsigned int last);
/* The same where fields that are not numbers stand between; not: a bit for each of them. */
bool asock_wire_numbers_but(struct wire_reader *r, uint64_t *numbers, unsigned int last,
                            uint32_t not );

/*
 * A message as field `number`. 1; 0: something else is next; -1: it is cut, or of an unusual form.
 */
int asock_wire_message(struct wire_reader *r, unsigned int number, struct wire_reader *ret);

/* False: not one of the usual form. Without one *ret stays as it is. */
bool asock_wire_get_endpoint(struct wire_reader *r, unsigned int number, struct endpoint *ret);
/* As asock_wire_message(). */
int asock_wire_get_segment(struct wire_reader *r, unsigned int number, struct segment *ret);

#endif
