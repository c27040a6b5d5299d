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

/* A message of fewer than 128 octets that ends at `end`; its length stands in front of it. */
static uint8_t *begin_message(uint8_t *out, unsigned int number)
{
    *out = (uint8_t)(number << 3 | WIRE_LENGTH);
    return out + 2;
}

static uint8_t *end_message(uint8_t *begin, uint8_t *end)
{
    begin[-1] = (uint8_t)(end - begin);
    return end;
}

/* Without an address it does not go. */
static uint8_t *put_endpoint(uint8_t *out, unsigned int number, const struct endpoint *endpoint)
{
    uint8_t *begin = begin_message(out, number), *at = begin;

    if (endpoint->address_len == 0)
        return out;
    *at++ = 1 << 3 | WIRE_LENGTH;
    *at++ = endpoint->address_len;
    memcpy(at, endpoint->address, endpoint->address_len);
    at += endpoint->address_len;
    at = put_field(at, 2, endpoint->port);
    at = put_field(at, 3, endpoint->scope_id);
    return end_message(begin, at);
}

static bool is_sound(const struct endpoint *endpoint)
{
    return endpoint->address_len == 0 || endpoint->address_len == 4 || endpoint->address_len == 16;
}

/* The arms that go the short way; numbers: how many fields they have, if those are numbers. */
static const struct {
    uint8_t arm, numbers;
} arms[] = {
    [VERB_OPEN] = {8, 2},    [VERB_CONNECT] = {9, 0},   [VERB_SEND] = {6, 3},
    [VERB_RECEIVE] = {7, 2}, [VERB_SHUTDOWN] = {11, 1}, [VERB_CLOSE] = {10, 2},
};

static bool has_short_way(const struct request *request)
{
    switch (request->verb) {
    case VERB_OPEN:
        return request->open.family <= INT32_MAX && request->open.type <= INT32_MAX;
    case VERB_CONNECT:
        return !request->connect.host && !request->connect.service &&
               is_sound(&request->connect.endpoint);
    case VERB_SEND:
        return request->send.segments.count == 0;
    case VERB_RECEIVE:
        return request->receive.segments.count == 0;
    case VERB_SHUTDOWN:
        return request->shutdown.how <= INT32_MAX;
    default:
        return request->verb == VERB_CLOSE;
    }
}

static uint8_t *put_arm(uint8_t *at, const struct request *request)
{
    switch (request->verb) {
    case VERB_OPEN:
        at = put_field(at, 1, request->open.family);
        return put_field(at, 2, request->open.type);
    case VERB_CONNECT:
        return put_endpoint(at, 1, &request->connect.endpoint);
    case VERB_SEND:
        at = put_field(at, 1, request->send.total_len);
        at = put_field(at, 2, request->send.more);
        return put_field(at, 3, request->send.abandon);
    case VERB_RECEIVE:
        at = put_field(at, 1, request->receive.length);
        return put_field(at, 2, request->receive.flags);
    case VERB_SHUTDOWN:
        return put_field(at, 1, request->shutdown.how);
    default:
        at = put_field(at, 1, request->close.linger_ms);
        return put_field(at, 2, request->close.abort);
    }
}

size_t asock_codec_plain_put_request(const struct request *request, uint8_t *out)
{
    uint8_t *at = out, *begin;

    if (!has_short_way(request))
        return 0;
    at = put_field(at, 1, request->verb);
    at = put_field(at, 2, request->op);
    at = put_field(at, 3, request->socket);
    at = put_field(at, 4, request->timeout_ms);
    at = put_field(at, 5, request->flags);
    begin = begin_message(at, arms[request->verb].arm);
    return (size_t)(end_message(begin, put_arm(begin, request)) - out);
}

enum { FIELD_CONNECTED = 10 };

static uint8_t *put_connected(uint8_t *out, const struct reply *reply)
{
    uint8_t *begin = begin_message(out, FIELD_CONNECTED), *at = begin;

    at = put_endpoint(at, 1, &reply->connected.local);
    at = put_endpoint(at, 2, &reply->connected.remote);
    at = put_field(at, 3, reply->connected.connect_error);
    return end_message(begin, at);
}

static bool body_has_short_way(const struct reply *reply)
{
    if (reply->body != BODY_CONNECTED)
        return reply->body == BODY_NONE;
    return is_sound(&reply->connected.local) && is_sound(&reply->connected.remote) &&
           reply->connected.connect_error <= INT32_MAX;
}

size_t asock_codec_plain_put_reply(const struct reply *reply, uint8_t *out)
{
    uint8_t *at = out;

    /* A negative enum has ten octets: not what anybody sends. */
    if (!body_has_short_way(reply) || reply->kind > INT32_MAX || reply->error > INT32_MAX)
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
    if (reply->body == BODY_CONNECTED)
        at = put_connected(at, reply);
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

/* A message of fewer than 128 octets as field `number`. 1; 0: something else is next; -1: it is cut. */
static int get_message(struct reader *r, unsigned int number, struct reader *ret)
{
    size_t left = (size_t)(r->end - r->at);

    if (left == 0 || *r->at != (number << 3 | WIRE_LENGTH))
        return 0;
    if (left < 2 || r->at[1] >= 0x80 || r->at[1] > left - 2)
        return -1;
    *ret = (struct reader){.at = r->at + 2, .end = r->at + 2 + r->at[1]};
    r->at = ret->end;
    r->last = number;
    return 1;
}

/* False: not one of the usual form. Without one *ret stays as it is. */
static bool get_endpoint(struct reader *r, unsigned int number, struct endpoint *ret)
{
    struct reader in, address;
    uint64_t n[4] = {0};
    int got = get_message(r, number, &in);
    size_t len;

    if (got <= 0)
        return got == 0;
    if (get_message(&in, 1, &address) <= 0 || !get_numbers(&in, n, 3) || in.at != in.end)
        return false;
    len = (size_t)(address.end - address.at);
    if ((len != 4 && len != 16) || n[2] > UINT16_MAX || n[3] > UINT32_MAX)
        return false;
    memcpy(ret->address, address.at, len);
    ret->address_len = (uint8_t)len;
    ret->port = (uint16_t)n[2];
    ret->scope_id = (uint32_t)n[3];
    return true;
}

static bool get_connect(struct reader *r, struct request *ret)
{
    return get_endpoint(r, 1, &ret->connect.endpoint) && r->at == r->end;
}

/* The numbers of any other arm. */
static bool set_arm(const uint64_t *n, struct request *ret)
{
    switch (ret->verb) {
    case VERB_OPEN:
        ret->open.family = (uint32_t)n[1];
        ret->open.type = (uint32_t)n[2];
        return n[1] <= INT32_MAX && n[2] <= INT32_MAX;
    case VERB_SEND:
        ret->send.total_len = n[1];
        ret->send.more = n[2] == 1;
        ret->send.abandon = n[3] == 1;
        return n[2] <= 1 && n[3] <= 1;
    case VERB_RECEIVE:
        ret->receive.length = n[1];
        ret->receive.flags = (uint32_t)n[2];
        return n[2] <= UINT32_MAX;
    case VERB_SHUTDOWN:
        ret->shutdown.how = (uint32_t)n[1];
        return n[1] <= INT32_MAX;
    default:
        ret->close.linger_ms = (uint32_t)n[1];
        ret->close.abort = n[2] == 1;
        return n[1] <= UINT32_MAX && n[2] <= 1;
    }
}

static bool get_arm(struct reader *r, struct request *ret)
{
    uint64_t n[4] = {0};
    struct reader in;

    if (ret->verb >= sizeof(arms) / sizeof(arms[0]) || arms[ret->verb].arm == 0 ||
        get_message(r, arms[ret->verb].arm, &in) <= 0 || r->at != r->end)
        return false;
    if (ret->verb == VERB_CONNECT)
        return get_connect(&in, ret);
    /* A number where the schema has none is not for this way, be it zero. */
    return get_numbers(&in, n, arms[ret->verb].numbers) && in.at == in.end && set_arm(n, ret);
}

bool asock_codec_plain_get_request(const uint8_t *head, size_t len, struct request *ret)
{
    struct reader r = {.at = head, .end = head + len};
    uint64_t n[6] = {0};

    if (!get_numbers(&r, n, 5) || r.at >= r.end)
        return false;
    if (n[1] > UINT32_MAX || n[2] == 0 || n[3] > UINT32_MAX || n[4] > UINT32_MAX ||
        n[5] > UINT32_MAX)
        return false;
    memset(ret, 0, sizeof(*ret));
    ret->verb = (uint32_t)n[1];
    ret->op = n[2];
    ret->socket = (uint32_t)n[3];
    ret->timeout_ms = (uint32_t)n[4];
    ret->flags = (uint32_t)n[5];
    return get_arm(&r, ret);
}

static bool get_connected(struct reader *r, struct reply *ret)
{
    uint64_t n[4] = {0};
    struct reader in;

    if (get_message(r, FIELD_CONNECTED, &in) <= 0 || r->at != r->end)
        return false;
    if (!get_endpoint(&in, 1, &ret->connected.local) ||
        !get_endpoint(&in, 2, &ret->connected.remote))
        return false;
    in.last = 2; /* be they there or not: they are no numbers */
    if (!get_numbers(&in, n, 3) || in.at != in.end)
        return false;
    ret->body = BODY_CONNECTED;
    ret->connected.connect_error = (uint32_t)n[3];
    return n[3] <= INT32_MAX;
}

bool asock_codec_plain_get_reply(const uint8_t *head, size_t len, struct reply *ret)
{
    struct reader r = {.at = head, .end = head + len};
    uint64_t n[10] = {0};

    if (!get_numbers(&r, n, 9))
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
    return r.at == r.end || get_connected(&r, ret);
}
