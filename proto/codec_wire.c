/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proto/codec_wire.h"

#include <string.h>

#include "proto/codec.h"
#include "proto/fields.h"

/* The least that a key and a length take; what has a longer length moves when it is known. */
uint8_t *asock_wire_begin(uint8_t *out, unsigned int number)
{
    unsigned int key = number << 3 | WIRE_LENGTH;

    return asock_wire_put_varint(out, key) + 1;
}

uint8_t *asock_wire_end(uint8_t *begin, uint8_t *end)
{
    size_t len = (size_t)(end - begin);

    if (len < 0x80) {
        begin[-1] = (uint8_t)len;
        return end;
    }
    memmove(begin + 1, begin, len);
    begin[-1] = (uint8_t)(len | 0x80);
    begin[0] = (uint8_t)(len >> 7);
    return end + 1;
}

uint8_t *asock_wire_put_endpoint(uint8_t *out, unsigned int number, const struct endpoint *endpoint)
{
    uint8_t *begin = asock_wire_begin(out, number), *at = begin;

    if (endpoint->address_len == 0)
        return out;
    *at++ = FIELD_ENDPOINT_ADDRESS << 3 | WIRE_LENGTH;
    *at++ = endpoint->address_len;
    memcpy(at, endpoint->address, endpoint->address_len);
    at += endpoint->address_len;
    at = asock_wire_put(at, FIELD_ENDPOINT_PORT, endpoint->port);
    at = asock_wire_put(at, FIELD_ENDPOINT_SCOPE_ID, endpoint->scope_id);
    return asock_wire_end(begin, at);
}

bool asock_wire_is_sound(const struct endpoint *endpoint)
{
    return endpoint->address_len == 0 || endpoint->address_len == 4 || endpoint->address_len == 16;
}

uint8_t *asock_wire_put_segment(uint8_t *out, unsigned int number, const struct segment *segment)
{
    uint8_t *begin = asock_wire_begin(out, number), *at;

    at = asock_wire_put(begin, FIELD_SEGMENT_BUFFER, segment->buffer);
    at = asock_wire_put(at, FIELD_SEGMENT_OFFSET, segment->offset);
    at = asock_wire_put(at, FIELD_SEGMENT_LENGTH, segment->length);
    return asock_wire_end(begin, at);
}

/* What is behind it; NULL: it is cut short, or longer than a 64-bit number can be. */
static inline const uint8_t *get_varint(const uint8_t *at, const uint8_t *end, uint64_t *ret)
{
    uint64_t value = 0;

    if (at < end && *at < 0x80) { /* most are short */
        *ret = *at;
        return at + 1;
    }
    for (unsigned int shift = 0; shift < 63 && at < end; shift += 7) {
        uint64_t byte = *at++;

        value |= (byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret = value;
            return at;
        }
    }
    if (at >= end || *at != 1)
        return NULL;
    *ret = value | UINT64_C(1) << 63;
    return at + 1;
}

/* Up to the end, or to something that is not a number. The place stays in registers. */
static inline bool get_numbers(struct wire_reader *r, uint64_t *numbers, unsigned int last,
                               uint32_t not )
{
    const uint8_t *at = r->at, *end = r->end;
    unsigned int before = r->last;

    while (at < end && (*at & 7) != WIRE_LENGTH) {
        unsigned int key = *at, field = key >> 3;

        if (key >= 0x80 || (key & 7) != WIRE_VARINT || field <= before || field > last ||
            not >> field & 1)
            return false;
        at = get_varint(at + 1, end, &numbers[field]);
        if (!at)
            return false;
        before = field;
    }
    r->at = at;
    r->last = before;
    return true;
}

bool asock_wire_numbers(struct wire_reader *r, uint64_t *numbers, unsigned int last)
{
    return get_numbers(r, numbers, last, 0);
}

bool asock_wire_numbers_but(struct wire_reader *r, uint64_t *numbers, unsigned int last,
                            uint32_t not )
{
    return get_numbers(r, numbers, last, not );
}

/* At most two bytes, and as few as there can be. */
static bool get_length(struct wire_reader *r, size_t *ret)
{
    size_t left = (size_t)(r->end - r->at);

    if (left > 0 && r->at[0] < 0x80) {
        *ret = *r->at++;
    } else if (left > 1 && r->at[1] > 0 && r->at[1] < 0x80) {
        *ret = (r->at[0] & 0x7fu) | (size_t)r->at[1] << 7;
        r->at += 2;
    } else {
        return false;
    }
    return *ret <= (size_t)(r->end - r->at);
}

/* One byte, or two. */
static bool skip_key(struct wire_reader *r, unsigned int key)
{
    size_t left = (size_t)(r->end - r->at);

    if (key < 0x80 && left > 0 && r->at[0] == key) {
        r->at++;
        return true;
    }
    if (key < 0x80 || left < 2 || r->at[0] != (uint8_t)(key | 0x80) || r->at[1] != key >> 7)
        return false;
    r->at += 2;
    return true;
}

int asock_wire_message(struct wire_reader *r, unsigned int number, struct wire_reader *ret)
{
    size_t len;

    if (!skip_key(r, number << 3 | WIRE_LENGTH))
        return 0;
    if (!get_length(r, &len))
        return -1;
    *ret = (struct wire_reader){.at = r->at, .end = r->at + len};
    r->at = ret->end;
    r->last = number;
    return 1;
}

bool asock_wire_get_endpoint(struct wire_reader *r, unsigned int number, struct endpoint *ret)
{
    struct wire_reader in, address;
    uint64_t n[FIELD_ENDPOINT_SCOPE_ID + 1] = {0};
    int got = asock_wire_message(r, number, &in);
    size_t len;

    if (got <= 0)
        return got == 0;
    if (asock_wire_message(&in, FIELD_ENDPOINT_ADDRESS, &address) <= 0 ||
        !asock_wire_numbers(&in, n, FIELD_ENDPOINT_SCOPE_ID) || in.at != in.end)
        return false;
    len = (size_t)(address.end - address.at);
    if ((len != 4 && len != 16) || n[FIELD_ENDPOINT_PORT] > UINT16_MAX ||
        !WIRE_FITS(n, FIELD_ENDPOINT_SCOPE_ID))
        return false;
    memcpy(ret->address, address.at, len);
    ret->address_len = (uint8_t)len;
    ret->port = (uint16_t)n[FIELD_ENDPOINT_PORT];
    ret->scope_id = (uint32_t)n[FIELD_ENDPOINT_SCOPE_ID];
    return true;
}

int asock_wire_get_segment(struct wire_reader *r, unsigned int number, struct segment *ret)
{
    uint64_t n[FIELD_SEGMENT_LENGTH + 1] = {0};
    struct wire_reader in;
    int got = asock_wire_message(r, number, &in);

    if (got <= 0)
        return got;
    if (!asock_wire_numbers(&in, n, FIELD_SEGMENT_LENGTH) || in.at != in.end ||
        !WIRE_FITS(n, FIELD_SEGMENT_BUFFER))
        return -1;
    *ret = (struct segment){(uint32_t)n[FIELD_SEGMENT_BUFFER], n[FIELD_SEGMENT_OFFSET],
                            n[FIELD_SEGMENT_LENGTH]};
    return 1;
}
