/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proto/codec_plain.h"

#include <stdalign.h>
#include <string.h>

#include "proto/codec.h"
#include "proto/codec_wire.h"
#include "proto/fields.h" /* FIELD_MESSAGE_NAME and its _MAX: made from asock.proto */

/*
 * The arms that go the short way. last: the last of their fields that are numbers, if these stand
 * in front of all others; segments: the field of a list that may follow.
 */
static const struct {
    uint8_t arm, last, segments;
} arms[] = {
    [VERB_OPEN] = {FIELD_REQUEST_OPEN, FIELD_OPEN_TYPE, 0},
    [VERB_CONNECT] = {FIELD_REQUEST_CONNECT, 0, 0},
    [VERB_SEND] = {FIELD_REQUEST_SEND, 0, FIELD_SEND_SEGMENTS},
    [VERB_RECEIVE] = {FIELD_REQUEST_RECEIVE, FIELD_RECEIVE_FLAGS, FIELD_RECEIVE_SEGMENTS},
    [VERB_SHUTDOWN] = {FIELD_REQUEST_SHUTDOWN, FIELD_SHUTDOWN_HOW, 0},
    [VERB_CLOSE] = {FIELD_REQUEST_CLOSE, FIELD_CLOSE_ABORT, 0},
    [VERB_CREDIT] = {FIELD_REQUEST_CREDIT, FIELD_CREDIT_TARGET, FIELD_CREDIT_SEGMENTS},
};

/* Room for the numbers of any arm, by field. */
#define ARM_NUMBERS 4u
_Static_assert(FIELD_OPEN_TYPE < ARM_NUMBERS && FIELD_RECEIVE_FLAGS < ARM_NUMBERS &&
                   FIELD_SHUTDOWN_HOW < ARM_NUMBERS && FIELD_CLOSE_ABORT < ARM_NUMBERS &&
                   FIELD_CREDIT_TARGET < ARM_NUMBERS,
               "an arm of asock.proto has more numbers than the short way knows");

static uint32_t segment_count(const struct request *request)
{
    switch (request->verb) {
    case VERB_SEND:
        return request->send.segments.count;
    case VERB_RECEIVE:
        return request->receive.segments.count;
    case VERB_CREDIT:
        return request->credit.segments.count;
    default:
        return 0;
    }
}

static bool has_short_way(const struct request *request)
{
    switch (request->verb) {
    case VERB_OPEN:
        return request->open.family <= FIELD_OPEN_FAMILY_MAX &&
               request->open.type <= FIELD_OPEN_TYPE_MAX;
    case VERB_CONNECT:
        return !request->connect.host && !request->connect.service && !request->connect.lend &&
               request->connect.others.count == 0 &&
               asock_wire_is_sound(&request->connect.endpoint);
    case VERB_SEND:
        return asock_wire_is_sound(&request->send.endpoint) &&
               asock_wire_is_sound(&request->send.source);
    case VERB_RECEIVE:
    case VERB_CLOSE:
    case VERB_CREDIT:
        return true;
    case VERB_SHUTDOWN:
        return request->shutdown.how <= FIELD_SHUTDOWN_HOW_MAX;
    default:
        return false;
    }
}

static uint8_t *put_segments(uint8_t *at, unsigned int number, const struct segments *segments)
{
    for (uint32_t i = 0; i < segments->count; i++)
        at = asock_wire_put_segment(at, number, &segments->at[i]);
    return at;
}

static uint8_t *put_arm(uint8_t *at, const struct request *request)
{
    switch (request->verb) {
    case VERB_OPEN:
        at = asock_wire_put(at, FIELD_OPEN_FAMILY, request->open.family);
        return asock_wire_put(at, FIELD_OPEN_TYPE, request->open.type);
    case VERB_CONNECT:
        return asock_wire_put_endpoint(at, FIELD_CONNECT_ENDPOINT, &request->connect.endpoint);
    case VERB_SEND:
        at = asock_wire_put(at, FIELD_SEND_TOTAL_LEN, request->send.total_len);
        at = asock_wire_put(at, FIELD_SEND_MORE, request->send.more);
        at = asock_wire_put(at, FIELD_SEND_ABANDON, request->send.abandon);
        at = put_segments(at, FIELD_SEND_SEGMENTS, &request->send.segments);
        at = asock_wire_put_endpoint(at, FIELD_SEND_ENDPOINT, &request->send.endpoint);
        at = asock_wire_put(at, FIELD_SEND_ECN, request->send.ecn);
        at = asock_wire_put_endpoint(at, FIELD_SEND_SOURCE, &request->send.source);
        return asock_wire_put(at, FIELD_SEND_SEGMENT_SIZE, request->send.segment_size);
    case VERB_RECEIVE:
        at = asock_wire_put(at, FIELD_RECEIVE_LENGTH, request->receive.length);
        at = asock_wire_put(at, FIELD_RECEIVE_FLAGS, request->receive.flags);
        return put_segments(at, FIELD_RECEIVE_SEGMENTS, &request->receive.segments);
    case VERB_SHUTDOWN:
        return asock_wire_put(at, FIELD_SHUTDOWN_HOW, request->shutdown.how);
    case VERB_CREDIT:
        at = asock_wire_put(at, FIELD_CREDIT_TARGET, request->credit.target);
        return put_segments(at, FIELD_CREDIT_SEGMENTS, &request->credit.segments);
    default:
        at = asock_wire_put(at, FIELD_CLOSE_LINGER_MS, request->close.linger_ms);
        return asock_wire_put(at, FIELD_CLOSE_ABORT, request->close.abort);
    }
}

size_t asock_codec_plain_put_request(const struct request *request, uint8_t *out, size_t room)
{
    uint8_t *at = out, *begin;
    uint32_t count = segment_count(request);

    if (!has_short_way(request) || count > CODEC_SEGMENTS_MAX ||
        room < PLAIN_MAX + count * WIRE_SEGMENT_MAX)
        return 0;
    at = asock_wire_put(at, FIELD_REQUEST_VERB, request->verb);
    at = asock_wire_put(at, FIELD_REQUEST_OP, request->op);
    at = asock_wire_put(at, FIELD_REQUEST_SOCKET, request->socket);
    at = asock_wire_put(at, FIELD_REQUEST_TIMEOUT_MS, request->timeout_ms);
    at = asock_wire_put(at, FIELD_REQUEST_FLAGS, request->flags);
    begin = asock_wire_begin(at, arms[request->verb].arm);
    return (size_t)(asock_wire_end(begin, put_arm(begin, request)) - out);
}

static bool get_connect(struct wire_reader *r, struct request *ret)
{
    return asock_wire_get_endpoint(r, FIELD_CONNECT_ENDPOINT, &ret->connect.endpoint) &&
           r->at == r->end;
}

/* False: one of them is not of the usual form, or there are too many. */
static bool get_segments(struct wire_reader *r, unsigned int number, char *scratch,
                         struct segments *ret)
{
    struct segment *to = (void *)(scratch + -(uintptr_t)scratch % alignof(struct segment));
    uint32_t count = 0;
    int got;

    while (count < CODEC_SEGMENTS_MAX &&
           (got = asock_wire_get_segment(r, number, &to[count])) != 0) {
        if (got < 0)
            return false;
        count++;
    }
    ret->at = count > 0 ? to : NULL;
    ret->count = count;
    return true;
}

#define SEND_NOT_NUMBERS                                                                           \
    (1u << FIELD_SEND_SEGMENTS | 1u << FIELD_SEND_ENDPOINT | 1u << FIELD_SEND_SOURCE)

static bool get_send_numbers(struct wire_reader *r, uint64_t *n)
{
    return asock_wire_numbers_but(r, n, FIELD_SEND_SEGMENT_SIZE, SEND_NOT_NUMBERS);
}

/* Behind the first numbers: what is sent by reference, the two endpoints of a datagram, numbers. */
static bool get_send_rest(struct wire_reader *r, uint64_t *n, char *scratch, struct request *ret)
{
    return get_segments(r, FIELD_SEND_SEGMENTS, scratch, &ret->send.segments) &&
           get_send_numbers(r, n) &&
           asock_wire_get_endpoint(r, FIELD_SEND_ENDPOINT, &ret->send.endpoint) &&
           get_send_numbers(r, n) &&
           asock_wire_get_endpoint(r, FIELD_SEND_SOURCE, &ret->send.source) &&
           get_send_numbers(r, n) && r->at == r->end;
}

static bool get_send(struct wire_reader *r, char *scratch, struct request *ret)
{
    uint64_t n[FIELD_SEND_SEGMENT_SIZE + 1] = {0};

    if (!get_send_numbers(r, n) || (r->at < r->end && !get_send_rest(r, n, scratch, ret)))
        return false;
    ret->send.total_len = n[FIELD_SEND_TOTAL_LEN];
    ret->send.more = n[FIELD_SEND_MORE] == 1;
    ret->send.abandon = n[FIELD_SEND_ABANDON] == 1;
    ret->send.ecn = (uint32_t)n[FIELD_SEND_ECN];
    ret->send.segment_size = (uint32_t)n[FIELD_SEND_SEGMENT_SIZE];
    return WIRE_FITS(n, FIELD_SEND_MORE) && WIRE_FITS(n, FIELD_SEND_ABANDON) &&
           WIRE_FITS(n, FIELD_SEND_ECN) && WIRE_FITS(n, FIELD_SEND_SEGMENT_SIZE);
}

/* The numbers, and the segments, of any other arm. */
static bool set_arm(const uint64_t *n, const struct segments *segments, struct request *ret)
{
    switch (ret->verb) {
    case VERB_OPEN:
        ret->open.family = (uint32_t)n[FIELD_OPEN_FAMILY];
        ret->open.type = (uint32_t)n[FIELD_OPEN_TYPE];
        return WIRE_FITS(n, FIELD_OPEN_FAMILY) && WIRE_FITS(n, FIELD_OPEN_TYPE);
    case VERB_RECEIVE:
        ret->receive.length = n[FIELD_RECEIVE_LENGTH];
        ret->receive.flags = (uint32_t)n[FIELD_RECEIVE_FLAGS];
        ret->receive.segments = *segments;
        return WIRE_FITS(n, FIELD_RECEIVE_FLAGS);
    case VERB_SHUTDOWN:
        ret->shutdown.how = (uint32_t)n[FIELD_SHUTDOWN_HOW];
        return WIRE_FITS(n, FIELD_SHUTDOWN_HOW);
    case VERB_CREDIT:
        ret->credit.target = n[FIELD_CREDIT_TARGET];
        ret->credit.segments = *segments;
        return true;
    default:
        ret->close.linger_ms = (uint32_t)n[FIELD_CLOSE_LINGER_MS];
        ret->close.abort = n[FIELD_CLOSE_ABORT] == 1;
        return WIRE_FITS(n, FIELD_CLOSE_LINGER_MS) && WIRE_FITS(n, FIELD_CLOSE_ABORT);
    }
}

static bool get_arm(struct wire_reader *r, char *scratch, struct request *ret)
{
    uint64_t n[ARM_NUMBERS] = {0};
    struct segments segments = {0};
    struct wire_reader in;

    if (ret->verb >= sizeof(arms) / sizeof(arms[0]) || arms[ret->verb].arm == 0 ||
        asock_wire_message(r, arms[ret->verb].arm, &in) <= 0 || r->at != r->end)
        return false;
    if (ret->verb == VERB_CONNECT)
        return get_connect(&in, ret);
    if (ret->verb == VERB_SEND)
        return get_send(&in, scratch, ret);
    /* A number where the schema has none is not for this way, be it zero. */
    if (!asock_wire_numbers(&in, n, arms[ret->verb].last))
        return false;
    if (arms[ret->verb].segments > 0 &&
        !get_segments(&in, arms[ret->verb].segments, scratch, &segments))
        return false;
    return in.at == in.end && set_arm(n, &segments, ret);
}

bool asock_codec_plain_get_request(const uint8_t *head, size_t len, char *scratch,
                                   struct request *ret)
{
    struct wire_reader r = {.at = head, .end = head + len};
    uint64_t n[FIELD_REQUEST_FLAGS + 1] = {0};

    if (!asock_wire_numbers(&r, n, FIELD_REQUEST_FLAGS) || r.at >= r.end)
        return false;
    if (!WIRE_FITS(n, FIELD_REQUEST_VERB) || n[FIELD_REQUEST_OP] == 0 ||
        !WIRE_FITS(n, FIELD_REQUEST_SOCKET) || !WIRE_FITS(n, FIELD_REQUEST_TIMEOUT_MS) ||
        !WIRE_FITS(n, FIELD_REQUEST_FLAGS))
        return false;
    memset(ret, 0, sizeof(*ret));
    ret->verb = (uint32_t)n[FIELD_REQUEST_VERB];
    ret->op = n[FIELD_REQUEST_OP];
    ret->socket = (uint32_t)n[FIELD_REQUEST_SOCKET];
    ret->timeout_ms = (uint32_t)n[FIELD_REQUEST_TIMEOUT_MS];
    ret->flags = (uint32_t)n[FIELD_REQUEST_FLAGS];
    return get_arm(&r, scratch, ret);
}
