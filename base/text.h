/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_BASE_TEXT_H
#define ASOCK_BASE_TEXT_H

/* UTF-8 (RFC 3629: shortest form, no surrogates, up to U+10FFFF), and how it stands in JSON. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_INVALID UINT32_MAX

/* The length of a text that ends with a NUL, which belongs to no longer character. */
#define TEXT_TO_NUL SIZE_MAX

/*
 * The code point that a text of len bytes, one at least, begins with; returns the bytes it takes.
 * TEXT_INVALID and 1: they are not UTF-8.
 */
size_t asock_text_decode(const char *text, size_t len, uint32_t *ret);

static inline bool text_is_control(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point < 0xa0);
}

/*
 * The same, as it stands between the quotes of a JSON string: out gets a string. Control characters
 * and line separators are escaped, so that the result is safe on a terminal; a byte that is not
 * UTF-8 becomes the text \xHH.
 */
#define TEXT_JSON_MAX 8
size_t asock_text_to_json(const char *text, size_t len, char out[static TEXT_JSON_MAX]);

/* Behind a noun of a message: "1 client", "2 clients". */
static inline const char *text_plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

#endif
