/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proto/codec.h"
#include "proto/codec_message.h"
#include "proto/codec_plain.h"
#include "proto/frame.h"

#include <errno.h>
#include <stdalign.h>
#include <string.h>

/* What may stand behind Reply.body while it is packed. */
struct body {
    union {
        Asock__V1__Connected connected;
        Asock__V1__OptionValue value;
        Asock__V1__Event event;
        Asock__V1__Welcome welcome;
        Asock__V1__Segment segment;
        Asock__V1__Datagram datagram;
    };
    Asock__V1__Segment place; /* of a datagram */
    Asock__V1__Endpoint local, remote;
};

/* Each endpoint that is known, kept in *body. */
static int put_endpoints(const struct endpoint *local, const struct endpoint *remote,
                         struct body *body, Asock__V1__Endpoint **ret_local,
                         Asock__V1__Endpoint **ret_remote)
{
    int has_local = asock_codec_put_endpoint(local, &body->local);
    int has_remote = asock_codec_put_endpoint(remote, &body->remote);

    if (has_local < 0 || has_remote < 0)
        return -EINVAL;
    if (has_local > 0)
        *ret_local = &body->local;
    if (has_remote > 0)
        *ret_remote = &body->remote;
    return 0;
}

static int put_connected(const struct reply *reply, struct body *body, Asock__V1__Reply *head)
{
    Asock__V1__Connected *m = &body->connected;

    asock__v1__connected__init(m);
    head->body_case = ASOCK__V1__REPLY__BODY_CONNECTED;
    head->connected = m;
    m->connect_error = (Asock__V1__Error)reply->connected.connect_error;
    m->socket = reply->connected.socket;
    return put_endpoints(&reply->connected.local, &reply->connected.remote, body, &m->local,
                         &m->remote);
}

static int put_value(const struct reply *reply, struct body *body, Asock__V1__Reply *head)
{
    Asock__V1__OptionValue *m = &body->value;
    int r;

    asock__v1__option_value__init(m);
    head->body_case = ASOCK__V1__REPLY__BODY_VALUE;
    head->value = m;
    m->number = reply->value.number;
    r = asock_codec_put_endpoint(&reply->value.endpoint, &body->local);
    if (r > 0)
        m->endpoint = &body->local;
    return r < 0 ? r : 0;
}

static int put_event(const struct reply *reply, struct body *body, Asock__V1__Reply *head)
{
    asock__v1__event__init(&body->event);
    head->body_case = ASOCK__V1__REPLY__BODY_EVENT;
    head->event = &body->event;
    head->event->code = (Asock__V1__EventCode)reply->event;
    return 0;
}

static int put_welcome(const struct reply *reply, struct body *body, Asock__V1__Reply *head)
{
    Asock__V1__Welcome *m = &body->welcome;

    asock__v1__welcome__init(m);
    head->body_case = ASOCK__V1__REPLY__BODY_WELCOME;
    head->welcome = m;
    m->version = reply->welcome.version;
    m->sockets = reply->welcome.sockets;
    m->ops = reply->welcome.ops;
    m->socket_ops = reply->welcome.socket_ops;
    m->send_window = reply->welcome.send_window;
    m->queued_max = reply->welcome.queued_max;
    m->payload_max = reply->welcome.payload_max;
    m->head_max = reply->welcome.head_max;
    m->buffers = reply->welcome.buffers;
    m->shared_max = reply->welcome.shared_max;
    m->linger_max = reply->welcome.linger_max;
    m->resolutions = reply->welcome.resolutions;
    m->connects_per_second = reply->welcome.connects_per_second;
    m->kernel_buffers = reply->welcome.kernel_buffers;
    m->verbs = reply->welcome.verbs;
    m->most_sockets = reply->welcome.most_sockets;
    m->most_ops = reply->welcome.most_ops;
    m->most_socket_ops = reply->welcome.most_socket_ops;
    m->most_send_window = reply->welcome.most_send_window;
    m->most_queued = reply->welcome.most_queued;
    m->lends = reply->welcome.lends;
    m->send_fields = reply->welcome.send_fields;
    return 0;
}

static void fill_segment(const struct segment *segment, Asock__V1__Segment *m)
{
    asock__v1__segment__init(m);
    m->buffer = segment->buffer;
    m->offset = segment->offset;
    m->length = segment->length;
}

static int put_segment(const struct reply *reply, struct body *body, Asock__V1__Reply *head)
{
    fill_segment(&reply->segment, &body->segment);
    head->body_case = ASOCK__V1__REPLY__BODY_SEGMENT;
    head->segment = &body->segment;
    return 0;
}

static int put_datagram(const struct reply *reply, struct body *body, Asock__V1__Reply *head)
{
    const struct datagram *datagram = &reply->datagram;
    Asock__V1__Datagram *m = &body->datagram;
    int r;

    asock__v1__datagram__init(m);
    head->body_case = ASOCK__V1__REPLY__BODY_DATAGRAM;
    head->datagram = m;
    m->interface = datagram->interface;
    m->length = datagram->length;
    m->traffic_class = datagram->traffic_class;
    m->dropped = datagram->dropped;
    m->refused = datagram->refused;
    m->segment_size = datagram->segment_size;
    r = put_endpoints(&datagram->local, &datagram->remote, body, &m->local, &m->remote);
    if (r < 0)
        return r;
    if (datagram->segment.buffer == 0 && datagram->segment.offset == 0 &&
        datagram->segment.length == 0)
        return 0;
    fill_segment(&datagram->segment, &body->place);
    m->segment = &body->place;
    return 0;
}

static int put_body(const struct reply *reply, struct body *body, Asock__V1__Reply *head)
{
    switch (reply->body) {
    case BODY_NONE:
        return 0;
    case BODY_CONNECTED:
        return put_connected(reply, body, head);
    case BODY_VALUE:
        return put_value(reply, body, head);
    case BODY_EVENT:
        return put_event(reply, body, head);
    case BODY_WELCOME:
        return put_welcome(reply, body, head);
    case BODY_SEGMENT:
        return put_segment(reply, body, head);
    case BODY_DATAGRAM:
        return put_datagram(reply, body, head);
    }
    return -EINVAL;
}

long asock_codec_encode_reply(const struct reply *reply, uint32_t payload_len, uint8_t *out,
                              size_t cap)
{
    size_t len = 0;

    if (cap >= FRAME_PREFIX + PLAIN_MAX && reply->kind != 0)
        len = asock_codec_plain_put_reply(reply, out + FRAME_PREFIX);
    if (len == 0)
        return asock_codec_encode_reply_by_schema(reply, payload_len, out, cap);
    asock_frame_prefix(out, (uint32_t)len, payload_len);
    return (long)(FRAME_PREFIX + len);
}

long asock_codec_encode_reply_by_schema(const struct reply *reply, uint32_t payload_len,
                                        uint8_t *out, size_t cap)
{
    Asock__V1__Reply head = ASOCK__V1__REPLY__INIT;
    struct body body;
    int r;

    if (reply->kind == 0)
        return -EINVAL;
    head.kind = (Asock__V1__Kind)reply->kind;
    head.op = reply->op;
    head.socket = reply->socket;
    head.error = (Asock__V1__Error)reply->error;
    head.bytes = reply->bytes;
    head.flags = reply->flags;
    head.send_freed = reply->send_freed;
    head.ops_freed = reply->ops_freed;
    head.descriptors = reply->descriptors;
    r = put_body(reply, &body, &head);
    if (r < 0)
        return r;
    return asock_codec_pack(&head.base, CODEC_REPLY_MAX, payload_len, out, cap);
}

static void get_welcome(const Asock__V1__Welcome *m, struct reply *ret)
{
    ret->body = BODY_WELCOME;
    ret->welcome.version = m->version;
    ret->welcome.sockets = m->sockets;
    ret->welcome.ops = m->ops;
    ret->welcome.socket_ops = m->socket_ops;
    ret->welcome.send_window = m->send_window;
    ret->welcome.queued_max = m->queued_max;
    ret->welcome.payload_max = m->payload_max;
    ret->welcome.head_max = m->head_max;
    ret->welcome.buffers = m->buffers;
    ret->welcome.shared_max = m->shared_max;
    ret->welcome.linger_max = m->linger_max;
    ret->welcome.resolutions = m->resolutions;
    ret->welcome.connects_per_second = m->connects_per_second;
    ret->welcome.kernel_buffers = m->kernel_buffers;
    ret->welcome.verbs = m->verbs;
    ret->welcome.most_sockets = m->most_sockets;
    ret->welcome.most_ops = m->most_ops;
    ret->welcome.most_socket_ops = m->most_socket_ops;
    ret->welcome.most_send_window = m->most_send_window;
    ret->welcome.most_queued = m->most_queued;
    ret->welcome.lends = m->lends;
    ret->welcome.send_fields = m->send_fields;
}

static struct segment get_segment(const Asock__V1__Segment *m)
{
    return (struct segment){m->buffer, m->offset, m->length};
}

static void get_datagram(const Asock__V1__Datagram *m, struct datagram *ret)
{
    asock_codec_get_endpoint(m->remote, &ret->remote);
    asock_codec_get_endpoint(m->local, &ret->local);
    ret->interface = m->interface;
    ret->length = m->length;
    ret->traffic_class = m->traffic_class;
    ret->dropped = m->dropped;
    ret->refused = m->refused;
    ret->segment_size = m->segment_size;
    if (m->segment)
        ret->segment = get_segment(m->segment);
}

static void get_body(const Asock__V1__Reply *head, struct reply *ret)
{
    switch (head->body_case) {
    case ASOCK__V1__REPLY__BODY_CONNECTED:
        ret->body = BODY_CONNECTED;
        asock_codec_get_endpoint(head->connected->local, &ret->connected.local);
        asock_codec_get_endpoint(head->connected->remote, &ret->connected.remote);
        ret->connected.connect_error = (uint32_t)head->connected->connect_error;
        ret->connected.socket = head->connected->socket;
        break;
    case ASOCK__V1__REPLY__BODY_VALUE:
        ret->body = BODY_VALUE;
        ret->value.is_set = true;
        ret->value.number = head->value->number;
        asock_codec_get_endpoint(head->value->endpoint, &ret->value.endpoint);
        break;
    case ASOCK__V1__REPLY__BODY_EVENT:
        ret->body = BODY_EVENT;
        ret->event = (uint32_t)head->event->code;
        break;
    case ASOCK__V1__REPLY__BODY_WELCOME:
        get_welcome(head->welcome, ret);
        break;
    case ASOCK__V1__REPLY__BODY_SEGMENT:
        ret->body = BODY_SEGMENT;
        ret->segment = get_segment(head->segment);
        break;
    case ASOCK__V1__REPLY__BODY_DATAGRAM:
        ret->body = BODY_DATAGRAM;
        get_datagram(head->datagram, &ret->datagram);
        break;
    default:
        break;
    }
}

/* Of the kinds this side knows; BODY_NONE and an unknown kind fit everything.
 */
static bool body_fits(const struct reply *reply)
{
    switch (reply->kind) {
    case KIND_WELCOME:
        return reply->body == BODY_WELCOME;
    case KIND_EVENT:
        return reply->body == BODY_EVENT;
    case KIND_COMPLETION:
        return reply->body != BODY_WELCOME && reply->body != BODY_EVENT;
    default:
        return true;
    }
}

int asock_codec_decode_reply(const uint8_t *head, size_t len, struct reply *ret,
                             const char **ret_why)
{
    if (asock_codec_plain_get_reply(head, len, ret))
        return 0;
    return asock_codec_decode_reply_by_schema(head, len, ret, ret_why);
}

int asock_codec_decode_reply_by_schema(const uint8_t *head, size_t len, struct reply *ret,
                                       const char **ret_why)
{
    alignas(max_align_t) uint8_t memory[ARENA_SIZE];
    struct arena arena;
    const Asock__V1__Reply *m;

    asock_arena_init(&arena, memory, sizeof(memory));
    m = asock_codec_unpack(&asock__v1__reply__descriptor, &arena, head, len, ret_why);
    if (!m)
        return -EPROTO;
    memset(ret, 0, sizeof(*ret));
    ret->kind = (uint32_t)m->kind;
    ret->op = m->op;
    ret->socket = m->socket;
    ret->error = (uint32_t)m->error;
    ret->bytes = m->bytes;
    ret->flags = m->flags;
    ret->send_freed = m->send_freed;
    ret->ops_freed = m->ops_freed;
    ret->descriptors = m->descriptors;
    get_body(m, ret);
    if (ret->kind == 0 || !body_fits(ret)) {
        *ret_why = ret->kind == 0 ? "the reply has no kind"
                                  : "the reply's body does not match its kind";
        return -EPROTO;
    }
    return 0;
}
