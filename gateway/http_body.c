/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a request's body ends (RFC 9112, 6 and 7). The bytes go through as they are, so a chunked
 * body is read as strictly as any server could: no chunk extensions, no line that ends with LF
 * alone, a size of at most 15 digits.
 */
#include "gateway/http.h"

#include <string.h>

#define DIGITS_MAX 15u
#define TRAILERS_MAX 8192u

enum state {
    SIZE,         /* digits of a chunk's size */
    SIZE_LF,      /* behind them: CR was read */
    DATA,         /* the chunk */
    DATA_CR,      /* behind it */
    DATA_LF,      /* CR was read */
    TRAILER,      /* the beginning of a trailer line */
    TRAILER_LINE, /* within one */
    TRAILER_LF,   /* CR was read behind one */
    LAST_LF,      /* CR was read at the beginning of one: the empty line */
};

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool in_size(struct http_body *body, char c)
{
    int digit = digit_of(c);

    if (digit >= 0 && body->digits < DIGITS_MAX) {
        body->left = body->left * 16 + (uint64_t)digit;
        body->digits++;
        return true;
    }
    body->state = SIZE_LF;
    return c == '\r' && body->digits > 0;
}

static bool in_trailer(struct http_body *body, char c)
{
    if (++body->trailers > TRAILERS_MAX || c == '\n' || c == 0)
        return false;
    if (c == '\r')
        body->state = body->state == TRAILER ? LAST_LF : TRAILER_LF;
    else
        body->state = TRAILER_LINE;
    return true;
}

/* Behind a CR there is nothing but LF. */
static bool in_line_end(struct http_body *body, char c)
{
    if (c != '\n')
        return false;
    switch (body->state) {
    case SIZE_LF:
        body->digits = 0;
        body->state = body->left > 0 ? DATA : TRAILER;
        break;
    case DATA_LF:
        body->state = SIZE;
        break;
    case TRAILER_LF:
        body->state = TRAILER;
        break;
    default:
        body->is_done = true;
    }
    return true;
}

static bool take_byte(struct http_body *body, char c)
{
    switch (body->state) {
    case SIZE:
        return in_size(body, c);
    case DATA_CR:
        body->state = DATA_LF;
        return c == '\r';
    case TRAILER:
    case TRAILER_LINE:
        return in_trailer(body, c);
    default:
        return in_line_end(body, c);
    }
}

static size_t take_data(struct http_body *body, size_t len)
{
    size_t n = len < body->left ? len : (size_t)body->left;

    body->left -= n;
    return n;
}

static long take_chunked(struct http_body *body, const char *buf, size_t len)
{
    size_t at = 0;

    while (at < len && !body->is_done) {
        if (body->state == DATA) {
            at += take_data(body, len - at);
            if (body->left == 0)
                body->state = DATA_CR;
        } else if (!take_byte(body, buf[at++])) {
            return -1;
        }
    }
    return (long)at;
}

long http_body_take(struct http_body *body, const char *buf, size_t len)
{
    size_t n;

    if (body->is_done)
        return 0;
    if (body->framing == HTTP_CHUNKED)
        return take_chunked(body, buf, len);
    n = take_data(body, len);
    body->is_done = body->left == 0;
    return (long)n;
}
