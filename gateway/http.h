/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_HTTP_H
#define GATEWAY_HTTP_H

/*
 * What an HTTP/1 proxy reads and writes (RFC 9110, RFC 9112): the head of a request, the head of a
 * response, and where a request's body ends. Strict: what two readers could take for different
 * things is refused.
 *
 * A plain request is forwarded on a connection of its own, which closes behind the response. So
 * each request is judged by its own destination, and nothing that follows it can reach that server.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/destination.h"

#define HTTP_HEAD_MAX (32u * 1024u) /* of a request or response, all lines */
#define HTTP_FIELDS_MAX 128u
/* What is rewritten is longer by at most this: Host, Via, Connection, and a space in each field. */
#define HTTP_ADDED_MAX (DESTINATION_HOST_MAX + HTTP_FIELDS_MAX + 128u)

enum http_kind { HTTP_CONNECT, HTTP_FORWARD };

enum http_framing { HTTP_NO_BODY, HTTP_LENGTH, HTTP_CHUNKED };

/* Where the body of a request ends. */
struct http_body {
    enum http_framing framing;
    uint64_t left;         /* HTTP_LENGTH: bytes; HTTP_CHUNKED: of this chunk */
    unsigned int state;    /* HTTP_CHUNKED: enum in http_body.c */
    unsigned int digits;   /* of the chunk's size */
    unsigned int trailers; /* bytes of the trailer section */
    bool is_done;
};

struct http_request {
    enum http_kind kind;
    struct destination to;
    struct http_body body;
    bool is_old; /* HTTP/1.0 */
};

/* Why a head is refused: a status and a text for people. */
struct http_refusal {
    int status;
    const char *text;
};

/*
 * A request's head. Returns its length; 0: it is not whole; -1: refused, see *why. HTTP_FORWARD:
 * what goes to the server is put into head, which has room for the length of the head and
 * HTTP_ADDED_MAX.
 */
long http_read_request(const char *buf, size_t len, struct http_request *ret, char *head,
                       size_t *head_len, struct http_refusal *why);

/*
 * A response's head, likewise. *ret_status: 1xx is followed by another head. -1: it is malformed.
 */
long http_read_response(const char *buf, size_t len, char *head, size_t *head_len, int *ret_status);

/* How many of these bytes are of the body; fewer: it has ended. -1: it is malformed. */
long http_body_take(struct http_body *body, const char *buf, size_t len);

/* ---- a head, line by line: for http_request.c and http_response.c ---- */

struct http_field {
    const char *name, *value;
    size_t name_len, value_len;
};

struct http_lines {
    const char *start; /* the first line */
    size_t start_len;
    struct http_field fields[HTTP_FIELDS_MAX];
    unsigned int count;
};

/* Returns the head's length; 0: not whole; -1: malformed; -2: too long or too many fields. */
long http_split(const char *buf, size_t len, struct http_lines *ret);
bool http_field_is(const struct http_field *field, const char *name);
/* Is word, in any case, in the comma-separated value? */
bool http_list_has(const struct http_field *field, const char *word, size_t len);
/* A field that is for the next hop only, by itself or since Connection names it. */
bool http_is_hop(const struct http_lines *lines, const struct http_field *field);
/* The only field of that name; NULL: there is none; *twice: there are several. */
const struct http_field *http_only(const struct http_lines *lines, const char *name, bool *twice);
bool http_is_token(const char *text, size_t len);
/* Appends; the caller has made sure that there is room. */
char *http_put(char *to, const char *text, size_t len);

#endif
