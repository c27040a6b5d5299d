/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A response's head on its way to the client: without what is for this hop only, with "Connection:
 * close", since the connection ends behind it. What follows the head goes through as it is.
 */
#include "gateway/http.h"

#include <string.h>

static const char added[] = "Via: 1.1 asockctl\r\nConnection: close\r\n";

/* HTTP/1.x SP three digits, then a space and a reason or nothing. */
static int read_status(const struct http_lines *lines)
{
    const char *at = lines->start;

    if (lines->start_len < 12 || memcmp(at, "HTTP/1.", 7) != 0 || at[8] != ' ' ||
        (lines->start_len > 12 && at[12] != ' '))
        return -1;
    for (int i = 9; i < 12; i++)
        if (at[i] < '0' || at[i] > '9')
            return -1;
    return (at[9] - '0') * 100 + (at[10] - '0') * 10 + (at[11] - '0');
}

/* Whoever reads it must not find two ends: such a response is no response (RFC 9112, 6.3). */
static bool is_framed_once(const struct http_lines *lines)
{
    bool two_codings, two_lengths;
    const struct http_field *coding = http_only(lines, "Transfer-Encoding", &two_codings);
    const struct http_field *length = http_only(lines, "Content-Length", &two_lengths);

    if (two_codings || two_lengths || (coding && length))
        return false;
    for (size_t i = 0; length && i < length->value_len; i++)
        if (length->value[i] < '0' || length->value[i] > '9')
            return false;
    return !length || length->value_len > 0;
}

static bool is_final(int status)
{
    return status >= 200;
}

long http_read_response(const char *buf, size_t len, char *head, size_t *head_len, int *ret_status)
{
    struct http_lines lines;
    long n = http_split(buf, len, &lines);
    char *to = head;

    *head_len = 0;
    if (n <= 0)
        return n < 0 ? -1 : 0;
    *ret_status = read_status(&lines);
    if (*ret_status < 100 || *ret_status == 101)
        return -1; /* no other protocol was asked for */
    if (!is_framed_once(&lines))
        return -1;
    to = http_put(to, lines.start, lines.start_len);
    to = http_put(to, "\r\n", 2);
    for (unsigned int i = 0; i < lines.count; i++) {
        const struct http_field *field = &lines.fields[i];

        if (http_is_hop(&lines, field))
            continue;
        to = http_put(to, field->name, field->name_len);
        to = http_put(to, ": ", 2);
        to = http_put(to, field->value, field->value_len);
        to = http_put(to, "\r\n", 2);
    }
    if (is_final(*ret_status))
        to = http_put(to, added, sizeof(added) - 1);
    to = http_put(to, "\r\n", 2);
    *head_len = (size_t)(to - head);
    return n;
}
