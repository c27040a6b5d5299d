/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The proxy's readers, cut at every byte: what they take, what they refuse, what they pass on. */
#include "tests/lib/suite.h"
#include "gateway/http.h"
#include "gateway/socks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------- SOCKS */

struct dialogue {
    const char *bytes;
    size_t len;
    enum socks_step last;
    const char *host, *service;
    const char *answers;
    size_t answers_len;
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define BYTES(text) (text), sizeof(text) - 1
#define NO_AUTH "\x05\x01\x00"

static const struct dialogue dialogues[] = {
    {BYTES(NO_AUTH "\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50"), SOCKS_CONNECT, "127.0.0.1", "80",
     BYTES("\x05\x00")},
    {BYTES(NO_AUTH "\x05\x01\x00\x03\x0b"
                   "example.org\x01\xbb"),
     SOCKS_CONNECT, "example.org", "443", BYTES("\x05\x00")},
    {BYTES(NO_AUTH "\x05\x01\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x16"),
     SOCKS_CONNECT, "2001:db8::1", "22", BYTES("\x05\x00")},
    /* User and password are taken, whatever they are. */
    {BYTES("\x05\x01\x02\x01\x01u\x02pw\x05\x01\x00\x01\x01\x02\x03\x04\x00\x01"), SOCKS_CONNECT,
     "1.2.3.4", "1", BYTES("\x05\x02\x01\x00")},
    {BYTES("\x05\x02\x01\x80"), SOCKS_FAIL, NULL, NULL, BYTES("\x05\xff")},
    {BYTES("\x05\x00"), SOCKS_FAIL, NULL, NULL, BYTES("\x05\xff")},
    {BYTES("\x05\x01\x02\x02\x01u\x01p"), SOCKS_FAIL, NULL, NULL, BYTES("\x05\x02\x01\x01")},
    /* BIND, and a type of address that there is not. */
    {BYTES(NO_AUTH "\x05\x02\x00\x01\x01\x02\x03\x04\x00\x01"), SOCKS_FAIL, NULL, NULL,
     BYTES("\x05\x00\x05\x07\x00\x01\0\0\0\0\0\0")},
    {BYTES(NO_AUTH "\x05\x01\x00\x05\x01"), SOCKS_FAIL, NULL, NULL,
     BYTES("\x05\x00\x05\x08\x00\x01\0\0\0\0\0\0")},
    /* Names that are none: empty, with a NUL, with a line's end. */
    {BYTES(NO_AUTH "\x05\x01\x00\x03\x00\x00\x50"), SOCKS_FAIL, NULL, NULL,
     BYTES("\x05\x00\x05\x01\x00\x01\0\0\0\0\0\0")},
    {BYTES(NO_AUTH "\x05\x01\x00\x03\x03"
                   "a\0b\x00\x50"),
     SOCKS_FAIL, NULL, NULL, BYTES("\x05\x00\x05\x01\x00\x01\0\0\0\0\0\0")},
    {BYTES(NO_AUTH "\x05\x01\x00\x03\x03"
                   "a\nb\x00\x50"),
     SOCKS_FAIL, NULL, NULL, BYTES("\x05\x00\x05\x01\x00\x01\0\0\0\0\0\0")},
    /* SOCKS4 and SOCKS4a. */
    {BYTES("\x04\x01\x00\x50\x01\x02\x03\x04me\0"), SOCKS_CONNECT, "1.2.3.4", "80", BYTES("")},
    {BYTES("\x04\x01\x00\x50\x00\x00\x00\x01me\0example.org\0"), SOCKS_CONNECT, "example.org", "80",
     BYTES("")},
    /* UDP ASSOCIATE */
    {BYTES(NO_AUTH "\x05\x03\x00\x01\x01\x02\x03\x04\x00\x01"), SOCKS_ASSOCIATE, "1.2.3.4", "1",
     BYTES("\x05\x00")},
    /* Tor's RESOLVE, and RESOLVE_PTR, which is not supported */
    {BYTES(NO_AUTH "\x05\xf0\x00\x03\x0b"
                   "example.org\x00\x00"),
     SOCKS_RESOLVE, "example.org", "0", BYTES("\x05\x00")},
    {BYTES("\x04\xf0\x00\x00\x00\x00\x00\x01\0example.org\0"), SOCKS_RESOLVE, "example.org", "0",
     BYTES("")},
    {BYTES(NO_AUTH "\x05\xf1\x00\x01\x01\x02\x03\x04\x00\x00"), SOCKS_FAIL, NULL, NULL,
     BYTES("\x05\x00\x05\x07\x00\x01\0\0\0\0\0\0")},
    {BYTES("\x04\x02\x00\x50\x01\x02\x03\x04\0"), SOCKS_FAIL, NULL, NULL,
     BYTES("\x00\x5b\0\0\0\0\0\0")},
    {BYTES("\x04\x01\x00\x50\x00\x00\x00\x01\0\0"), SOCKS_FAIL, NULL, NULL,
     BYTES("\x00\x5b\0\0\0\0\0\0")},
    {BYTES("\x06"), SOCKS_FAIL, NULL, NULL, BYTES("")},
};

/* The bytes come in two parts; what a message does not take is there for the next one. */
static void check_dialogue(const struct dialogue *d, size_t cut)
{
    struct socks socks = {0};
    struct socks_result result;
    enum socks_step step = SOCKS_MORE;
    uint8_t answers[64];
    size_t at = 0, len = cut, answers_len = 0;

    for (;;) {
        step = socks_read(&socks, (const uint8_t *)d->bytes + at, len - at, &result);
        ck_assert_uint_le(result.consumed, len - at);
        memcpy(answers + answers_len, result.answer, result.answer_len);
        answers_len += result.answer_len;
        if (step == SOCKS_MORE && len < d->len)
            len = d->len;
        else if (step != SOCKS_ANSWER)
            break;
        at += step == SOCKS_ANSWER ? result.consumed : 0;
    }
    ck_assert_int_eq(step, d->last);
    ck_assert_uint_eq(answers_len, d->answers_len);
    ck_assert_mem_eq(answers, d->answers, answers_len);
    if (step == SOCKS_CONNECT || step == SOCKS_RESOLVE || step == SOCKS_ASSOCIATE) {
        ck_assert_str_eq(result.to.host, d->host);
        ck_assert_str_eq(result.to.service, d->service);
        ck_assert_uint_eq(at + result.consumed, d->len);
    }
}

START_LOOP_TEST(test_socks_dialogues_cut_at_every_byte, 0, COUNT(dialogues))
{
    const struct dialogue *d = &dialogues[_i];

    for (size_t cut = 0; cut <= d->len; cut++)
        check_dialogue(d, cut);
}
END_TEST

START_TEST(test_socks4_bounds_what_it_waits_for)
{
    struct socks socks = {0};
    struct socks_result result;
    uint8_t bytes[SOCKS_MESSAGE_MAX];

    memset(bytes, 'u', sizeof(bytes));
    memcpy(bytes, "\x04\x01\x00\x50\x01\x02\x03\x04", 8);
    ck_assert_int_eq(socks_read(&socks, bytes, 8 + 255, &result), SOCKS_MORE);
    ck_assert_int_eq(socks_read(&socks, bytes, 8 + 256, &result), SOCKS_FAIL);
    memcpy(bytes, "\x04\x01\x00\x50\x00\x00\x00\x01\x00", 9);
    ck_assert_int_eq(socks_read(&socks, bytes, 9 + DESTINATION_HOST_MAX, &result), SOCKS_MORE);
    ck_assert_int_eq(socks_read(&socks, bytes, 9 + DESTINATION_HOST_MAX + 1, &result), SOCKS_FAIL);
}
END_TEST

/* -------------------------------------------------------------------------------------- HTTP */

struct exchange {
    const char *head;
    int status; /* 0: taken */
    const char *host, *service;
    const char *forwarded; /* NULL: CONNECT */
};

#define ADDED "Via: 1.1 asockctl\r\nConnection: close\r\n\r\n"

static const struct exchange exchanges[] = {
    {"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n", 0, "example.org", "443",
     NULL},
    {"CONNECT [2001:db8::1]:22 HTTP/1.1\r\nHost: x\r\n\r\n", 0, "2001:db8::1", "22", NULL},
    {"CONNECT example.org:443 HTTP/1.0\r\n\r\n", 0, "example.org", "443", NULL},
    {"GET http://example.org/a?b HTTP/1.1\r\nHost: other\r\nAccept: */*\r\n\r\n", 0, "example.org",
     "80", "GET /a?b HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n" ADDED},
    {"GET http://example.org:8080?q HTTP/1.1\r\nHost: x\r\n\r\n", 0, "example.org", "8080",
     "GET /?q HTTP/1.1\r\nHost: example.org:8080\r\n" ADDED},
    {"GET HTTP://[::1]:81/ HTTP/1.0\r\n\r\n", 0, "::1", "81",
     "GET / HTTP/1.0\r\nHost: [::1]:81\r\n" ADDED},
    /* What is for this hop only stays here, also what Connection names. */
    {"GET http://h/ HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, x-mine\r\nX-Mine: 1\r\n"
     "Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\nUpgrade: h2c\r\nTE: trailers\r\n"
     "Keep-Alive: 1\r\nX-Yours: 2\r\n\r\n",
     0, "h", "80", "GET / HTTP/1.1\r\nHost: h\r\nX-Yours: 2\r\n" ADDED},
    /* Connection cannot take away what says where the body ends. */
    {"POST http://h/ HTTP/1.1\r\nHost: h\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\n",
     0, "h", "80", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n" ADDED},
    {"POST http://h/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n", 0, "h", "80",
     "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n" ADDED},
    /* Not for a proxy. */
    {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"GET https://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"CONNECT h HTTP/1.1\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"CONNECT h:0 HTTP/1.1\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"CONNECT h:65536 HTTP/1.1\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"CONNECT ::1:80 HTTP/1.1\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"CONNECT [::1]80 HTTP/1.1\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"CONNECT [h]:80 HTTP/1.1\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"CONNECT [::1:80 HTTP/1.1\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"CONNECT :80 HTTP/1.1\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"CONNECT h: HTTP/1.1\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"CONNECT h:+80 HTTP/1.1\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"CONNECT h:00000000080 HTTP/1.1\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"Connect h:80 HTTP/1.1\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"GET http://h:/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"GET http://user@h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"GET http:///x HTTP/1.1\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"GET http://h/#f HTTP/1.1\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"GET http://h/ HTTP/1.1\r\n\r\n", 400, NULL, NULL, NULL},
    {"GET http://h/ HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"GET http://h/ HTTP/2.0\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"GET  http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"G@T http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    /* Smuggling. */
    {"POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", 400,
     NULL, NULL, NULL},
    {"POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
     400, NULL, NULL, NULL},
    {"POST http://h/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501, NULL,
     NULL, NULL},
    {"POST http://h/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 501, NULL, NULL, NULL},
    {"POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\n", 400, NULL, NULL, NULL},
    {"POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\n", 400, NULL, NULL, NULL},
    {"POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999999999999999\r\n\r\n", 400, NULL,
     NULL, NULL},
    {"GET http://h/ HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", 400, NULL, NULL, NULL},
    {"GET http://h/ HTTP/1.1\r\nHost: h\r\nX : a\r\n\r\n", 400, NULL, NULL, NULL},
    {"GET http://h/ HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", 400, NULL, NULL, NULL},
    {"GET http://h/ HTTP/1.1\nHost: h\n\n", 400, NULL, NULL, NULL},
    {"GET http://h/ HTTP/1.1\r\n X: a\r\nHost: h\r\n\r\n", 400, NULL, NULL, NULL},
    {"GET http://h/ HTTP/1.1\r\nHost: h\r\nX: a\x01\r\n\r\n", 400, NULL, NULL, NULL},
    {"POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n", 400, NULL, NULL, NULL},
    {"POST http://h/ HTTP/1.1\r\nHost: h\r\nContent-Length: 0x3\r\n\r\n", 400, NULL, NULL, NULL},
    {"POST http://h/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
     "Transfer-Encoding: chunked\r\n\r\n",
     400, NULL, NULL, NULL},
    {"POST http://h/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 501, NULL,
     NULL, NULL},
    {"POST http://h/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n\r\n", 501, NULL, NULL, NULL},
    {"GET http://h/ HTTP/1.1\r\nHost: h\r\nX\r\n\r\n", 400, NULL, NULL, NULL},
};

START_LOOP_TEST(test_http_requests_cut_at_every_byte, 0, COUNT(exchanges))
{
    const struct exchange *e = &exchanges[_i];
    size_t len = strlen(e->head), head_len;
    char head[1024];
    struct http_request request;
    struct http_refusal why = {0};
    long n;

    for (size_t cut = 0; cut < len; cut++) {
        n = http_read_request(e->head, cut, &request, head, &head_len, &why);
        ck_assert_int_le(n, 0); /* a part is not whole, or is refused already */
        ck_assert(n == 0 || e->status != 0);
    }
    n = http_read_request(e->head, len, &request, head, &head_len, &why);
    if (e->status) {
        ck_assert_int_eq(n, -1);
        ck_assert_int_eq(why.status, e->status);
        return;
    }
    ck_assert_int_eq(n, (long)len);
    ck_assert_str_eq(request.to.host, e->host);
    ck_assert_str_eq(request.to.service, e->service);
    ck_assert_int_eq(request.kind, e->forwarded ? HTTP_FORWARD : HTTP_CONNECT);
    head[head_len] = 0;
    ck_assert_str_eq(head, e->forwarded ? e->forwarded : "");
}
END_TEST

START_TEST(test_http_heads_have_bounds)
{
    static char buf[HTTP_HEAD_MAX + 64], head[HTTP_HEAD_MAX + HTTP_ADDED_MAX];
    struct http_request request;
    struct http_refusal why = {0};
    size_t len = (size_t)sprintf(buf, "GET http://h/ HTTP/1.1\r\nHost: h\r\n"), head_len;

    for (unsigned int i = 0; i < HTTP_FIELDS_MAX; i++)
        len += (size_t)sprintf(buf + len, "X: 1\r\n");
    memcpy(buf + len, "\r\n", 2);
    ck_assert_int_eq(http_read_request(buf, len + 2, &request, head, &head_len, &why), -1);
    ck_assert_int_eq(why.status, 431);
    memset(buf, 'a', sizeof(buf));
    memcpy(buf, "GET http://h/", 13);
    ck_assert_int_eq(http_read_request(buf, HTTP_HEAD_MAX - 1, &request, head, &head_len, &why), 0);
    ck_assert_int_eq(http_read_request(buf, sizeof(buf), &request, head, &head_len, &why), -1);
    ck_assert_int_eq(why.status, 431);
}
END_TEST

struct body_case {
    enum http_framing framing;
    uint64_t length;
    const char *bytes;
    long taken; /* -1: malformed */
    bool is_done;
};

static const struct body_case bodies[] = {
    {HTTP_LENGTH, 3, "abcGET", 3, true},
    {HTTP_LENGTH, 9, "abc", 3, false},
    {HTTP_CHUNKED, 0, "3\r\nabc\r\n0\r\n\r\nGET", 13, true},
    {HTTP_CHUNKED, 0, "A\r\n0123456789\r\n00\r\nX: y\r\n\r\nrest", 27, true},
    {HTTP_CHUNKED, 0, "3\r\nab", 5, false},
    {HTTP_CHUNKED, 0, "3;x=y\r\nabc\r\n0\r\n\r\n", -1, false},
    {HTTP_CHUNKED, 0, "3\nabc\r\n0\r\n\r\n", -1, false},
    {HTTP_CHUNKED, 0, "\r\nabc", -1, false},
    {HTTP_CHUNKED, 0, "3\r\nabcd\r\n", -1, false},
    {HTTP_CHUNKED, 0, "3\r\nabc\n0\r\n\r\n", -1, false},
    {HTTP_CHUNKED, 0, "-3\r\nabc", -1, false},
    {HTTP_CHUNKED, 0, "fffffffffffffffff\r\n", -1, false},
    {HTTP_CHUNKED, 0, "0\r\nX: y\n\r\n", -1, false},
    {HTTP_CHUNKED, 0, "0\r\n\rX", -1, false},
};

START_LOOP_TEST(test_http_bodies_end_where_they_end, 0, COUNT(bodies))
{
    const struct body_case *b = &bodies[_i];
    size_t len = strlen(b->bytes);

    for (size_t cut = 0; cut <= len; cut++) {
        struct http_body body = {.framing = b->framing, .left = b->length};
        long first = http_body_take(&body, b->bytes, cut), second = 0;

        if (first == (long)cut)
            second = http_body_take(&body, b->bytes + cut, len - cut);
        if (b->taken < 0) {
            ck_assert(first < 0 || second < 0);
            continue;
        }
        ck_assert_int_eq(first + second, b->taken);
        ck_assert_int_eq(body.is_done, b->is_done);
    }
}
END_TEST

START_TEST(test_http_responses_end_the_connection)
{
    static const char response[] = "HTTP/1.1 200 OK\r\nConnection: keep-alive, x\r\nX: 1\r\n"
                                   "Content-Length: 3\r\n\r\nabc";
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    static const char *const bad[] = {
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 101 Switching\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n"};
    char head[sizeof(response) + HTTP_ADDED_MAX];
    size_t head_len;
    int status;

    ck_assert_int_eq(http_read_response(response, sizeof(response) - 1, head, &head_len, &status),
                     (long)sizeof(response) - 1 - 3);
    head[head_len] = 0;
    ck_assert_str_eq(head, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n" ADDED);
    ck_assert_int_eq(http_read_response(interim, sizeof(interim) - 1, head, &head_len, &status),
                     (long)sizeof(interim) - 1);
    ck_assert_int_eq(status, 100);
    head[head_len] = 0;
    ck_assert_str_eq(head, interim);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_int_eq(http_read_response(bad[i], strlen(bad[i]), head, &head_len, &status), -1);
}
END_TEST
