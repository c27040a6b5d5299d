/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proto/codec_plain.h"

#include <string.h>

#include "proto/codec.h"

/* Wire types of protobuf, the low three bits of a key. */
enum { WIRE_VARINT = 0, WIRE_LENGTH = 2 };

/* -------------------------------------------------------------------------------------- writing */

static uint8_t *put_varint(uint8_t *out, uint64_t value)
{
    while (value >= 0x80) {
        *out++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}

/* Zero is "not set": it does not go. */
static uint8_t *put_field(uint8_t *out, unsigned int number, uint64_t value)
{
    if (value == 0)
        return out;
    *out++ = (uint8_t)(number << 3 | WIRE_VARINT);
    return put_varint(out, value);
}

/* An arm of fewer than 128 octets that ends at `end`; its length stands in front of it. */
static uint8_t *begin_arm(uint8_t *out, unsigned int number)
{
    *out = (uint8_t)(number << 3 | WIRE_LENGTH);
    return out + 2;
}

static uint8_t *end_arm(uint8_t *begin, uint8_t *end)
{
    begin[-1] = (uint8_t)(end - begin);
    return end;
}

enum { ARM_SEND = 6, ARM_RECEIVE = 7 };

static uint8_t *put_send(uint8_t *out, const struct request *request)
{
    uint8_t *begin = begin_arm(out, ARM_SEND), *at = begin;

    at = put_field(at, 1, request->send.total_len);
    at = put_field(at, 2, request->send.more);
    at = put_field(at, 3, request->send.abandon);
    return end_arm(begin, at);
}

static uint8_t *put_receive(uint8_t *out, const struct request *request)
{
    uint8_t *begin = begin_arm(out, ARM_RECEIVE), *at = begin;

    at = put_field(at, 1, request->receive.length);
    at = put_field(at, 2, request->receive.flags);
    return end_arm(begin, at);
}

size_t asock_codec_plain_put_request(const struct request *request, uint8_t *out)
{
    uint8_t *at = out;

    if ((request->verb != VERB_SEND || request->send.segments.count > 0) &&
        (request->verb != VERB_RECEIVE || request->receive.segments.count > 0))
        return 0;
    at = put_field(at, 1, request->verb);
    at = put_field(at, 2, request->op);
    at = put_field(at, 3, request->socket);
    at = put_field(at, 4, request->timeout_ms);
    at = put_field(at, 5, request->flags);
    at = request->verb == VERB_SEND ? put_send(at, request) : put_receive(at, request);
    return (size_t)(at - out);
}

size_t asock_codec_plain_put_reply(const struct reply *reply, uint8_t *out)
{
    uint8_t *at = out;

    /* A negative enum has ten octets: not what anybody sends. */
    if (reply->body != BODY_NONE || reply->kind > INT32_MAX || reply->error > INT32_MAX)
        return 0;
    at = put_field(at, 1, reply->kind);
    at = put_field(at, 2, reply->op);
    at = put_field(at, 3, reply->socket);
    at = put_field(at, 4, reply->error);
    at = put_field(at, 5, reply->bytes);
    at = put_field(at, 6, reply->flags);
    at = put_field(at, 7, reply->send_freed);
    at = put_field(at, 8, reply->ops_freed);
    at = put_field(at, 9, reply->descriptors);
    return (size_t)(at - out);
}

/* -------------------------------------------------------------------------------------- reading */

struct reader {
    const uint8_t *at, *end;
    unsigned int last; /* number of the field before */
};

/* False: cut short, or longer than a 64-bit number can be. */
static bool get_varint(struct reader *r, uint64_t *ret)
{
    uint64_t value = 0;

    for (unsigned int shift = 0; shift < 63 && r->at < r->end; shift += 7) {
        uint8_t octet = *r->at++;

        value |= (uint64_t)(octet & 0x7f) << shift;
        if (octet < 0x80) {
            *ret = value;
            return true;
        }
    }
    if (r->at >= r->end || *r->at != 1)
        return false;
    r->at++;
    *ret = value | UINT64_C(1) << 63;
    return true;
}

/* 1: a number of field *ret_field; 0: the end, or something that is not a number; -1: unusual. */
static int get_field(struct reader *r, unsigned int *ret_field, uint64_t *ret)
{
    unsigned int key;

    if (r->at >= r->end)
        return 0;
    key = *r->at;
    if ((key & 7) == WIRE_LENGTH)
        return 0;
    if (key >= 0x80 || (key & 7) != WIRE_VARINT || key >> 3 <= r->last)
        return -1;
    r->at++;
    r->last = *ret_field = key >> 3;
    return get_varint(r, ret) ? 1 : -1;
}

/* The fields of a message that has numbers only, in a table of them. */
static bool get_numbers(struct reader *r, uint64_t *numbers, unsigned int count)
{
    unsigned int field;
    uint64_t value;
    int got;

    while ((got = get_field(r, &field, &value)) > 0) {
        if (field > count)
            return false;
        numbers[field] = value;
    }
    return got == 0;
}

static bool get_arm(struct reader *r, const uint64_t *head, struct request *ret)
{
    unsigned int arm = *r->at >> 3;
    uint64_t n[4] = {0};
    struct reader in;

    if (*r->at >= 0x80 || r->end - r->at < 2 || r->at[1] >= 0x80 || r->at[1] != r->end - r->at - 2)
        return false;
    in = (struct reader){.at = r->at + 2, .end = r->end};
    /* A number where the schema has none is not for this way, be it zero: RECEIVE has two. */
    if (!get_numbers(&in, n, arm == ARM_SEND ? 3 : 2) || in.at != in.end)
        return false;
    if (head[1] == VERB_SEND && arm == ARM_SEND && n[2] <= 1 && n[3] <= 1) {
        ret->send.total_len = n[1];
        ret->send.more = n[2] == 1;
        ret->send.abandon = n[3] == 1;
        return true;
    }
    if (head[1] == VERB_RECEIVE && arm == ARM_RECEIVE && n[2] <= UINT32_MAX) {
        ret->receive.length = n[1];
        ret->receive.flags = (uint32_t)n[2];
        return true;
    }
    return false;
}

bool asock_codec_plain_get_request(const uint8_t *head, size_t len, struct request *ret)
{
    struct reader r = {.at = head, .end = head + len};
    uint64_t n[6] = {0};

    if (!get_numbers(&r, n, 5) || r.at >= r.end)
        return false;
    if (n[2] == 0 || n[3] > UINT32_MAX || n[4] > UINT32_MAX || n[5] > UINT32_MAX)
        return false;
    memset(ret, 0, sizeof(*ret));
    ret->verb = (uint32_t)n[1];
    ret->op = n[2];
    ret->socket = (uint32_t)n[3];
    ret->timeout_ms = (uint32_t)n[4];
    ret->flags = (uint32_t)n[5];
    return get_arm(&r, n, ret);
}

bool asock_codec_plain_get_reply(const uint8_t *head, size_t len, struct reply *ret)
{
    struct reader r = {.at = head, .end = head + len};
    uint64_t n[10] = {0};

    if (!get_numbers(&r, n, 9) || r.at != r.end)
        return false;
    if (n[1] != KIND_COMPLETION || n[3] > UINT32_MAX || n[4] > INT32_MAX || n[6] > UINT32_MAX ||
        n[8] > UINT32_MAX || n[9] > UINT32_MAX)
        return false;
    memset(ret, 0, sizeof(*ret));
    ret->kind = (uint32_t)n[1];
    ret->op = n[2];
    ret->socket = (uint32_t)n[3];
    ret->error = (uint32_t)n[4];
    ret->bytes = n[5];
    ret->flags = (uint32_t)n[6];
    ret->send_freed = n[7];
    ret->ops_freed = (uint32_t)n[8];
    ret->descriptors = (uint32_t)n[9];
    return true;
}
