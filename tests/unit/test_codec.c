/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proto/frame.h"
#include "tests/lib/suite.h"
#include "tests/unit/test_codec.h"

#include <stdio.h>

/* Every verb, every field, there and back; and what the sizes of codec.h promise. */

#define NAME_64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789\xc3\xa9\xc3\xa9\xc3\xa9"

static const uint32_t verbs[] = {
    VERB_HELLO,   VERB_OPEN,     VERB_CONNECT,    VERB_SEND,       VERB_RECEIVE, VERB_SHUTDOWN,
    VERB_CLOSE,   VERB_CANCEL,   VERB_SET_OPTION, VERB_GET_OPTION, VERB_SYNC,    VERB_LIST,
    VERB_SHOW,    VERB_RESTRICT, VERB_STATS,      VERB_KILL,       VERB_RELOAD,  VERB_JUDGE,
    VERB_LEARNED, VERB_REGISTER, VERB_UNREGISTER, VERB_CREDIT,     VERB_RESOLVE, VERB_HANGUP,
    VERB_SHARE,   VERB_SESSIONS, VERB_DENIALS,    VERB_BIND,       VERB_MONITOR, VERB_LISTEN,
    VERB_ACCEPT,  VERB_LISTENER, VERB_TAKE_OVER,
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

static char host_253[CODEC_HOST_MAX + 1], service_32[CODEC_SERVICE_MAX + 1];

static void fill_endpoint(struct endpoint *ret)
{
    memset(ret->address, 0xff, sizeof(ret->address));
    ret->address_len = 16;
    ret->port = UINT16_MAX;
    ret->scope_id = UINT32_MAX;
}

static void fill_strings(void)
{
    memset(host_253, 'h', CODEC_HOST_MAX);
    memset(service_32, 's', CODEC_SERVICE_MAX);
}

static void fill_hello(struct request *ret)
{
    ret->hello.version = UINT32_MAX;
    ret->hello.sockets = UINT32_MAX;
    ret->hello.ops = UINT32_MAX;
    ret->hello.send_window = UINT64_MAX;
    ret->hello.queued_max = UINT64_MAX;
    ret->hello.name = NAME_64;
}

static void fill_option(struct request *ret)
{
    ret->option.option = UINT32_MAX;
    if (ret->verb == VERB_GET_OPTION)
        return;
    ret->option.value.is_set = true;
    ret->option.value.number = INT64_MIN;
    fill_endpoint(&ret->option.value.endpoint);
}

static void fill_segments(struct segments *ret)
{
    static struct segment segments[CODEC_SEGMENTS_MAX];

    for (size_t i = 0; i < CODEC_SEGMENTS_MAX; i++)
        segments[i] = (struct segment){UINT32_MAX, UINT64_MAX - i, UINT64_MAX};
    ret->at = segments;
    ret->count = CODEC_SEGMENTS_MAX;
}

static void fill_send(struct request *ret)
{
    fill_endpoint(&ret->send.endpoint);
    fill_endpoint(&ret->send.source);
    ret->send.ecn = ret->send.segment_size = UINT32_MAX;
    ret->send.total_len = UINT64_MAX, ret->send.more = ret->send.abandon = true;
}

static void fill_endpoints(struct endpoints *ret)
{
    static struct endpoint endpoints[CODEC_OTHERS_MAX];

    for (size_t i = 0; i < CODEC_OTHERS_MAX; i++) {
        fill_endpoint(&endpoints[i]);
        endpoints[i].address[15] = (uint8_t)i;
    }
    *ret = (struct endpoints){endpoints, CODEC_OTHERS_MAX};
}

static void fill_connect(struct request *ret)
{
    fill_endpoint(&ret->connect.endpoint);
    fill_endpoints(&ret->connect.others);
    ret->connect.host = host_253, ret->connect.service = service_32;
}

static void fill_arm(struct request *ret)
{
    struct segments *segments = request_segments(ret);

    if (segments)
        fill_segments(segments);
    switch (ret->verb) {
    case VERB_HELLO:
        fill_hello(ret);
        break;
    case VERB_OPEN:
        ret->open.family = ret->open.type = UINT32_MAX;
        break;
    case VERB_CONNECT:
        fill_connect(ret);
        break;
    case VERB_SEND:
        fill_send(ret);
        break;
    case VERB_RECEIVE:
        ret->receive.length = UINT64_MAX, ret->receive.flags = UINT32_MAX;
        break;
    case VERB_SHUTDOWN:
        ret->shutdown.how = UINT32_MAX;
        break;
    case VERB_CLOSE:
        ret->close.linger_ms = UINT32_MAX, ret->close.abort = true;
        break;
    case VERB_CANCEL:
        ret->cancel.target = UINT64_MAX;
        break;
    case VERB_CREDIT:
        ret->credit.target = UINT64_MAX;
        break;
    case VERB_SET_OPTION:
    case VERB_GET_OPTION:
        fill_option(ret);
        break;
    case VERB_SHOW:
    case VERB_KILL:
        ret->show.id = UINT64_MAX;
        break;
    case VERB_REGISTER:
        ret->reg.length = UINT64_MAX, ret->reg.status = true;
        break;
    case VERB_UNREGISTER:
        ret->unregister.buffer = UINT32_MAX;
        break;
    case VERB_RELOAD:
        ret->reload.close = true;
        break;
    case VERB_TAKE_OVER:
        ret->take_over.format = UINT32_MAX;
        break;
    default:
        break;
    }
}

/* Every field at its maximum. */
static void fill_request(uint32_t verb, struct request *ret)
{
    fill_strings();
    memset(ret, 0, sizeof(*ret));
    ret->verb = verb;
    ret->socket = UINT32_MAX;
    ret->op = UINT64_MAX;
    ret->timeout_ms = UINT32_MAX;
    ret->flags = UINT32_MAX;
    fill_arm(ret);
    if (verb == VERB_STATS)
        ret->stats.metrics = true;
    if (verb == VERB_BIND)
        fill_endpoint(&ret->bind.endpoint);
    if (verb == VERB_LISTENER)
        ret->listener.name = NAME_64, ret->listener.remove = true;
    if (verb == VERB_LISTEN)
        ret->listen.backlog = UINT32_MAX;
    if (verb == VERB_ACCEPT)
        ret->accept.first = ret->accept.count = UINT32_MAX;
    if (verb == VERB_RESOLVE) {
        ret->resolve.host = host_253;
        ret->resolve.family = UINT32_MAX;
    }
}

static void same_string(const char *a, const char **b)
{
    if (!a || !*b) {
        ck_assert_ptr_eq(a, *b);
        return;
    }
    ck_assert_str_eq(a, *b);
    *b = a;
}

/*
 * Both were zeroed as a whole, so they may be compared as a whole once the strings and segments
 * are.
 */
static void same_request(struct request *a, struct request *b)
{
    struct segments *segments = request_segments(a);

    if (segments) {
        ck_assert(segments_are_same(segments, request_segments(b)));
        segments->at = request_segments(b)->at;
    }
    if (a->verb == VERB_HELLO)
        same_string(a->hello.name, &b->hello.name);
    if (a->verb == VERB_CONNECT) {
        same_string(a->connect.host, &b->connect.host);
        same_string(a->connect.service, &b->connect.service);
        ck_assert_uint_eq(a->connect.others.count, b->connect.others.count);
        for (uint32_t i = 0; i < a->connect.others.count; i++)
            ck_assert_mem_eq(&a->connect.others.at[i], &b->connect.others.at[i],
                             sizeof(struct endpoint));
        a->connect.others = b->connect.others;
    }
    if (a->verb == VERB_LISTENER)
        same_string(a->listener.name, &b->listener.name);
    if (a->verb == VERB_RESOLVE)
        same_string(a->resolve.host, &b->resolve.host);
    ck_assert_mem_eq(a, b, sizeof(*a));
}

static void there_and_back(struct request *request)
{
    uint8_t buf[CODEC_REQUEST_MAX];
    char scratch[CODEC_SCRATCH];
    struct request back;
    struct frame frame;
    const char *why;
    long n;

    n = asock_codec_encode_request(request, 0, buf, sizeof(buf));
    ck_assert_msg(n > 0, "verb %u: %ld", request->verb, n);
    ck_assert_int_eq(asock_frame_parse(buf, (size_t)n, &frame), n);
    ck_assert_int_eq(decode_exact(frame.head, frame.head_len, scratch, &back, &why), 0);
    same_request(request, &back);
}

START_LOOP_TEST(test_request_round_trip_max, 0, VERBS)
{
    struct request request;

    fill_request(verbs[_i], &request);
    there_and_back(&request);
}
END_TEST

START_LOOP_TEST(test_request_round_trip_empty, 0, VERBS)
{
    struct request request = {.verb = verbs[_i], .op = 1};

    there_and_back(&request);
}
END_TEST

/* The arm comes last, so there is no shorter head that is a request. */
START_LOOP_TEST(test_request_truncated, 0, VERBS)
{
    uint8_t buf[CODEC_REQUEST_MAX];
    char scratch[CODEC_SCRATCH];
    struct request request, back;
    const char *why;
    long n, i;

    fill_request(verbs[_i], &request);
    n = asock_codec_encode_request(&request, 0, buf, sizeof(buf));
    ck_assert_int_gt(n, FRAME_PREFIX);
    for (i = 0; i < n - FRAME_PREFIX; i++)
        ck_assert_int_eq(decode_exact(buf + FRAME_PREFIX, (size_t)i, scratch, &back, &why),
                         -EPROTO);
}
END_TEST

START_LOOP_TEST(test_request_small_buffer, 0, VERBS)
{
    uint8_t buf[CODEC_REQUEST_MAX], small[CODEC_REQUEST_MAX];
    struct request request;
    long n, i;

    fill_request(verbs[_i], &request);
    n = asock_codec_encode_request(&request, 9, buf, sizeof(buf));
    for (i = 0; i < n; i++)
        ck_assert_int_eq(asock_codec_encode_request(&request, 9, small, (size_t)i), -ENOBUFS);
    ck_assert_int_eq(asock_codec_encode_request(&request, 9, small, (size_t)n), n);
    ck_assert_mem_eq(buf, small, (size_t)n);
}
END_TEST

START_TEST(test_request_refused_by_encoder)
{
    uint8_t buf[CODEC_REQUEST_MAX];
    char long_name[CODEC_NAME_MAX + 2] = "";
    struct request request = {.verb = VERB_HELLO};

    memset(long_name, 'n', CODEC_NAME_MAX + 1);
    request.hello.name = long_name;
    ck_assert_int_eq(asock_codec_encode_request(&request, 0, buf, sizeof(buf)), -EINVAL);
    request.hello.name = "a\nb";
    ck_assert_int_eq(asock_codec_encode_request(&request, 0, buf, sizeof(buf)), -EINVAL);
    request = (struct request){.verb = VERB_CONNECT, .op = 1};
    request.connect.endpoint.address_len = 5;
    ck_assert_int_eq(asock_codec_encode_request(&request, 0, buf, sizeof(buf)), -EINVAL);
    request.verb = VERB_NONE;
    ck_assert_int_eq(asock_codec_encode_request(&request, 0, buf, sizeof(buf)), -EINVAL);
    request.verb = 31;
    ck_assert_int_eq(asock_codec_encode_request(&request, 0, buf, sizeof(buf)), -EINVAL);
}
END_TEST

/* ------------------------------------------------------------------------------------- replies */

static void fill_welcome(struct welcome *ret)
{
    ret->version = ret->sockets = ret->ops = ret->socket_ops = UINT32_MAX;
    ret->send_window = ret->queued_max = UINT64_MAX;
    ret->payload_max = ret->head_max = ret->buffers = UINT32_MAX;
    ret->linger_max = ret->resolutions = ret->connects_per_second = UINT32_MAX;
    ret->shared_max = ret->kernel_buffers = ret->verbs = UINT64_MAX;
    ret->most_sockets = ret->most_ops = ret->most_socket_ops = UINT32_MAX;
    ret->most_send_window = ret->most_queued = UINT64_MAX;
    ret->lends = ret->send_fields = UINT32_MAX;
}

static void fill_reply(int body, struct reply *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->kind = KIND_COMPLETION;
    ret->socket = ret->error = ret->flags = ret->ops_freed = ret->descriptors = UINT32_MAX;
    ret->op = ret->bytes = ret->send_freed = UINT64_MAX;
    ret->body = (enum reply_body)body;
    switch (ret->body) {
    case BODY_CONNECTED:
        fill_endpoint(&ret->connected.local);
        fill_endpoint(&ret->connected.remote);
        ret->connected.connect_error = UINT32_MAX;
        break;
    case BODY_VALUE:
        ret->value.is_set = true;
        ret->value.number = INT64_MIN;
        fill_endpoint(&ret->value.endpoint);
        break;
    case BODY_EVENT:
        ret->kind = KIND_EVENT;
        ret->event = UINT32_MAX;
        break;
    case BODY_WELCOME:
        ret->kind = KIND_WELCOME;
        fill_welcome(&ret->welcome);
        break;
    case BODY_SEGMENT:
        ret->segment = (struct segment){UINT32_MAX, UINT64_MAX, UINT64_MAX};
        break;
    case BODY_DATAGRAM:
        fill_endpoint(&ret->datagram.local);
        fill_endpoint(&ret->datagram.remote);
        ret->datagram.interface = ret->datagram.length = ret->datagram.traffic_class = UINT32_MAX;
        ret->datagram.dropped = ret->datagram.refused = UINT32_MAX;
        ret->datagram.segment_size = UINT32_MAX;
        ret->datagram.segment = (struct segment){UINT32_MAX, UINT64_MAX, UINT64_MAX};
        break;
    case BODY_NONE:
        break;
    }
}

START_LOOP_TEST(test_reply_round_trip_max, BODY_NONE, BODY_DATAGRAM + 1)
{
    uint8_t buf[CODEC_REPLY_MAX];
    struct reply reply, back;
    struct frame frame;
    const char *why;
    long n;

    fill_reply(_i, &reply);
    n = asock_codec_encode_reply(&reply, 0, buf, sizeof(buf));
    ck_assert_int_gt(n, 0);
    ck_assert_int_eq(asock_frame_parse(buf, (size_t)n, &frame), n);
    ck_assert_int_eq(asock_codec_decode_reply(frame.head, frame.head_len, &back, &why), 0);
    ck_assert_mem_eq(&reply, &back, sizeof(reply));
}
END_TEST

START_LOOP_TEST(test_reply_round_trip_empty, BODY_NONE, BODY_DATAGRAM + 1)
{
    uint8_t buf[CODEC_REPLY_MAX];
    struct reply reply = {.kind = KIND_COMPLETION, .body = (enum reply_body)_i}, back;
    const char *why;
    long n;

    if (_i == BODY_EVENT)
        reply.kind = KIND_EVENT;
    if (_i == BODY_WELCOME)
        reply.kind = KIND_WELCOME;
    reply.value.is_set = _i == BODY_VALUE;
    n = asock_codec_encode_reply(&reply, 12345, buf, sizeof(buf));
    ck_assert_int_gt(n, 0);
    ck_assert_int_eq(asock_codec_decode_reply(buf + 8, (size_t)n - 8, &back, &why), 0);
    ck_assert_mem_eq(&reply, &back, sizeof(reply));
    ck_assert_int_eq(buf[4] | buf[5] << 8, 12345);
}
END_TEST

START_LOOP_TEST(test_reply_truncated, BODY_NONE, BODY_DATAGRAM + 1)
{
    uint8_t buf[CODEC_REPLY_MAX], *exact;
    struct reply reply, back;
    const char *why;
    long n, i;
    int r;

    fill_reply(_i, &reply);
    n = asock_codec_encode_reply(&reply, 0, buf, sizeof(buf)) - FRAME_PREFIX;
    for (i = 0; i < n; i++) {
        exact = malloc((size_t)i + 1);
        ck_assert_ptr_nonnull(exact);
        memcpy(exact, buf + FRAME_PREFIX, (size_t)i);
        r = asock_codec_decode_reply(exact, (size_t)i, &back, &why);
        ck_assert(r == 0 || r == -EPROTO);
        free(exact);
    }
}
END_TEST

START_LOOP_TEST(test_reply_small_buffer, BODY_NONE, BODY_DATAGRAM + 1)
{
    uint8_t buf[CODEC_REPLY_MAX], small[CODEC_REPLY_MAX];
    struct reply reply;
    long n, i;

    fill_reply(_i, &reply);
    n = asock_codec_encode_reply(&reply, 0, buf, sizeof(buf));
    for (i = 0; i < n; i++)
        ck_assert_int_eq(asock_codec_encode_reply(&reply, 0, small, (size_t)i), -ENOBUFS);
    ck_assert_int_eq(asock_codec_encode_reply(&reply, 0, small, (size_t)n), n);
    ck_assert_mem_eq(buf, small, (size_t)n);
}
END_TEST

static int decode_reply(uint64_t kind, uint32_t body)
{
    struct wire w = {.len = 0};
    struct reply reply;
    const char *why;

    if (kind > 0)
        wire_number(&w, 1, kind);
    if (body > 0)
        wire_bytes(&w, body, NULL, 0);
    return asock_codec_decode_reply(w.buf, w.len, &reply, &why);
}

START_TEST(test_reply_body_fits_kind)
{
    enum { CONNECTED = 10, VALUE = 11, EVENT = 12, WELCOME = 16, FUTURE = 99 };

    ck_assert_int_eq(decode_reply(0, 0), -EPROTO);
    ck_assert_int_eq(decode_reply(KIND_WELCOME, 0), -EPROTO);
    ck_assert_int_eq(decode_reply(KIND_WELCOME, EVENT), -EPROTO);
    ck_assert_int_eq(decode_reply(KIND_EVENT, 0), -EPROTO);
    ck_assert_int_eq(decode_reply(KIND_EVENT, WELCOME), -EPROTO);
    ck_assert_int_eq(decode_reply(KIND_COMPLETION, EVENT), -EPROTO);
    ck_assert_int_eq(decode_reply(KIND_COMPLETION, WELCOME), -EPROTO);
    ck_assert_int_eq(decode_reply(KIND_COMPLETION, 0), 0);
    ck_assert_int_eq(decode_reply(KIND_COMPLETION, CONNECTED), 0);
    ck_assert_int_eq(decode_reply(KIND_COMPLETION, VALUE), 0);
    ck_assert_int_eq(decode_reply(KIND_COMPLETION, FUTURE), 0);
    ck_assert_int_eq(decode_reply(77, EVENT), 0);
}
END_TEST

/* ----------------------------------------------------------------------------------- addresses */

START_TEST(test_addresses_round_trip)
{
    struct endpoint endpoints[CODEC_ADDRESSES_MAX + 1], back[CODEC_ADDRESSES_MAX];
    uint8_t buf[CODEC_ADDRESSES_BYTES];
    long n;

    memset(endpoints, 0, sizeof(endpoints));
    for (size_t i = 0; i <= CODEC_ADDRESSES_MAX; i++)
        fill_endpoint(&endpoints[i]);
    n = asock_codec_encode_addresses(endpoints, CODEC_ADDRESSES_MAX, buf, sizeof(buf));
    ck_assert_int_gt(n, 0);
    ck_assert_int_eq(asock_codec_decode_addresses(buf, (size_t)n, back), CODEC_ADDRESSES_MAX);
    for (size_t i = 0; i < CODEC_ADDRESSES_MAX; i++)
        ck_assert_mem_eq(back[i].address, endpoints[i].address, 16);
    ck_assert_int_eq(
        asock_codec_encode_addresses(endpoints, CODEC_ADDRESSES_MAX, buf, (size_t)n - 1), -ENOBUFS);
    ck_assert_int_eq(
        asock_codec_encode_addresses(endpoints, CODEC_ADDRESSES_MAX + 1, buf, sizeof(buf)),
        -EINVAL);
    endpoints[0].address_len = 0;
    ck_assert_int_eq(asock_codec_encode_addresses(endpoints, 1, buf, sizeof(buf)), -EINVAL);
}
END_TEST

START_TEST(test_addresses_hostile)
{
    struct endpoint endpoint, back[CODEC_ADDRESSES_MAX];
    static const uint8_t short_one[] = {0x0a, 0x05, 0x0a, 0x03, 1, 2, 3}, empty_one[] = {0x0a, 0};
    uint8_t buf[CODEC_ADDRESSES_BYTES + 1] = {0};
    long n, used = 0;

    ck_assert_int_eq(asock_codec_decode_addresses(buf, 0, back), 0);
    ck_assert_int_eq(asock_codec_decode_addresses(short_one, sizeof(short_one), back), -EPROTO);
    ck_assert_int_eq(asock_codec_decode_addresses(empty_one, sizeof(empty_one), back), -EPROTO);
    memset(&endpoint, 0, sizeof(endpoint));
    endpoint.address_len = 4;
    n = asock_codec_encode_addresses(&endpoint, 1, buf, sizeof(buf));
    for (long i = 1; i < n; i++)
        ck_assert_int_eq(asock_codec_decode_addresses(buf, (size_t)i, back), -EPROTO);
    for (unsigned int i = 0; i <= CODEC_ADDRESSES_MAX; i++) {
        memmove(buf + used, buf, (size_t)n);
        used += n;
    }
    ck_assert_int_eq(asock_codec_decode_addresses(buf, (size_t)used, back), -EPROTO);
    ck_assert_int_eq(asock_codec_decode_addresses(buf, sizeof(buf), back), -EPROTO);
}
END_TEST
