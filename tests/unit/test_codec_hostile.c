/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proto/frame.h"
#include "tests/lib/suite.h"
#include "tests/unit/test_codec.h"

#include <malloc.h>

/* Heads that no honest client makes. */

static const struct {
    uint32_t verb, arm;
} arms[] = {
    {VERB_HELLO, ARM_HELLO},
    {VERB_OPEN, ARM_OPEN},
    {VERB_CONNECT, ARM_CONNECT},
    {VERB_SEND, ARM_SEND},
    {VERB_RECEIVE, ARM_RECEIVE},
    {VERB_SHUTDOWN, ARM_SHUTDOWN},
    {VERB_CLOSE, ARM_CLOSE},
    {VERB_CANCEL, ARM_CANCEL},
    {VERB_SYNC, ARM_SYNC},
    {VERB_SET_OPTION, ARM_SET_OPTION},
    {VERB_LIST, ARM_LIST},
    {VERB_GET_OPTION, ARM_GET_OPTION},
    {VERB_SHOW, ARM_SHOW},
    {VERB_STATS, ARM_STATS},
    {VERB_RESTRICT, ARM_RESTRICTION},
    {VERB_KILL, ARM_KILL},
    {VERB_RELOAD, ARM_RELOAD},
    {VERB_JUDGE, ARM_JUDGE},
    {VERB_LEARNED, ARM_LEARNED},
    {VERB_SESSIONS, ARM_SESSIONS},
    {VERB_DENIALS, ARM_DENIALS},
    {VERB_MONITOR, ARM_MONITOR},
    {VERB_LISTENER, ARM_LISTENER},
    {VERB_TAKE_OVER, ARM_TAKE_OVER},
    {VERB_REGISTER, ARM_REGISTER},
    {VERB_UNREGISTER, ARM_UNREGISTER},
    {VERB_CREDIT, ARM_CREDIT},
    {VERB_RESOLVE, ARM_RESOLVE},
    {VERB_HANGUP, ARM_HANGUP},
    {VERB_SHARE, ARM_SHARE},
    {VERB_BIND, ARM_BIND},
    {VERB_LISTEN, ARM_LISTEN},
    {VERB_ACCEPT, ARM_ACCEPT},
};
#define ARMS (sizeof(arms) / sizeof(arms[0]))

START_LOOP_TEST(test_arm_must_be_the_verbs, 0, ARMS)
{
    struct request request;
    struct wire w;
    size_t i;

    wire_request(&w, arms[_i].verb, 0, NULL);
    ck_assert_int_eq(decode_wire(&w, &request), -EPROTO);
    for (i = 0; i < ARMS; i++) {
        wire_request(&w, arms[_i].verb, arms[i].arm, NULL);
        ck_assert_int_eq(decode_wire(&w, &request), (int)i == _i ? 0 : -EPROTO);
    }
    /* Of several arms the last one counts, as everywhere in protobuf. */
    wire_request(&w, arms[_i].verb, arms[_i].arm, NULL);
    wire_bytes(&w, arms[((size_t)_i + 1) % ARMS].arm, NULL, 0);
    ck_assert_int_eq(decode_wire(&w, &request), -EPROTO);
    wire_bytes(&w, arms[_i].arm, NULL, 0);
    ck_assert_int_eq(decode_wire(&w, &request), 0);
}
END_TEST

START_TEST(test_no_verb)
{
    struct request request;
    struct wire w;

    w.len = 0;
    ck_assert_int_eq(decode_wire(&w, &request), -EPROTO);
    wire_number(&w, REQUEST_OP, 7);
    wire_bytes(&w, ARM_SYNC, NULL, 0);
    ck_assert_int_eq(decode_wire(&w, &request), -EPROTO);
}
END_TEST

START_TEST(test_token_zero)
{
    struct request request;
    struct wire w;
    size_t i;

    for (i = 0; i < ARMS; i++) {
        w.len = 0;
        wire_number(&w, REQUEST_VERB, arms[i].verb);
        wire_bytes(&w, arms[i].arm, NULL, 0);
        ck_assert_int_eq(decode_wire(&w, &request), arms[i].verb == VERB_HELLO ? 0 : -EPROTO);
    }
}
END_TEST

START_TEST(test_unknown_verb)
{
    static const uint32_t unknown[] = {31, 39, 1000, INT32_MAX, UINT32_MAX};
    struct request request;
    struct wire w;
    size_t i, k;

    for (i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        wire_request(&w, unknown[i], 0, NULL);
        ck_assert_int_eq(decode_wire(&w, &request), 0);
        wire_request(&w, unknown[i], 500, NULL);
        ck_assert_int_eq(decode_wire(&w, &request), 0);
        for (k = 0; k < ARMS; k++) {
            wire_request(&w, unknown[i], arms[k].arm, NULL);
            ck_assert_int_eq(decode_wire(&w, &request), 0);
            ck_assert_uint_eq(request.verb, unknown[i]);
            ck_assert_uint_eq(request.op, 7);
        }
    }
}
END_TEST

/* ------------------------------------------------------------------------------ unknown fields */

START_TEST(test_unknown_fields_are_ignored)
{
    struct wire w, inner = {.len = 0};
    struct request request;
    int i;

    wire_number(&inner, 1, 99);
    wire_number(&inner, 15, UINT64_MAX);
    wire_bytes(&inner, 14, "anything", 8);
    wire_request(&w, VERB_RECEIVE, ARM_RECEIVE, &inner);
    for (i = 0; i < 50; i++)
        wire_number(&w, 100 + (uint32_t)i, 1);
    wire_bytes(&w, 536870911, "the last field number", 21);
    ck_assert_int_eq(decode_wire(&w, &request), 0);
    ck_assert_uint_eq(request.receive.length, 99);
}
END_TEST

static int decode_segments(unsigned int count, int unknown, struct request *ret)
{
    struct wire w, inner = {.len = 0}, segment = {.len = 0};

    wire_number(&segment, 1, 7);
    wire_number(&segment, 3, UINT64_MAX);
    for (unsigned int i = 0; i < count; i++)
        wire_message(&inner, 4, &segment);
    wire_request(&w, VERB_SEND, ARM_SEND, &inner);
    for (int i = 0; i < unknown; i++)
        wire_number(&w, 100 + (uint32_t)i, 1);
    ck_assert_uint_le(w.len, FRAME_HEAD_MAX);
    return decode_wire(&w, ret);
}

START_TEST(test_segments)
{
    struct request request;

    ck_assert_int_eq(decode_segments(CODEC_SEGMENTS_MAX, 50, &request), 0);
    ck_assert_uint_eq(request.send.segments.count, CODEC_SEGMENTS_MAX);
    for (uint32_t i = 0; i < CODEC_SEGMENTS_MAX; i++) {
        ck_assert_uint_eq(request.send.segments.at[i].buffer, 7);
        ck_assert_uint_eq(request.send.segments.at[i].offset, 0);
        ck_assert(request.send.segments.at[i].length == UINT64_MAX);
    }
    ck_assert_int_eq(decode_segments(CODEC_SEGMENTS_MAX + 1, 0, &request), 0);
    ck_assert_uint_eq(request.send.segments.count, CODEC_SEGMENTS_MAX + 1);
    ck_assert_ptr_null(request.send.segments.at);
    ck_assert(segments_are_too_many(&request.send.segments));
}
END_TEST

static size_t heap_in_use(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

/* Count fields of two bytes in the arm (the head itself has no number below 16 left). */
static int decode_flood(int count, uint32_t field, const char **ret_why)
{
    static char scratch[CODEC_SCRATCH];
    struct wire w, inner = {.len = 0};
    struct request request;
    int i;

    for (i = 0; i < count; i++)
        wire_number(&inner, field, 1);
    wire_request(&w, VERB_OPEN, ARM_OPEN, &inner);
    ck_assert_uint_le(w.len, FRAME_HEAD_MAX);
    return asock_codec_decode_request(w.buf, w.len, scratch, &request, ret_why);
}

START_TEST(test_flood_costs_no_heap)
{
    static const uint32_t fields[] = {15, 1}; /* unknown; known, over and over */
    size_t before = heap_in_use();
    const char *why;
    size_t i;

    for (i = 0; i < 2; i++) {
        why = NULL;
        ck_assert_int_eq(decode_flood(2000, fields[i], &why), -EPROTO);
        ck_assert_str_eq(why, "too many fields");
    }
    ck_assert_uint_eq(heap_in_use(), before);
    /* A hundred are forward compatibility. */
    ck_assert_int_eq(decode_flood(100, 15, &why), 0);
    ck_assert_uint_eq(heap_in_use(), before);
}
END_TEST

/* An argument that is wrong: the op ends with it, not the session. */
static bool is_refused(int r, const struct request *request)
{
    return r == 0 && request->connect.malformed && !request->connect.service;
}

START_TEST(test_flood_of_strings)
{
    struct wire w, inner = {.len = 0};
    struct request request;
    char text[300];
    size_t i;

    memset(text, 'x', sizeof(text));
    for (i = 0; i < 13; i++)
        wire_bytes(&inner, 2, text, sizeof(text));
    wire_request(&w, VERB_CONNECT, ARM_CONNECT, &inner);
    ck_assert(is_refused(decode_wire(&w, &request), &request));
    inner.len = 0;
    for (i = 0; i < 1000; i++)
        wire_bytes(&inner, 2, NULL, 0);
    wire_request(&w, VERB_CONNECT, ARM_CONNECT, &inner);
    ck_assert_int_eq(decode_wire(&w, &request), -EPROTO);
}
END_TEST

/* Endpoints and arms over and over: protobuf merges, the arena pays for each. */
START_TEST(test_flood_of_messages)
{
    struct wire w, inner = {.len = 0}, endpoint = {.len = 0};
    struct request request;
    size_t i;

    wire_bytes(&endpoint, 1, "\x7f\0\0\1", 4);
    for (i = 0; i < 8; i++)
        wire_message(&inner, 1, &endpoint);
    wire_request(&w, VERB_CONNECT, ARM_CONNECT, &inner);
    ck_assert_int_eq(decode_wire(&w, &request), 0);
    ck_assert_uint_eq(request.connect.endpoint.address_len, 4);
    for (i = 0; i < 400; i++)
        wire_message(&inner, 1, &endpoint);
    wire_request(&w, VERB_CONNECT, ARM_CONNECT, &inner);
    ck_assert_int_eq(decode_wire(&w, &request), -EPROTO);
    wire_request(&w, VERB_SYNC, 0, NULL);
    for (i = 0; i < 1500; i++)
        wire_bytes(&w, ARM_SYNC, NULL, 0);
    ck_assert_int_eq(decode_wire(&w, &request), -EPROTO);
}
END_TEST

/* ------------------------------------------------------------------------------------- strings */

static int decode_host(const char *host, size_t len, struct request *ret)
{
    struct wire w, inner = {.len = 0};

    wire_bytes(&inner, 2, host, len);
    wire_request(&w, VERB_CONNECT, ARM_CONNECT, &inner);
    return decode_wire(&w, ret);
}

START_TEST(test_string_with_nul)
{
    struct request request;

    ck_assert(is_refused(decode_host("evil.example\0.good.example", 26, &request), &request));
    ck_assert(is_refused(decode_host("\0", 1, &request), &request));
    ck_assert(is_refused(decode_host("end\0", 4, &request), &request));
}
END_TEST

START_TEST(test_string_lengths)
{
    char text[1000];
    struct request request;
    struct wire w, inner;

    memset(text, 'a', sizeof(text));
    ck_assert_int_eq(decode_host(text, CODEC_HOST_MAX, &request), 0);
    ck_assert_uint_eq(strlen(request.connect.host), CODEC_HOST_MAX);
    ck_assert(is_refused(decode_host(text, CODEC_HOST_MAX + 1, &request), &request));
    ck_assert(is_refused(decode_host(text, sizeof(text), &request), &request));
    ck_assert_int_eq(decode_host("", 0, &request), 0);
    ck_assert_ptr_null(request.connect.host);
    ck_assert_ptr_null(request.connect.service);
    inner.len = 0;
    wire_bytes(&inner, 3, text, CODEC_SERVICE_MAX + 1);
    wire_request(&w, VERB_CONNECT, ARM_CONNECT, &inner);
    ck_assert(is_refused(decode_wire(&w, &request), &request));
    inner.len = 0;
    wire_bytes(&inner, 2, text, CODEC_NAME_MAX + 1);
    wire_request(&w, VERB_HELLO, ARM_HELLO, &inner);
    ck_assert_int_eq(decode_wire(&w, &request), -EPROTO);
}
END_TEST

START_TEST(test_string_characters)
{
    static const char *const good[] = {
        "a",
        "\xc2\xa0",
        "\xc3\xa9",
        "\xe0\xa0\x80",
        "\xed\x9f\xbf",
        "\xee\x80\x80",
        "\xef\xbf\xbf",
        "\xf0\x90\x80\x80",
        "\xf4\x8f\xbf\xbf",
        "~ ",
    };
    static const char *const bad[] = {
        "\x01",
        "\t",
        "\n",
        "\x1b[0m",
        "\x1f",
        "\x7f",
        "\xc2\x80",
        "\xc2\x9f", /* control */
        "\x80",
        "\xbf",
        "\xfe",
        "\xff",
        "\xc3",
        "\xc3(",
        "\xe2\x82",
        "\xf0\x9f\x98", /* cut */
        "\xc0\xaf",
        "\xc1\xbf",
        "\xe0\x9f\xbf",
        "\xf0\x8f\xbf\xbf", /* longer than need be */
        "\xed\xa0\x80",
        "\xed\xbf\xbf", /* surrogates */
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80", /* over U+10FFFF */
    };
    struct request request;
    size_t i;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        ck_assert_msg(decode_host(good[i], strlen(good[i]), &request) == 0, "good %zu", i);
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(is_refused(decode_host(bad[i], strlen(bad[i]), &request), &request),
                      "bad %zu", i);
    ck_assert(is_refused(decode_host("good\xffgood", 9, &request), &request));
}
END_TEST

/* ----------------------------------------------------------------------------------- endpoints */

static void decode_endpoint(size_t len, uint64_t port, struct endpoint *ret)
{
    uint8_t address[64] = {1, 2, 3, 4, 5};
    struct wire w, inner = {.len = 0}, endpoint = {.len = 0};
    struct request request;

    wire_bytes(&endpoint, 1, address, len);
    wire_number(&endpoint, 2, port);
    wire_message(&inner, 1, &endpoint);
    wire_request(&w, VERB_CONNECT, ARM_CONNECT, &inner);
    ck_assert_int_eq(decode_wire(&w, &request), 0);
    *ret = request.connect.endpoint;
}

START_TEST(test_endpoint_lengths)
{
    struct endpoint endpoint;
    size_t len;

    for (len = 0; len < 64; len++) {
        decode_endpoint(len, 80, &endpoint);
        ck_assert_int_eq(endpoint.malformed, len != 4 && len != 16);
        ck_assert_uint_eq(endpoint.address_len, endpoint.malformed ? 0 : len);
    }
}
END_TEST

START_TEST(test_endpoint_port_is_not_cut)
{
    static const uint64_t ports[] = {65536, 65536 + 80, UINT32_MAX};
    struct endpoint endpoint;
    size_t i;

    decode_endpoint(4, 65535, &endpoint);
    ck_assert(!endpoint.malformed);
    ck_assert_uint_eq(endpoint.port, 65535);
    for (i = 0; i < 3; i++) {
        decode_endpoint(4, ports[i], &endpoint);
        ck_assert(endpoint.malformed);
        ck_assert_uint_eq(endpoint.port, 0);
    }
}
END_TEST

START_TEST(test_endpoint_absent_is_not_malformed)
{
    struct request request;
    struct wire w;

    wire_request(&w, VERB_CONNECT, ARM_CONNECT, NULL);
    ck_assert_int_eq(decode_wire(&w, &request), 0);
    ck_assert(!request.connect.endpoint.malformed);
    ck_assert_uint_eq(request.connect.endpoint.address_len, 0);
}
END_TEST

/* -------------------------------------------------------------------------------------- garbage */

static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

START_TEST(test_garbage)
{
    uint32_t state = 0x5eed, i, k, len;
    uint8_t buf[256];
    struct request request;
    struct reply reply;
    char scratch[CODEC_SCRATCH];
    const char *why;
    int r;

    for (i = 0; i < 100000; i++) {
        len = next_random(&state) % sizeof(buf);
        for (k = 0; k < len; k++)
            buf[k] = (uint8_t)(next_random(&state) >> 8);
        decode_exact(buf, len, scratch, &request, &why);
        r = asock_codec_decode_reply(buf, len, &reply, &why);
        ck_assert(r == 0 || r == -EPROTO);
    }
}
END_TEST

/* A legal head with one byte changed: nearer to what breaks parsers than noise is. */
START_TEST(test_one_byte_changed)
{
    struct wire w, inner = {.len = 0}, endpoint = {.len = 0};
    char scratch[CODEC_SCRATCH];
    struct request request;
    const char *why;
    uint8_t was;
    size_t i;
    int v;

    wire_bytes(&endpoint, 1, "0123456789abcdef", 16);
    wire_number(&endpoint, 2, 65535);
    wire_number(&endpoint, 3, 7);
    wire_message(&inner, 1, &endpoint);
    wire_bytes(&inner, 2, "www.example.org", 15);
    wire_bytes(&inner, 3, "https", 5);
    wire_request(&w, VERB_CONNECT, ARM_CONNECT, &inner);
    for (i = 0; i < w.len; i++) {
        was = w.buf[i];
        for (v = 0; v < 256; v++) {
            w.buf[i] = (uint8_t)v;
            decode_exact(w.buf, w.len, scratch, &request, &why);
        }
        w.buf[i] = was;
    }
}
END_TEST

/* A length that points behind the end, and a number that never ends. */
START_TEST(test_malformed_protobuf)
{
    static const char *const heads[] = {
        "\x08",                                         /* a field without a value */
        "\x08\x80",                                     /* a number that goes on */
        "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", /* without end */
        "\x32\x7f",                                     /* 127 bytes, of which none is there */
        "\x32\xff\xff\xff\xff\x0f",                     /* four gigabytes */
        "\x0b\x0c",                                     /* a group */
        "\x0f",                                         /* wire type 7 */
        "\x0a\x01\x01",                                 /* verb as bytes */
        "\x02\x01",                                     /* field number 0 */
    };
    char scratch[CODEC_SCRATCH];
    struct request request;
    const char *why;
    size_t i;

    for (i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
        ck_assert_msg(decode_exact((const uint8_t *)heads[i], strlen(heads[i]), scratch, &request,
                                   &why) == -EPROTO,
                      "head %zu", i);
}
END_TEST
