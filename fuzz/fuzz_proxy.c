/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz/fuzz.h"
#include "gateway/http.h"
#include "gateway/socks.h"

#include <string.h>

/*
 * What a program says to the proxy, and what a server answers: the first byte chooses the reader,
 * the rest is the stream. Cut anywhere, a reader says the same of it; a head that is passed on is
 * one head, for one server, and read again it says the same.
 */

static void check_socks(const uint8_t *data, size_t size)
{
    struct socks socks = {0};
    size_t at = 0;
    struct destination to;
    long head = socks_read_datagram(data, size, &to);

    MUST(head <= (long)size && (head < 0 || (head > 6 && strlen(to.host) > 0)));
    for (int messages = 0; messages < 4; messages++) {
        struct socks before = socks, again = socks;
        struct socks_result result, part;
        enum socks_step step = socks_read(&socks, data + at, size - at, &result);

        MUST(result.consumed <= size - at && result.answer_len <= SOCKS_ANSWER_MAX);
        if (step == SOCKS_CONNECT || step == SOCKS_RESOLVE || step == SOCKS_ASSOCIATE)
            MUST(strlen(result.to.host) > 0 && strlen(result.to.host) <= DESTINATION_HOST_MAX);
        if (step == SOCKS_MORE || step == SOCKS_FAIL)
            return;
        for (size_t cut = 0; cut < result.consumed; cut++) {
            again = before;
            MUST(socks_read(&again, data + at, cut, &part) == SOCKS_MORE);
        }
        at += result.consumed;
        if (step == SOCKS_CONNECT || step == SOCKS_RESOLVE || step == SOCKS_ASSOCIATE)
            return;
    }
}

static void check_body(struct http_body body, const char *data, size_t size)
{
    struct http_body bytes = body;
    long whole = http_body_take(&body, data, size), n = 0;

    MUST(whole <= (long)size);
    for (size_t i = 0; i < size && !bytes.is_done; i++) {
        long r = http_body_take(&bytes, data + i, 1);

        if (r < 0) {
            MUST(whole < 0);
            return;
        }
        n += r;
    }
    MUST(whole == n && body.is_done == bytes.is_done);
}

/* The server reads one head, with one Host and one way to find the body's end. */
static void check_forwarded(const char *head, size_t len, const struct http_request *request)
{
    struct http_lines lines;
    bool twice;
    long n = http_split(head, len, &lines);

    if (n == -2)
        return; /* with what was added it is more than the reader takes */
    MUST(n == (long)len);
    MUST(http_only(&lines, "Host", &twice) && !twice);
    MUST(http_only(&lines, "Connection", &twice) && !twice);
    http_only(&lines, "Content-Length", &twice);
    MUST(!twice);
    MUST(!http_only(&lines, "Content-Length", &twice) ||
         !http_only(&lines, "Transfer-Encoding", &twice));
    MUST((request->body.framing == HTTP_CHUNKED) ==
         (http_only(&lines, "Transfer-Encoding", &twice) != NULL));
    MUST(!http_only(&lines, "Proxy-Authorization", &twice));
}

static void check_request(const char *data, size_t size)
{
    char *head = malloc(size + HTTP_ADDED_MAX);
    struct http_request request;
    struct http_refusal why = {0};
    size_t len;
    long n;

    MUST(head);
    n = http_read_request(data, size, &request, head, &len, &why);
    MUST(n <= (long)size && len <= size + HTTP_ADDED_MAX);
    MUST(n >= 0 || (why.status >= 400 && why.text));
    if (n > 0) {
        MUST(strlen(request.to.host) > 0 && strcmp(request.to.service, "0") != 0);
        if (request.kind == HTTP_FORWARD)
            check_forwarded(head, len, &request);
        check_body(request.body, data + n, size - (size_t)n);
    }
    free(head);
}

static void check_response(const char *data, size_t size)
{
    char *head = malloc(size + HTTP_ADDED_MAX);
    struct http_lines lines;
    size_t len;
    int status = 0;
    long n, again;

    MUST(head);
    n = http_read_response(data, size, head, &len, &status);
    MUST(n <= (long)size && len <= size + HTTP_ADDED_MAX);
    if (n > 0) {
        again = http_split(head, len, &lines);
        MUST((again == (long)len || again == -2) && status >= 100);
    }
    free(head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] == 's')
        check_socks(data + 1, size - 1);
    else if (data[0] == 'r')
        check_response((const char *)data + 1, size - 1);
    else
        check_request((const char *)data + 1, size - 1);
    return 0;
}
