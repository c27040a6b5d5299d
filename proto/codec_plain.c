/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proto/codec_plain.h"

#include <string.h>

#include "proto/codec.h"
#include "proto/fields.h" /* FIELD_MESSAGE_NAME and its _MAX: made from asock.proto */

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

/* A message of fewer than 128 bytes that ends at `end`; its length stands in front of it. */
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
    *at++ = FIELD_ENDPOINT_ADDRESS << 3 | WIRE_LENGTH;
    *at++ = endpoint->address_len;
    memcpy(at, endpoint->address, endpoint->address_len);
    at += endpoint->address_len;
    at = put_field(at, FIELD_ENDPOINT_PORT, endpoint->port);
    at = put_field(at, FIELD_ENDPOINT_SCOPE_ID, endpoint->scope_id);
    return end_message(begin, at);
}

static bool is_sound(const struct endpoint *endpoint)
{
    return endpoint->address_len == 0 || endpoint->address_len == 4 || endpoint->address_len == 16;
}

/* The arms that go the short way; last: the last of their fields, if those are numbers. */
static const struct {
    uint8_t arm, last;
} arms[] = {
    [VERB_OPEN] = {FIELD_REQUEST_OPEN, FIELD_OPEN_TYPE},
    [VERB_CONNECT] = {FIELD_REQUEST_CONNECT, 0},
    [VERB_SEND] = {FIELD_REQUEST_SEND, 0},
    [VERB_RECEIVE] = {FIELD_REQUEST_RECEIVE, FIELD_RECEIVE_FLAGS},
    [VERB_SHUTDOWN] = {FIELD_REQUEST_SHUTDOWN, FIELD_SHUTDOWN_HOW},
    [VERB_CLOSE] = {FIELD_REQUEST_CLOSE, FIELD_CLOSE_ABORT},
};

/* Room for the numbers of any arm, by field. */
#define ARM_NUMBERS 4u
_Static_assert(FIELD_OPEN_TYPE < ARM_NUMBERS && FIELD_RECEIVE_FLAGS < ARM_NUMBERS &&
                   FIELD_SHUTDOWN_HOW < ARM_NUMBERS && FIELD_CLOSE_ABORT < ARM_NUMBERS,
               "an arm of asock.proto has more numbers than the short way knows");
_Static_assert(FIELD_REQUEST_SHUTDOWN < 16 && FIELD_REPLY_CONNECTED < 16,
               "a key of the short way takes one byte");

static bool has_short_way(const struct request *request)
{
    switch (request->verb) {
    case VERB_OPEN:
        return request->open.family <= FIELD_OPEN_FAMILY_MAX &&
               request->open.type <= FIELD_OPEN_TYPE_MAX;
    case VERB_CONNECT:
        return !request->connect.host && !request->connect.service && !request->connect.lend &&
               request->connect.others.count == 0 && is_sound(&request->connect.endpoint);
    case VERB_SEND:
        return request->send.segments.count == 0 && is_sound(&request->send.endpoint) &&
               is_sound(&request->send.source);
    case VERB_RECEIVE:
        return request->receive.segments.count == 0;
    case VERB_SHUTDOWN:
        return request->shutdown.how <= FIELD_SHUTDOWN_HOW_MAX;
    default:
        return request->verb == VERB_CLOSE;
    }
}

static uint8_t *put_arm(uint8_t *at, const struct request *request)
{
    switch (request->verb) {
    case VERB_OPEN:
        at = put_field(at, FIELD_OPEN_FAMILY, request->open.family);
        return put_field(at, FIELD_OPEN_TYPE, request->open.type);
    case VERB_CONNECT:
        return put_endpoint(at, FIELD_CONNECT_ENDPOINT, &request->connect.endpoint);
    case VERB_SEND:
        at = put_field(at, FIELD_SEND_TOTAL_LEN, request->send.total_len);
        at = put_field(at, FIELD_SEND_MORE, request->send.more);
        at = put_field(at, FIELD_SEND_ABANDON, request->send.abandon);
        at = put_endpoint(at, FIELD_SEND_ENDPOINT, &request->send.endpoint);
        at = put_field(at, FIELD_SEND_ECN, request->send.ecn);
        at = put_endpoint(at, FIELD_SEND_SOURCE, &request->send.source);
        return put_field(at, FIELD_SEND_SEGMENT_SIZE, request->send.segment_size);
    case VERB_RECEIVE:
        at = put_field(at, FIELD_RECEIVE_LENGTH, request->receive.length);
        return put_field(at, FIELD_RECEIVE_FLAGS, request->receive.flags);
    case VERB_SHUTDOWN:
        return put_field(at, FIELD_SHUTDOWN_HOW, request->shutdown.how);
    default:
        at = put_field(at, FIELD_CLOSE_LINGER_MS, request->close.linger_ms);
        return put_field(at, FIELD_CLOSE_ABORT, request->close.abort);
    }
}

size_t asock_codec_plain_put_request(const struct request *request, uint8_t *out)
{
    uint8_t *at = out, *begin;

    if (!has_short_way(request))
        return 0;
    at = put_field(at, FIELD_REQUEST_VERB, request->verb);
    at = put_field(at, FIELD_REQUEST_OP, request->op);
    at = put_field(at, FIELD_REQUEST_SOCKET, request->socket);
    at = put_field(at, FIELD_REQUEST_TIMEOUT_MS, request->timeout_ms);
    at = put_field(at, FIELD_REQUEST_FLAGS, request->flags);
    begin = begin_message(at, arms[request->verb].arm);
    return (size_t)(end_message(begin, put_arm(begin, request)) - out);
}

static uint8_t *put_connected(uint8_t *out, const struct reply *reply)
{
    uint8_t *begin = begin_message(out, FIELD_REPLY_CONNECTED), *at = begin;

    at = put_endpoint(at, FIELD_CONNECTED_LOCAL, &reply->connected.local);
    at = put_endpoint(at, FIELD_CONNECTED_REMOTE, &reply->connected.remote);
    at = put_field(at, FIELD_CONNECTED_CONNECT_ERROR, reply->connected.connect_error);
    return end_message(begin, at);
}

/* At most 126 bytes. */
static uint8_t *put_datagram(uint8_t *out, const struct datagram *datagram)
{
    const struct segment *segment = &datagram->segment;
    uint8_t *begin = begin_message(out, FIELD_REPLY_DATAGRAM), *at = begin, *inner;

    at = put_endpoint(at, FIELD_DATAGRAM_REMOTE, &datagram->remote);
    at = put_endpoint(at, FIELD_DATAGRAM_LOCAL, &datagram->local);
    at = put_field(at, FIELD_DATAGRAM_INTERFACE, datagram->interface);
    at = put_field(at, FIELD_DATAGRAM_LENGTH, datagram->length);
    at = put_field(at, FIELD_DATAGRAM_TRAFFIC_CLASS, datagram->traffic_class);
    at = put_field(at, FIELD_DATAGRAM_DROPPED, datagram->dropped);
    at = put_field(at, FIELD_DATAGRAM_REFUSED, datagram->refused);
    if (segment->buffer != 0 || segment->offset != 0 || segment->length != 0) {
        inner = begin_message(at, FIELD_DATAGRAM_SEGMENT);
        at = put_field(inner, FIELD_SEGMENT_BUFFER, segment->buffer);
        at = put_field(at, FIELD_SEGMENT_OFFSET, segment->offset);
        at = end_message(inner, put_field(at, FIELD_SEGMENT_LENGTH, segment->length));
    }
    at = put_field(at, FIELD_DATAGRAM_SEGMENT_SIZE, datagram->segment_size);
    return end_message(begin, at);
}

static bool body_has_short_way(const struct reply *reply)
{
    if (reply->body == BODY_DATAGRAM)
        return is_sound(&reply->datagram.local) && is_sound(&reply->datagram.remote);
    if (reply->body != BODY_CONNECTED)
        return reply->body == BODY_NONE;
    return reply->connected.socket == 0 && is_sound(&reply->connected.local) &&
           is_sound(&reply->connected.remote) &&
           reply->connected.connect_error <= FIELD_CONNECTED_CONNECT_ERROR_MAX;
}

size_t asock_codec_plain_put_reply(const struct reply *reply, uint8_t *out)
{
    uint8_t *at = out;

    if (!body_has_short_way(reply) || reply->kind > FIELD_REPLY_KIND_MAX ||
        reply->error > FIELD_REPLY_ERROR_MAX)
        return 0;
    at = put_field(at, FIELD_REPLY_KIND, reply->kind);
    at = put_field(at, FIELD_REPLY_OP, reply->op);
    at = put_field(at, FIELD_REPLY_SOCKET, reply->socket);
    at = put_field(at, FIELD_REPLY_ERROR, reply->error);
    at = put_field(at, FIELD_REPLY_BYTES, reply->bytes);
    at = put_field(at, FIELD_REPLY_FLAGS, reply->flags);
    at = put_field(at, FIELD_REPLY_SEND_FREED, reply->send_freed);
    at = put_field(at, FIELD_REPLY_OPS_FREED, reply->ops_freed);
    at = put_field(at, FIELD_REPLY_DESCRIPTORS, reply->descriptors);
    if (reply->body == BODY_CONNECTED)
        at = put_connected(at, reply);
    if (reply->body == BODY_DATAGRAM)
        at = put_datagram(at, &reply->datagram);
    return (size_t)(at - out);
}

/* -------------------------------------------------------------------------------------- reading */

/* Whether what was read of a field is a value of its type. */
#define FITS(numbers, field) ((numbers)[field] <= (uint64_t)(field##_MAX))

struct reader {
    const uint8_t *at, *end;
    unsigned int last; /* number of the field before */
};

/* False: cut short, or longer than a 64-bit number can be. */
static bool get_varint(struct reader *r, uint64_t *ret)
{
    uint64_t value = 0;

    for (unsigned int shift = 0; shift < 63 && r->at < r->end; shift += 7) {
        uint8_t byte = *r->at++;

        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
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

/* The fields of a message that has numbers only, in a table by field, up to the last one. */
static bool get_numbers(struct reader *r, uint64_t *numbers, unsigned int last)
{
    unsigned int field;
    uint64_t value;
    int got;

    while ((got = get_field(r, &field, &value)) > 0) {
        if (field > last)
            return false;
        numbers[field] = value;
    }
    return got == 0;
}

/* The same where fields that are not numbers stand between; not: a bit for each of them. */
static bool get_numbers_but(struct reader *r, uint64_t *numbers, unsigned int last, uint32_t not )
{
    unsigned int field;
    uint64_t value;
    int got;

    while ((got = get_field(r, &field, &value)) > 0) {
        if (field > last || not >> field & 1)
            return false;
        numbers[field] = value;
    }
    return got == 0;
}

/* A message of fewer than 128 bytes as field `number`. 1; 0: something else is next; -1: it is cut. */
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
    uint64_t n[FIELD_ENDPOINT_SCOPE_ID + 1] = {0};
    int got = get_message(r, number, &in);
    size_t len;

    if (got <= 0)
        return got == 0;
    if (get_message(&in, FIELD_ENDPOINT_ADDRESS, &address) <= 0 ||
        !get_numbers(&in, n, FIELD_ENDPOINT_SCOPE_ID) || in.at != in.end)
        return false;
    len = (size_t)(address.end - address.at);
    if ((len != 4 && len != 16) || n[FIELD_ENDPOINT_PORT] > UINT16_MAX ||
        !FITS(n, FIELD_ENDPOINT_SCOPE_ID))
        return false;
    memcpy(ret->address, address.at, len);
    ret->address_len = (uint8_t)len;
    ret->port = (uint16_t)n[FIELD_ENDPOINT_PORT];
    ret->scope_id = (uint32_t)n[FIELD_ENDPOINT_SCOPE_ID];
    return true;
}

static bool get_connect(struct reader *r, struct request *ret)
{
    return get_endpoint(r, FIELD_CONNECT_ENDPOINT, &ret->connect.endpoint) && r->at == r->end;
}

/* Numbers, and the two endpoints of a datagram between them. */
static bool get_send(struct reader *r, struct request *ret)
{
    /* segments, of which the short way knows nothing, has number 4 */
    const uint32_t not = 1u << 4 | 1u << FIELD_SEND_ENDPOINT | 1u << FIELD_SEND_SOURCE;
    uint64_t n[FIELD_SEND_SEGMENT_SIZE + 1] = {0};

    if (!get_numbers_but(r, n, FIELD_SEND_SEGMENT_SIZE, not ) ||
        !get_endpoint(r, FIELD_SEND_ENDPOINT, &ret->send.endpoint) ||
        !get_numbers_but(r, n, FIELD_SEND_SEGMENT_SIZE, not ) ||
        !get_endpoint(r, FIELD_SEND_SOURCE, &ret->send.source) ||
        !get_numbers_but(r, n, FIELD_SEND_SEGMENT_SIZE, not ) || r->at != r->end)
        return false;
    ret->send.total_len = n[FIELD_SEND_TOTAL_LEN];
    ret->send.more = n[FIELD_SEND_MORE] == 1;
    ret->send.abandon = n[FIELD_SEND_ABANDON] == 1;
    ret->send.ecn = (uint32_t)n[FIELD_SEND_ECN];
    ret->send.segment_size = (uint32_t)n[FIELD_SEND_SEGMENT_SIZE];
    return FITS(n, FIELD_SEND_MORE) && FITS(n, FIELD_SEND_ABANDON) && FITS(n, FIELD_SEND_ECN) &&
           FITS(n, FIELD_SEND_SEGMENT_SIZE);
}

/* The numbers of any other arm. */
static bool set_arm(const uint64_t *n, struct request *ret)
{
    switch (ret->verb) {
    case VERB_OPEN:
        ret->open.family = (uint32_t)n[FIELD_OPEN_FAMILY];
        ret->open.type = (uint32_t)n[FIELD_OPEN_TYPE];
        return FITS(n, FIELD_OPEN_FAMILY) && FITS(n, FIELD_OPEN_TYPE);
    case VERB_RECEIVE:
        ret->receive.length = n[FIELD_RECEIVE_LENGTH];
        ret->receive.flags = (uint32_t)n[FIELD_RECEIVE_FLAGS];
        return FITS(n, FIELD_RECEIVE_FLAGS);
    case VERB_SHUTDOWN:
        ret->shutdown.how = (uint32_t)n[FIELD_SHUTDOWN_HOW];
        return FITS(n, FIELD_SHUTDOWN_HOW);
    default:
        ret->close.linger_ms = (uint32_t)n[FIELD_CLOSE_LINGER_MS];
        ret->close.abort = n[FIELD_CLOSE_ABORT] == 1;
        return FITS(n, FIELD_CLOSE_LINGER_MS) && FITS(n, FIELD_CLOSE_ABORT);
    }
}

static bool get_arm(struct reader *r, struct request *ret)
{
    uint64_t n[ARM_NUMBERS] = {0};
    struct reader in;

    if (ret->verb >= sizeof(arms) / sizeof(arms[0]) || arms[ret->verb].arm == 0 ||
        get_message(r, arms[ret->verb].arm, &in) <= 0 || r->at != r->end)
        return false;
    if (ret->verb == VERB_CONNECT)
        return get_connect(&in, ret);
    if (ret->verb == VERB_SEND)
        return get_send(&in, ret);
    /* A number where the schema has none is not for this way, be it zero. */
    return get_numbers(&in, n, arms[ret->verb].last) && in.at == in.end && set_arm(n, ret);
}

bool asock_codec_plain_get_request(const uint8_t *head, size_t len, struct request *ret)
{
    struct reader r = {.at = head, .end = head + len};
    uint64_t n[FIELD_REQUEST_FLAGS + 1] = {0};

    if (!get_numbers(&r, n, FIELD_REQUEST_FLAGS) || r.at >= r.end)
        return false;
    if (!FITS(n, FIELD_REQUEST_VERB) || n[FIELD_REQUEST_OP] == 0 ||
        !FITS(n, FIELD_REQUEST_SOCKET) || !FITS(n, FIELD_REQUEST_TIMEOUT_MS) ||
        !FITS(n, FIELD_REQUEST_FLAGS))
        return false;
    memset(ret, 0, sizeof(*ret));
    ret->verb = (uint32_t)n[FIELD_REQUEST_VERB];
    ret->op = n[FIELD_REQUEST_OP];
    ret->socket = (uint32_t)n[FIELD_REQUEST_SOCKET];
    ret->timeout_ms = (uint32_t)n[FIELD_REQUEST_TIMEOUT_MS];
    ret->flags = (uint32_t)n[FIELD_REQUEST_FLAGS];
    return get_arm(&r, ret);
}

static bool get_connected(struct reader *r, struct reply *ret)
{
    uint64_t n[FIELD_CONNECTED_CONNECT_ERROR + 1] = {0};
    struct reader in;

    if (get_message(r, FIELD_REPLY_CONNECTED, &in) <= 0 || r->at != r->end)
        return false;
    if (!get_endpoint(&in, FIELD_CONNECTED_LOCAL, &ret->connected.local) ||
        !get_endpoint(&in, FIELD_CONNECTED_REMOTE, &ret->connected.remote))
        return false;
    in.last = FIELD_CONNECTED_REMOTE; /* be they there or not: they are no numbers */
    if (!get_numbers(&in, n, FIELD_CONNECTED_CONNECT_ERROR) || in.at != in.end)
        return false;
    ret->body = BODY_CONNECTED;
    ret->connected.connect_error = (uint32_t)n[FIELD_CONNECTED_CONNECT_ERROR];
    return FITS(n, FIELD_CONNECTED_CONNECT_ERROR);
}

static bool get_segment(struct reader *r, struct segment *ret)
{
    uint64_t n[FIELD_SEGMENT_LENGTH + 1] = {0};
    struct reader in;
    int got = get_message(r, FIELD_DATAGRAM_SEGMENT, &in);

    if (got <= 0)
        return got == 0;
    if (!get_numbers(&in, n, FIELD_SEGMENT_LENGTH) || in.at != in.end)
        return false;
    *ret = (struct segment){(uint32_t)n[FIELD_SEGMENT_BUFFER], n[FIELD_SEGMENT_OFFSET],
                            n[FIELD_SEGMENT_LENGTH]};
    return FITS(n, FIELD_SEGMENT_BUFFER);
}

static bool get_datagram(struct reader *r, struct reply *ret)
{
    uint64_t n[FIELD_DATAGRAM_SEGMENT_SIZE + 1] = {0};
    struct datagram *datagram = &ret->datagram;
    struct reader in;

    if (get_message(r, FIELD_REPLY_DATAGRAM, &in) <= 0 || r->at != r->end)
        return false;
    if (!get_endpoint(&in, FIELD_DATAGRAM_REMOTE, &datagram->remote) ||
        !get_endpoint(&in, FIELD_DATAGRAM_LOCAL, &datagram->local))
        return false;
    in.last = FIELD_DATAGRAM_LOCAL; /* be they there or not: they are no numbers */
    if (!get_numbers_but(&in, n, FIELD_DATAGRAM_SEGMENT_SIZE, 1u << FIELD_DATAGRAM_SEGMENT) ||
        !get_segment(&in, &datagram->segment) ||
        !get_numbers_but(&in, n, FIELD_DATAGRAM_SEGMENT_SIZE, 1u << FIELD_DATAGRAM_SEGMENT) ||
        in.at != in.end)
        return false;
    ret->body = BODY_DATAGRAM;
    datagram->interface = (uint32_t)n[FIELD_DATAGRAM_INTERFACE];
    datagram->length = (uint32_t)n[FIELD_DATAGRAM_LENGTH];
    datagram->traffic_class = (uint32_t)n[FIELD_DATAGRAM_TRAFFIC_CLASS];
    datagram->dropped = (uint32_t)n[FIELD_DATAGRAM_DROPPED];
    datagram->refused = (uint32_t)n[FIELD_DATAGRAM_REFUSED];
    datagram->segment_size = (uint32_t)n[FIELD_DATAGRAM_SEGMENT_SIZE];
    return FITS(n, FIELD_DATAGRAM_INTERFACE) && FITS(n, FIELD_DATAGRAM_LENGTH) &&
           FITS(n, FIELD_DATAGRAM_TRAFFIC_CLASS) && FITS(n, FIELD_DATAGRAM_DROPPED) &&
           FITS(n, FIELD_DATAGRAM_REFUSED) && FITS(n, FIELD_DATAGRAM_SEGMENT_SIZE);
}

bool asock_codec_plain_get_reply(const uint8_t *head, size_t len, struct reply *ret)
{
    struct reader r = {.at = head, .end = head + len};
    uint64_t n[FIELD_REPLY_DESCRIPTORS + 1] = {0};

    if (!get_numbers(&r, n, FIELD_REPLY_DESCRIPTORS))
        return false;
    if (n[FIELD_REPLY_KIND] != KIND_COMPLETION || !FITS(n, FIELD_REPLY_SOCKET) ||
        !FITS(n, FIELD_REPLY_ERROR) || !FITS(n, FIELD_REPLY_FLAGS) ||
        !FITS(n, FIELD_REPLY_OPS_FREED) || !FITS(n, FIELD_REPLY_DESCRIPTORS))
        return false;
    memset(ret, 0, sizeof(*ret));
    ret->kind = (uint32_t)n[FIELD_REPLY_KIND];
    ret->op = n[FIELD_REPLY_OP];
    ret->socket = (uint32_t)n[FIELD_REPLY_SOCKET];
    ret->error = (uint32_t)n[FIELD_REPLY_ERROR];
    ret->bytes = n[FIELD_REPLY_BYTES];
    ret->flags = (uint32_t)n[FIELD_REPLY_FLAGS];
    ret->send_freed = n[FIELD_REPLY_SEND_FREED];
    ret->ops_freed = (uint32_t)n[FIELD_REPLY_OPS_FREED];
    ret->descriptors = (uint32_t)n[FIELD_REPLY_DESCRIPTORS];
    if (r.at == r.end)
        return true;
    return *r.at == (FIELD_REPLY_DATAGRAM << 3 | WIRE_LENGTH) ? get_datagram(&r, ret)
                                                              : get_connected(&r, ret);
}
