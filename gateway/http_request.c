/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: split into lines -> method, target, version -> destination -> how the body ends ->
 * for a plain request, the head for the server: the target's path, Host from the target, without
 * what is for this hop only, with Via and "Connection: close".
 * Failures: malformed lines, a target that is not for a proxy, framing that is given twice or
 * unknown.
 */
#include "base/address_port.h"
#include "gateway/http.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char via[] = "Via: 1.1 asockctl\r\n";
static const char closing[] = "Connection: close\r\n\r\n";

struct target {
    const char *method, *text, *version;
    size_t method_len, text_len;
};

static long refuse(struct http_refusal *why, int status, const char *text)
{
    why->status = status;
    why->text = text;
    return -1;
}

/* METHOD SP target SP HTTP/1.x, with single spaces. */
static bool split_start(const struct http_lines *lines, struct target *ret)
{
    const char *end = lines->start + lines->start_len;
    const char *first = memchr(lines->start, ' ', lines->start_len), *second;

    if (!first)
        return false;
    second = memchr(first + 1, ' ', (size_t)(end - first - 1));
    if (!second || second == first + 1)
        return false;
    ret->method = lines->start;
    ret->method_len = (size_t)(first - lines->start);
    ret->text = first + 1;
    ret->text_len = (size_t)(second - first - 1);
    ret->version = second + 1;
    if (!http_is_token(ret->method, ret->method_len) || end - ret->version != 8 ||
        strncmp(ret->version, "HTTP/1.", 7) != 0 || ret->version[7] < '0' || ret->version[7] > '9')
        return false;
    for (size_t i = 0; i < ret->text_len; i++)
        if ((unsigned char)ret->text[i] <= ' ' || (unsigned char)ret->text[i] == 0x7f)
            return false;
    return true;
}

/* host, host:port, [address], [address]:port; port 0: there has to be one. */
static bool read_authority(const char *text, size_t len, uint16_t port, struct destination *to)
{
    struct address_port parts;

    if (memchr(text, '@', len) || !asock_address_port_split(text, len, &parts) ||
        (parts.port && !asock_address_port_number(&parts, 1, &port)))
        return false;
    return port != 0 && destination_set(to, parts.address, parts.address_len, port);
}

/* How the body ends. Two answers to that are refused, also when they agree. */
static long read_framing(const struct http_lines *lines, struct http_request *ret,
                         struct http_refusal *why)
{
    bool two_codings, two_lengths;
    const struct http_field *coding = http_only(lines, "Transfer-Encoding", &two_codings);
    const struct http_field *length = http_only(lines, "Content-Length", &two_lengths);
    struct http_body *body = &ret->body;

    if (two_codings || two_lengths || (coding && length))
        return refuse(why, 400, "the request specifies the length of its body twice");
    if (coding) {
        if (coding->value_len != 7 || strncasecmp(coding->value, "chunked", 7) != 0 || ret->is_old)
            return refuse(why, 501, "the only supported transfer coding is \"chunked\"");
        body->framing = HTTP_CHUNKED;
        return 0;
    }
    if (!length)
        return 0;
    if (length->value_len == 0 || length->value_len > 18)
        return refuse(why, 400, "Content-Length is not a number");
    for (size_t i = 0; i < length->value_len; i++) {
        if (length->value[i] < '0' || length->value[i] > '9')
            return refuse(why, 400, "Content-Length is not a number");
        body->left = body->left * 10 + (uint64_t)(length->value[i] - '0');
    }
    body->framing = body->left > 0 ? HTTP_LENGTH : HTTP_NO_BODY;
    return 0;
}

/* The head for the server. */
static size_t rewrite(const struct http_lines *lines, const struct target *target, bool is_old,
                      const char *authority, size_t authority_len, const char *path, char *head)
{
    char *to = head;
    const char *end = target->text + target->text_len;

    to = http_put(to, target->method, target->method_len + 1);
    if (path == end || *path != '/')
        to = http_put(to, "/", 1);
    to = http_put(to, path, (size_t)(end - path));
    to = http_put(to, is_old ? " HTTP/1.0" : " HTTP/1.1", 9);
    to = http_put(to, "\r\nHost: ", 8);
    to = http_put(to, authority, authority_len);
    to = http_put(to, "\r\n", 2);
    for (unsigned int i = 0; i < lines->count; i++) {
        const struct http_field *field = &lines->fields[i];

        if (http_field_is(field, "Host") || http_is_hop(lines, field))
            continue;
        to = http_put(to, field->name, field->name_len);
        to = http_put(to, ": ", 2);
        to = http_put(to, field->value, field->value_len);
        to = http_put(to, "\r\n", 2);
    }
    to = http_put(to, via, sizeof(via) - 1);
    to = http_put(to, closing, sizeof(closing) - 1);
    return (size_t)(to - head);
}

/* http://authority/path?query, in absolute form (RFC 9112, 3.2.2). */
static long read_absolute(const struct http_lines *lines, const struct target *target,
                          struct http_request *ret, char *head, size_t *head_len,
                          struct http_refusal *why)
{
    static const char scheme[] = "http://";
    const size_t scheme_len = sizeof(scheme) - 1;
    const char *end = target->text + target->text_len, *authority = target->text + scheme_len;
    const char *path = authority;

    if (target->text_len <= scheme_len || strncasecmp(target->text, scheme, scheme_len) != 0)
        return refuse(why, 400, "this is a proxy: request http://HOST/PATH, or use CONNECT");
    if (memchr(target->text, '#', target->text_len))
        return refuse(why, 400, "the URL has a fragment");
    while (path < end && *path != '/' && *path != '?')
        path++;
    if (!read_authority(authority, (size_t)(path - authority), 80, &ret->to))
        return refuse(why, 400, "the URL has no valid host and port");
    ret->kind = HTTP_FORWARD;
    if (read_framing(lines, ret, why) < 0)
        return -1;
    *head_len = rewrite(lines, target, ret->is_old, authority, (size_t)(path - authority), path,
                        head);
    return 0;
}

static long read_target(const struct http_lines *lines, struct http_request *ret, char *head,
                        size_t *head_len, struct http_refusal *why)
{
    struct target target;
    bool twice;
    const struct http_field *host;

    if (!split_start(lines, &target))
        return refuse(why, 400, "the request line is malformed");
    ret->is_old = target.version[7] == '0';
    host = http_only(lines, "Host", &twice);
    if (twice || (!host && !ret->is_old))
        return refuse(why, 400, "the request must have exactly one Host field");
    if (target.method_len != 7 || memcmp(target.method, "CONNECT", 7) != 0)
        return read_absolute(lines, &target, ret, head, head_len, why);
    ret->kind = HTTP_CONNECT;
    if (!read_authority(target.text, target.text_len, 0, &ret->to))
        return refuse(why, 400, "CONNECT requires HOST:PORT");
    return 0;
}

long http_read_request(const char *buf, size_t len, struct http_request *ret, char *head,
                       size_t *head_len, struct http_refusal *why)
{
    struct http_lines lines;
    long n = http_split(buf, len, &lines);

    memset(ret, 0, sizeof(*ret));
    *head_len = 0;
    if (n == 0)
        return 0;
    if (n == -2)
        return refuse(why, 431, "the request header is too large");
    if (n < 0)
        return refuse(why, 400, "the request header is malformed");
    if (read_target(&lines, ret, head, head_len, why) < 0)
        return -1;
    ret->body.is_done = ret->body.framing == HTTP_NO_BODY;
    return n;
}
