/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/answer.h"

#include <stdio.h>
#include <string.h>

#include <asock/asock.h>

struct row {
    int error;
    enum socks_code socks;
    int status;
    const char *name; /* RFC 9209, 2.3 */
};

static const struct row rows[] = {
    {ASOCK_ACCESS_DENIED, SOCKS_NOT_ALLOWED, 403, "http_request_denied"},
    {ASOCK_CONNECTION_REFUSED, SOCKS_REFUSED, 502, "connection_refused"},
    {ASOCK_HOST_NOT_FOUND, SOCKS_HOST_UNREACHABLE, 502, "dns_error"},
    {ASOCK_NO_DATA, SOCKS_HOST_UNREACHABLE, 502, "dns_error"},
    {ASOCK_NO_RECOVERY, SOCKS_HOST_UNREACHABLE, 502, "dns_error"},
    {ASOCK_TRY_AGAIN, SOCKS_HOST_UNREACHABLE, 504, "dns_timeout"},
    {ASOCK_TIMED_OUT, SOCKS_TTL_EXPIRED, 504, "connection_timeout"},
    {ASOCK_NETWORK_UNREACHABLE, SOCKS_NETWORK_UNREACHABLE, 502, "destination_ip_unroutable"},
    {ASOCK_NETWORK_DOWN, SOCKS_NETWORK_UNREACHABLE, 502, "destination_ip_unroutable"},
    {ASOCK_HOST_UNREACHABLE, SOCKS_HOST_UNREACHABLE, 502, "destination_ip_unroutable"},
    {ASOCK_HOST_DOWN, SOCKS_HOST_UNREACHABLE, 502, "destination_ip_unroutable"},
    {ASOCK_ADDRESS_NOT_AVAILABLE, SOCKS_NETWORK_UNREACHABLE, 502, "destination_ip_unroutable"},
    {ASOCK_CONNECTION_RESET, SOCKS_GENERAL_FAILURE, 502, "connection_terminated"},
    {ASOCK_TOO_MANY_OPEN_SOCKETS, SOCKS_GENERAL_FAILURE, 503, "connection_limit_reached"},
    {ASOCK_NO_BUFFER_SPACE, SOCKS_GENERAL_FAILURE, 503, "connection_limit_reached"},
    {ASOCK_INVALID_ARGUMENT, SOCKS_GENERAL_FAILURE, 400, "http_request_error"},
};
static const struct row other = {0, SOCKS_GENERAL_FAILURE, 502, "proxy_internal_error"};

static const struct row *row_of(int error)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].error == error)
            return &rows[i];
    return &other;
}

enum socks_code answer_socks(int error)
{
    return row_of(error)->socks;
}

static const char *phrase_of(int status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 408:
        return "Request Timeout";
    case 431:
        return "Request Header Fields Too Large";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    default:
        return "Bad Gateway";
    }
}

static size_t respond(int status, const char *name, const char *text,
                      char buf[static ANSWER_HTTP_MAX])
{
    int n = snprintf(buf, ANSWER_HTTP_MAX,
                     "HTTP/1.1 %d %s\r\nProxy-Status: asockctl; error=%s\r\n"
                     "Content-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\n"
                     "Connection: close\r\n\r\n%s\n",
                     status, phrase_of(status), name, strlen(text) + 1, text);

    return (size_t)n;
}

size_t answer_http(int error, const char *text, char buf[static ANSWER_HTTP_MAX])
{
    const struct row *row = row_of(error);
    char words[ANSWER_HTTP_MAX / 2 + 128];

    /* The daemon's text has at most 512 bytes. */
    snprintf(words, sizeof(words), "%s%s%.512s", asock_strerror(error), text ? ": " : "",
             text ? text : "");
    return respond(row->status, row->name, words, buf);
}

size_t answer_http_refusal(int status, const char *text, char buf[static ANSWER_HTTP_MAX])
{
    return respond(status, "http_request_error", text, buf);
}
