/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proto/codec_plain.h"

#include <string.h>

#include "proto/codec.h"
#include "proto/codec_wire.h"
#include "proto/fields.h" /* FIELD_MESSAGE_NAME and its _MAX: made from asock.proto */

_Static_assert(FIELD_REPLY_CONNECTED < 16 && FIELD_REPLY_SEGMENT < 16 && FIELD_REPLY_DATAGRAM < 16,
               "a body's key takes one byte");

static uint8_t *put_connected(uint8_t *out, const struct reply *reply)
{
    uint8_t *begin = asock_wire_begin(out, FIELD_REPLY_CONNECTED), *at = begin;

    at = asock_wire_put_endpoint(at, FIELD_CONNECTED_LOCAL, &reply->connected.local);
    at = asock_wire_put_endpoint(at, FIELD_CONNECTED_REMOTE, &reply->connected.remote);
    at = asock_wire_put(at, FIELD_CONNECTED_CONNECT_ERROR, reply->connected.connect_error);
    return asock_wire_end(begin, at);
}

static uint8_t *put_datagram(uint8_t *out, const struct datagram *datagram)
{
    const struct segment *segment = &datagram->segment;
    uint8_t *begin = asock_wire_begin(out, FIELD_REPLY_DATAGRAM), *at = begin;

    at = asock_wire_put_endpoint(at, FIELD_DATAGRAM_REMOTE, &datagram->remote);
    at = asock_wire_put_endpoint(at, FIELD_DATAGRAM_LOCAL, &datagram->local);
    at = asock_wire_put(at, FIELD_DATAGRAM_INTERFACE, datagram->interface);
    at = asock_wire_put(at, FIELD_DATAGRAM_LENGTH, datagram->length);
    at = asock_wire_put(at, FIELD_DATAGRAM_TRAFFIC_CLASS, datagram->traffic_class);
    at = asock_wire_put(at, FIELD_DATAGRAM_DROPPED, datagram->dropped);
    at = asock_wire_put(at, FIELD_DATAGRAM_REFUSED, datagram->refused);
    if (segment->buffer != 0 || segment->offset != 0 || segment->length != 0)
        at = asock_wire_put_segment(at, FIELD_DATAGRAM_SEGMENT, segment);
    at = asock_wire_put(at, FIELD_DATAGRAM_SEGMENT_SIZE, datagram->segment_size);
    return asock_wire_end(begin, at);
}

static bool body_has_short_way(const struct reply *reply)
{
    if (reply->body == BODY_DATAGRAM)
        return asock_wire_is_sound(&reply->datagram.local) &&
               asock_wire_is_sound(&reply->datagram.remote);
    if (reply->body != BODY_CONNECTED)
        return reply->body == BODY_NONE || reply->body == BODY_SEGMENT;
    return reply->connected.socket == 0 && asock_wire_is_sound(&reply->connected.local) &&
           asock_wire_is_sound(&reply->connected.remote) &&
           reply->connected.connect_error <= FIELD_CONNECTED_CONNECT_ERROR_MAX;
}

size_t asock_codec_plain_put_reply(const struct reply *reply, uint8_t *out)
{
    uint8_t *at = out;

    if (!body_has_short_way(reply) || reply->kind > FIELD_REPLY_KIND_MAX ||
        reply->error > FIELD_REPLY_ERROR_MAX)
        return 0;
    at = asock_wire_put(at, FIELD_REPLY_KIND, reply->kind);
    at = asock_wire_put(at, FIELD_REPLY_OP, reply->op);
    at = asock_wire_put(at, FIELD_REPLY_SOCKET, reply->socket);
    at = asock_wire_put(at, FIELD_REPLY_ERROR, reply->error);
    at = asock_wire_put(at, FIELD_REPLY_BYTES, reply->bytes);
    at = asock_wire_put(at, FIELD_REPLY_FLAGS, reply->flags);
    at = asock_wire_put(at, FIELD_REPLY_SEND_FREED, reply->send_freed);
    at = asock_wire_put(at, FIELD_REPLY_OPS_FREED, reply->ops_freed);
    at = asock_wire_put(at, FIELD_REPLY_DESCRIPTORS, reply->descriptors);
    if (reply->body == BODY_CONNECTED)
        at = put_connected(at, reply);
    if (reply->body == BODY_DATAGRAM)
        at = put_datagram(at, &reply->datagram);
    if (reply->body == BODY_SEGMENT)
        at = asock_wire_put_segment(at, FIELD_REPLY_SEGMENT, &reply->segment);
    return (size_t)(at - out);
}

static bool get_connected(struct wire_reader *r, struct reply *ret)
{
    uint64_t n[FIELD_CONNECTED_CONNECT_ERROR + 1] = {0};
    struct wire_reader in;

    if (asock_wire_message(r, FIELD_REPLY_CONNECTED, &in) <= 0 || r->at != r->end)
        return false;
    if (!asock_wire_get_endpoint(&in, FIELD_CONNECTED_LOCAL, &ret->connected.local) ||
        !asock_wire_get_endpoint(&in, FIELD_CONNECTED_REMOTE, &ret->connected.remote))
        return false;
    in.last = FIELD_CONNECTED_REMOTE; /* be they there or not: they are no numbers */
    if (!asock_wire_numbers(&in, n, FIELD_CONNECTED_CONNECT_ERROR) || in.at != in.end)
        return false;
    ret->body = BODY_CONNECTED;
    ret->connected.connect_error = (uint32_t)n[FIELD_CONNECTED_CONNECT_ERROR];
    return WIRE_FITS(n, FIELD_CONNECTED_CONNECT_ERROR);
}

static bool get_datagram(struct wire_reader *r, struct reply *ret)
{
    uint64_t n[FIELD_DATAGRAM_SEGMENT_SIZE + 1] = {0};
    struct datagram *datagram = &ret->datagram;
    struct wire_reader in;

    if (asock_wire_message(r, FIELD_REPLY_DATAGRAM, &in) <= 0 || r->at != r->end)
        return false;
    if (!asock_wire_get_endpoint(&in, FIELD_DATAGRAM_REMOTE, &datagram->remote) ||
        !asock_wire_get_endpoint(&in, FIELD_DATAGRAM_LOCAL, &datagram->local))
        return false;
    in.last = FIELD_DATAGRAM_LOCAL; /* be they there or not: they are no numbers */
    if (!asock_wire_numbers_but(&in, n, FIELD_DATAGRAM_SEGMENT_SIZE,
                                1u << FIELD_DATAGRAM_SEGMENT) ||
        asock_wire_get_segment(&in, FIELD_DATAGRAM_SEGMENT, &datagram->segment) < 0 ||
        !asock_wire_numbers_but(&in, n, FIELD_DATAGRAM_SEGMENT_SIZE,
                                1u << FIELD_DATAGRAM_SEGMENT) ||
        in.at != in.end)
        return false;
    ret->body = BODY_DATAGRAM;
    datagram->interface = (uint32_t)n[FIELD_DATAGRAM_INTERFACE];
    datagram->length = (uint32_t)n[FIELD_DATAGRAM_LENGTH];
    datagram->traffic_class = (uint32_t)n[FIELD_DATAGRAM_TRAFFIC_CLASS];
    datagram->dropped = (uint32_t)n[FIELD_DATAGRAM_DROPPED];
    datagram->refused = (uint32_t)n[FIELD_DATAGRAM_REFUSED];
    datagram->segment_size = (uint32_t)n[FIELD_DATAGRAM_SEGMENT_SIZE];
    return WIRE_FITS(n, FIELD_DATAGRAM_INTERFACE) && WIRE_FITS(n, FIELD_DATAGRAM_LENGTH) &&
           WIRE_FITS(n, FIELD_DATAGRAM_TRAFFIC_CLASS) && WIRE_FITS(n, FIELD_DATAGRAM_DROPPED) &&
           WIRE_FITS(n, FIELD_DATAGRAM_REFUSED) && WIRE_FITS(n, FIELD_DATAGRAM_SEGMENT_SIZE);
}

static bool get_body(struct wire_reader *r, struct reply *ret)
{
    switch (*r->at >> 3) {
    case FIELD_REPLY_CONNECTED:
        return get_connected(r, ret);
    case FIELD_REPLY_SEGMENT:
        ret->body = BODY_SEGMENT;
        return asock_wire_get_segment(r, FIELD_REPLY_SEGMENT, &ret->segment) > 0 && r->at == r->end;
    case FIELD_REPLY_DATAGRAM:
        return get_datagram(r, ret);
    default:
        return false;
    }
}

bool asock_codec_plain_get_reply(const uint8_t *head, size_t len, struct reply *ret)
{
    struct wire_reader r = {.at = head, .end = head + len};
    uint64_t n[FIELD_REPLY_DESCRIPTORS + 1] = {0};

    if (!asock_wire_numbers(&r, n, FIELD_REPLY_DESCRIPTORS))
        return false;
    if (n[FIELD_REPLY_KIND] != KIND_COMPLETION || !WIRE_FITS(n, FIELD_REPLY_SOCKET) ||
        !WIRE_FITS(n, FIELD_REPLY_ERROR) || !WIRE_FITS(n, FIELD_REPLY_FLAGS) ||
        !WIRE_FITS(n, FIELD_REPLY_OPS_FREED) || !WIRE_FITS(n, FIELD_REPLY_DESCRIPTORS))
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
    return r.at == r.end || get_body(&r, ret);
}
