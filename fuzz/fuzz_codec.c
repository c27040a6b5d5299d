/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz/fuzz.h"
#include "proto/codec.h"
#include "proto/frame.h"

#include <errno.h>
#include <string.h>

/*
 * The first byte says what the others are to be read as: 0 a request, 1 a reply, 2 a record.
 * What can be decoded must survive encoding and decoding: nothing that is understood may be lost.
 * A text that is refused must come with its reason.
 */

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* ------------------------------------------------------------------------------------- requests */

/* Takes strings and segments out, so that the rest can be compared as memory. */
static void take_strings(struct request *request, const char *ret[2])
{
    ret[0] = ret[1] = NULL;
    if (request->verb == VERB_HELLO) {
        ret[0] = request->hello.name;
        request->hello.name = NULL;
    } else if (request->verb == VERB_CONNECT) {
        ret[0] = request->connect.host;
        ret[1] = request->connect.service;
        request->connect.host = request->connect.service = NULL;
    } else if (request->verb == VERB_RESOLVE) {
        ret[0] = request->resolve.host;
        request->resolve.host = NULL;
    }
    if (request_segments(request))
        request_segments(request)->at = NULL;
}

static bool has_malformed(struct request *request)
{
    return (request_segments(request) && segments_are_too_many(request_segments(request))) ||
           (request->verb == VERB_CONNECT &&
            (request->connect.endpoint.malformed || request->connect.malformed)) ||
           (request->verb == VERB_RESOLVE && request->resolve.malformed) ||
           (request->verb == VERB_BIND && request->bind.endpoint.malformed) ||
           (request->verb == VERB_SEND &&
            (request->send.endpoint.malformed || request->send.source.malformed)) ||
           (request->verb == VERB_SET_OPTION && request->option.value.endpoint.malformed);
}

static void check_request(const struct request *request)
{
    static char scratch[CODEC_SCRATCH];
    uint8_t out[CODEC_REQUEST_MAX];
    struct request a = *request, b;
    const char *why = NULL, *text_a[2], *text_b[2];
    long n = asock_codec_encode_request(request, 0, out, sizeof(out));

    MUST(n > FRAME_PREFIX);
    MUST(asock_codec_decode_request(out + FRAME_PREFIX, (size_t)n - FRAME_PREFIX, scratch, &b,
                                    &why) == 0);
    if (request_segments(&a))
        MUST(segments_are_same(request_segments(&a), request_segments(&b)));
    take_strings(&a, text_a);
    take_strings(&b, text_b);
    MUST(same_text(text_a[0], text_b[0]) && same_text(text_a[1], text_b[1]));
    MUST(memcmp(&a, &b, sizeof(a)) == 0);
    MUST(asock_codec_encode_request(request, 0, out, (size_t)n - 1) == -ENOBUFS);
}

static bool verb_is_known(uint32_t verb)
{
    return (verb >= VERB_HELLO && verb <= VERB_DISCONNECT) ||
           (verb >= VERB_LIST && verb <= VERB_LEARNED) || verb == VERB_SESSIONS ||
           verb == VERB_DENIALS || verb == VERB_MONITOR || verb == VERB_TAKE_OVER;
}

/* The short way, where there is one, says what protobuf-c says; the strings are the scratch's. */
static void compare_request(const uint8_t *data, size_t size, const struct request *request, int r)
{
    static char scratch[CODEC_SCRATCH];
    uint8_t out[CODEC_REQUEST_MAX], other_out[CODEC_REQUEST_MAX];
    struct request other = {0}, copy;
    const char *why = NULL, *texts[2];
    long n;

    MUST(asock_codec_decode_request_by_schema(data, size, scratch, &other, &why) == r);
    if (r < 0)
        return;
    n = asock_codec_encode_request(request, 7, out, sizeof(out));
    MUST(asock_codec_encode_request_by_schema(&other, 7, other_out, sizeof(other_out)) == n);
    MUST(n < 0 || memcmp(out, other_out, (size_t)n) == 0);
    take_strings(&other, texts);
    copy = *request;
    take_strings(&copy, texts);
    if (request->verb >= VERB_OPEN && request->verb <= VERB_CLOSE)
        MUST(memcmp(&copy, &other, sizeof(other)) == 0);
}

static void request(const uint8_t *data, size_t size)
{
    static char scratch[CODEC_SCRATCH];
    struct request request;
    const char *why = NULL;
    int r = asock_codec_decode_request(data, size, scratch, &request, &why);

    MUST(r == 0 || (r == -EPROTO && why && *why));
    compare_request(data, size, &request, r);
    if (r < 0)
        return;
    MUST(request.verb != VERB_NONE);
    MUST(request.op != 0 || request.verb == VERB_HELLO);
    if (verb_is_known(request.verb) && !has_malformed(&request))
        check_request(&request);
}

/* -------------------------------------------------------------------------------------- replies */

static bool reply_has_malformed(const struct reply *reply)
{
    return (reply->body == BODY_CONNECTED &&
            (reply->connected.local.malformed || reply->connected.remote.malformed)) ||
           (reply->body == BODY_DATAGRAM &&
            (reply->datagram.local.malformed || reply->datagram.remote.malformed)) ||
           (reply->body == BODY_VALUE && reply->value.endpoint.malformed);
}

static void compare_reply(const uint8_t *data, size_t size, const struct reply *reply, int r)
{
    uint8_t out[CODEC_REPLY_MAX], other_out[CODEC_REPLY_MAX];
    struct reply other;
    const char *why = NULL;
    long n;

    MUST(asock_codec_decode_reply_by_schema(data, size, &other, &why) == r);
    if (r < 0)
        return;
    MUST(memcmp(reply, &other, sizeof(other)) == 0);
    n = asock_codec_encode_reply(reply, 7, out, sizeof(out));
    MUST(asock_codec_encode_reply_by_schema(reply, 7, other_out, sizeof(other_out)) == n);
    MUST(n < 0 || memcmp(out, other_out, (size_t)n) == 0);
}

static void reply(const uint8_t *data, size_t size)
{
    struct reply a, b;
    uint8_t out[CODEC_REPLY_MAX];
    const char *why = NULL;
    int r = asock_codec_decode_reply(data, size, &a, &why);
    long n;

    MUST(r == 0 || (r == -EPROTO && why && *why));
    compare_reply(data, size, &a, r);
    if (r < 0 || reply_has_malformed(&a))
        return;
    n = asock_codec_encode_reply(&a, 0, out, sizeof(out));
    MUST(n > FRAME_PREFIX);
    MUST(asock_codec_decode_reply(out + FRAME_PREFIX, (size_t)n - FRAME_PREFIX, &b, &why) == 0);
    MUST(memcmp(&a, &b, sizeof(a)) == 0);
    MUST(asock_codec_encode_reply(&a, 0, out, (size_t)n - 1) == -ENOBUFS);
}

/* -------------------------------------------------------------------------------------- records */

struct record {
    const struct field *fields;
    size_t count;
};

static void compare(const struct field *fields, size_t count, void *data)
{
    const struct record *first = data;
    size_t i;

    MUST(count == first->count);
    for (i = 0; i < count; i++) {
        MUST(same_text(fields[i].name, first->fields[i].name));
        MUST(same_text(fields[i].text, first->fields[i].text));
        MUST(fields[i].text || fields[i].number == first->fields[i].number);
    }
}

static void visit(const struct field *fields, size_t count, void *data)
{
    static uint8_t out[CODEC_RECORD_MAX];
    struct record first = {fields, count};
    size_t *visits = data, i;
    long n;

    ++*visits;
    MUST(count <= CODEC_FIELDS_MAX);
    for (i = 0; i < count; i++) {
        MUST(fields[i].name && strlen(fields[i].name) <= CODEC_FIELD_MAX);
        MUST(!fields[i].text || strlen(fields[i].text) <= CODEC_FIELD_MAX);
    }
    n = asock_codec_encode_record(fields, count, out, sizeof(out));
    MUST(n >= 0);
    MUST(asock_codec_decode_record(out, (size_t)n, compare, &first) == 0);
    MUST(n == 0 || asock_codec_encode_record(fields, count, out, (size_t)n - 1) == -ENOBUFS);
}

static void record(const uint8_t *data, size_t size)
{
    size_t visits = 0;
    int r = asock_codec_decode_record(data, size, visit, &visits);

    MUST((r == 0 && visits == 1) || (r == -EPROTO && visits == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    switch (data[0]) {
    case 0:
        request(data + 1, size - 1);
        break;
    case 1:
        reply(data + 1, size - 1);
        break;
    case 2:
        record(data + 1, size - 1);
        break;
    default:
        break;
    }
    return 0;
}
