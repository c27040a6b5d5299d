/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_EXAMPLES_REQUEST_H
#define ASOCK_EXAMPLES_REQUEST_H

/* What the examples say to the server: a text starting with '/' is the path of a web page, anything
 * else is a line. */
#include <stddef.h>
#include <stdio.h>

static inline size_t make_request(char *buf, size_t size, const char *host, const char *text)
{
    int n;

    if (text[0] == '/')
        n = snprintf(buf, size, "GET %s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n", text,
                     host);
    else
        n = snprintf(buf, size, "%s\n", text);
    return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
}

#endif
