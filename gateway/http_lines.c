/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The lines of a head. Every line ends with CRLF, and CR and LF stand nowhere else; a name is a
 * token with the colon directly behind it; a value has no control characters but tabs; no line
 * continues the one before (RFC 9112, 5.2).
 */
#include "gateway/http.h"

#include <string.h>
#include <strings.h>

bool http_is_token(const char *text, size_t len)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";

    if (len == 0)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              (c && strchr(marks, c))))
            return false;
    }
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_value(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* The length of the line without its end; -1: there is no end yet; -2: it ends wrongly. */
static long line_len(const char *at, size_t len)
{
    const char *end = memchr(at, '\n', len);
    const char *cr = memchr(at, '\r', end ? (size_t)(end - at) : len);

    if (!end)
        /* Only the last byte may be the beginning of a line's end. */
        return cr && cr + 1 < at + len ? -2 : -1;
    return cr && cr + 1 == end ? cr - at : -2;
}

static int add_field(struct http_lines *lines, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    struct http_field field;

    if (!colon || !http_is_token(line, (size_t)(colon - line)))
        return -1;
    if (lines->count == HTTP_FIELDS_MAX)
        return -2;
    field = (struct http_field){.name = line, .name_len = (size_t)(colon - line)};
    field.value = colon + 1;
    field.value_len = len - field.name_len - 1;
    while (field.value_len > 0 && is_blank(field.value[0]))
        field.value++, field.value_len--;
    while (field.value_len > 0 && is_blank(field.value[field.value_len - 1]))
        field.value_len--;
    if (!is_value(field.value, field.value_len))
        return -1;
    lines->fields[lines->count++] = field;
    return 0;
}

long http_split(const char *buf, size_t len, struct http_lines *ret)
{
    size_t at = 0;

    ret->start = NULL;
    ret->count = 0;
    if (len > HTTP_HEAD_MAX)
        len = HTTP_HEAD_MAX;
    for (;;) {
        long n = line_len(buf + at, len - at);
        int r = 0;

        if (n == -1)
            return len == HTTP_HEAD_MAX ? -2 : 0;
        if (n == -2)
            return -1;
        if (n == 0 && ret->start)
            return (long)(at + 2);
        if (ret->start) {
            r = add_field(ret, buf + at, (size_t)n);
        } else if (n > 0) {
            ret->start = buf + at;
            ret->start_len = (size_t)n;
        } else {
            r = -1;
        }
        if (r < 0)
            return r;
        at += (size_t)n + 2;
    }
}

bool http_field_is(const struct http_field *field, const char *name)
{
    return strlen(name) == field->name_len && strncasecmp(field->name, name, field->name_len) == 0;
}

bool http_list_has(const struct http_field *field, const char *word, size_t len)
{
    const char *at = field->value, *end = at + field->value_len;

    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma ? comma : end, *last = stop;

        while (at < last && is_blank(*at))
            at++;
        while (last > at && is_blank(last[-1]))
            last--;
        if ((size_t)(last - at) == len && strncasecmp(at, word, len) == 0)
            return true;
        at = comma ? comma + 1 : end;
    }
    return false;
}

bool http_is_hop(const struct http_lines *lines, const struct http_field *field)
{
    static const char *const names[] = {"Connection", "Keep-Alive",          "Proxy-Connection",
                                        "TE",         "Proxy-Authorization", "Proxy-Authenticate",
                                        "Upgrade"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (http_field_is(field, names[i]))
            return true;
    /* What decides where the message ends stays, whoever names it. */
    if (http_field_is(field, "Transfer-Encoding") || http_field_is(field, "Content-Length"))
        return false;
    for (unsigned int i = 0; i < lines->count; i++)
        if (http_field_is(&lines->fields[i], "Connection") &&
            http_list_has(&lines->fields[i], field->name, field->name_len))
            return true;
    return false;
}

const struct http_field *http_only(const struct http_lines *lines, const char *name, bool *twice)
{
    const struct http_field *found = NULL;

    *twice = false;
    for (unsigned int i = 0; i < lines->count; i++) {
        if (!http_field_is(&lines->fields[i], name))
            continue;
        *twice = found != NULL;
        if (*twice)
            return found;
        found = &lines->fields[i];
    }
    return found;
}

char *http_put(char *to, const char *text, size_t len)
{
    memcpy(to, text, len);
    return to + len;
}
