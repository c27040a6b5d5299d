/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proto/codec.h"
#include "tests/lib/suite.h"
#include "proto/frame.h"

#include <string.h>

/* The short ways of the codec say, byte for byte, what protobuf-c says. */

#define ROUNDS 200000

static uint64_t state = 1;

/* xorshift64: the same numbers in every run. */
static uint64_t next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* Zero, small and large ones alike often, and the ends of the varint's lengths. */
static uint64_t number(unsigned int bits)
{
    unsigned int n = (unsigned int)(next() % (bits + 1));
    uint64_t value = n == 0 ? 0 : next() >> (64 - n);

    if (next() % 4 == 0 && n > 0 && n < 64)
        value = (UINT64_C(1) << n) - next() % 2;
    return bits < 64 ? value & ((UINT64_C(1) << bits) - 1) : value;
}

static void random_endpoint(struct endpoint *ret)
{
    static const uint8_t lengths[] = {0, 4, 16};

    memset(ret, 0, sizeof(*ret));
    ret->address_len = lengths[next() % 3];
    for (unsigned int i = 0; i < ret->address_len; i++)
        ret->address[i] = (uint8_t)next();
    ret->port = ret->address_len ? (uint16_t)number(16) : 0;
    ret->scope_id = ret->address_len ? (uint32_t)number(32) : 0;
}

/* None, few, and as many as there may be. */
static void random_segments(struct segments *ret)
{
    static struct segment segments[CODEC_SEGMENTS_MAX];

    ret->count = next() % 4 ? (uint32_t)(next() % 4)
                            : (uint32_t)(next() % (CODEC_SEGMENTS_MAX + 1));
    ret->at = ret->count > 0 ? segments : NULL;
    for (uint32_t i = 0; i < ret->count; i++)
        segments[i] = (struct segment){(uint32_t)number(32), number(64), number(64)};
}

static void random_arm(struct request *ret)
{
    switch (ret->verb) {
    case VERB_OPEN:
        ret->open.family = (uint32_t)number(32);
        ret->open.type = (uint32_t)number(32);
        break;
    case VERB_CONNECT:
        random_endpoint(&ret->connect.endpoint);
        ret->connect.host = next() % 8 ? NULL : "host";
        ret->connect.service = next() % 8 ? NULL : "80";
        break;
    case VERB_SEND:
        ret->send.total_len = number(64);
        ret->send.more = next() % 2;
        ret->send.abandon = next() % 2;
        random_endpoint(&ret->send.endpoint);
        random_endpoint(&ret->send.source);
        ret->send.ecn = next() % 2 ? 0 : (uint32_t)number(32);
        ret->send.segment_size = next() % 2 ? 0 : (uint32_t)number(32);
        random_segments(&ret->send.segments);
        break;
    case VERB_RECEIVE:
        ret->receive.length = number(64);
        ret->receive.flags = (uint32_t)number(32);
        random_segments(&ret->receive.segments);
        break;
    case VERB_CREDIT:
        ret->credit.target = number(64);
        random_segments(&ret->credit.segments);
        break;
    case VERB_SHUTDOWN:
        ret->shutdown.how = (uint32_t)number(32);
        break;
    default:
        ret->close.linger_ms = (uint32_t)number(32);
        ret->close.abort = next() % 2;
        break;
    }
}

static void random_request(struct request *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->verb = next() % 8 ? VERB_OPEN + (uint32_t)(next() % (VERB_CLOSE - VERB_OPEN + 1))
                           : VERB_CREDIT;
    ret->op = number(64);
    ret->socket = (uint32_t)number(32);
    ret->timeout_ms = (uint32_t)number(32);
    ret->flags = (uint32_t)number(32);
    random_arm(ret);
}

static void random_datagram(struct datagram *ret)
{
    random_endpoint(&ret->local);
    random_endpoint(&ret->remote);
    ret->interface = (uint32_t)number(32);
    ret->length = (uint32_t)number(32);
    ret->traffic_class = (uint32_t)number(32);
    ret->dropped = (uint32_t)number(32);
    ret->refused = (uint32_t)number(32);
    ret->segment_size = (uint32_t)number(32);
    if (next() % 2)
        ret->segment = (struct segment){(uint32_t)number(32), number(64), number(64)};
}

static void random_reply(struct reply *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->kind = next() % 8 ? KIND_COMPLETION : (uint32_t)number(32);
    ret->op = number(64);
    ret->socket = (uint32_t)number(32);
    ret->error = (uint32_t)number(32);
    ret->flags = (uint32_t)number(32);
    ret->bytes = number(64);
    ret->send_freed = number(64);
    ret->ops_freed = (uint32_t)number(32);
    ret->descriptors = (uint32_t)number(32);
    if (next() % 2)
        return;
    if (next() % 4 == 0) {
        ret->body = BODY_SEGMENT;
        ret->segment = (struct segment){(uint32_t)number(32), number(64), number(64)};
        return;
    }
    if (next() % 2) {
        ret->body = BODY_DATAGRAM;
        random_datagram(&ret->datagram);
        return;
    }
    ret->body = BODY_CONNECTED;
    random_endpoint(&ret->connected.local);
    random_endpoint(&ret->connected.remote);
    ret->connected.connect_error = (uint32_t)number(32);
}

static void compare_decoded_request(const uint8_t *head, size_t len)
{
    static char scratch_a[CODEC_SCRATCH], scratch_b[CODEC_SCRATCH];
    struct request a = {0}, b = {0};
    const char *why;
    int r = asock_codec_decode_request(head, len, scratch_a, &a, &why);

    ck_assert_int_eq(asock_codec_decode_request_by_schema(head, len, scratch_b, &b, &why), r);
    if (r < 0 || ((a.verb < VERB_OPEN || a.verb > VERB_CLOSE) && a.verb != VERB_CREDIT))
        return;
    if (request_segments(&a)) {
        ck_assert(segments_are_same(request_segments(&a), request_segments(&b)));
        request_segments(&a)->at = request_segments(&b)->at = NULL;
    }
    if (a.verb == VERB_CONNECT) {
        ck_assert_pstr_eq(a.connect.host, b.connect.host);
        ck_assert_pstr_eq(a.connect.service, b.connect.service);
        a.connect.host = a.connect.service = b.connect.host = b.connect.service = NULL;
        ck_assert_uint_eq(a.connect.others.count, b.connect.others.count);
        for (uint32_t i = 0; i < a.connect.others.count; i++)
            ck_assert_mem_eq(&a.connect.others.at[i], &b.connect.others.at[i],
                             sizeof(struct endpoint));
        a.connect.others.at = b.connect.others.at = NULL;
    }
    ck_assert_mem_eq(&a, &b, sizeof(a));
}

static void compare_decoded_reply(const uint8_t *head, size_t len)
{
    struct reply a = {0}, b = {0};
    const char *why;
    int r = asock_codec_decode_reply(head, len, &a, &why);

    ck_assert_int_eq(asock_codec_decode_reply_by_schema(head, len, &b, &why), r);
    if (r == 0)
        ck_assert_mem_eq(&a, &b, sizeof(a));
}

/* Some bytes changed, or some cut off: mostly what is decoded then is unusual or malformed. */
static size_t damage(uint8_t *head, size_t len)
{
    if (len > 0 && next() % 8 == 0)
        return next() % len;
    for (unsigned int i = 0; len > 0 && i < next() % 3; i++)
        head[next() % len] = (uint8_t)(next() % 2 ? next() : next() % 16 << 3);
    return len;
}

TEST_FIXTURE_TIMEOUT(NULL, NULL, 60);

START_TEST(test_plain_requests)
{
    uint8_t a[CODEC_REQUEST_MAX], b[CODEC_REQUEST_MAX];
    struct request request;
    long n;

    for (int i = 0; i < ROUNDS; i++) {
        random_request(&request);
        n = asock_codec_encode_request(&request, 5, a, sizeof(a));
        ck_assert_int_gt(n, FRAME_PREFIX);
        ck_assert_int_eq(asock_codec_encode_request_by_schema(&request, 5, b, sizeof(b)), n);
        ck_assert_mem_eq(a, b, (size_t)n);
        compare_decoded_request(a + FRAME_PREFIX, (size_t)n - FRAME_PREFIX);
        compare_decoded_request(a + FRAME_PREFIX,
                                damage(a + FRAME_PREFIX, (size_t)n - FRAME_PREFIX));
    }
}
END_TEST

START_TEST(test_plain_replies)
{
    uint8_t a[CODEC_REPLY_MAX], b[CODEC_REPLY_MAX];
    struct reply reply;
    long n;

    for (int i = 0; i < ROUNDS; i++) {
        random_reply(&reply);
        n = asock_codec_encode_reply(&reply, 5, a, sizeof(a));
        ck_assert_int_eq(asock_codec_encode_reply_by_schema(&reply, 5, b, sizeof(b)), n);
        if (n < 0)
            continue; /* no kind */
        ck_assert_mem_eq(a, b, (size_t)n);
        compare_decoded_reply(a + FRAME_PREFIX, (size_t)n - FRAME_PREFIX);
        compare_decoded_reply(a + FRAME_PREFIX, damage(a + FRAME_PREFIX, (size_t)n - FRAME_PREFIX));
    }
}
END_TEST
