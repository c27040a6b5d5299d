/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/text.h"
#include "tests/lib/suite.h"

#include <stdio.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
    const char *text;
    size_t len;
    uint32_t point;
} characters[] = {
    {"a", 1, 'a'},
    {"\x1b", 1, 0x1b},
    {"\xc3\xa9", 2, 0xe9},
    {"\xe2\x82\xac", 3, 0x20ac},
    {"\xf0\x9f\x98\x80", 4, 0x1f600},
    {"\xf4\x8f\xbf\xbf", 4, 0x10ffff},
    {"\xc3", 1, TEXT_INVALID},             /* cut */
    {"\xe2\x82", 1, TEXT_INVALID},         /* cut */
    {"\x80", 1, TEXT_INVALID},             /* begins in the middle */
    {"\xc0\xaf", 1, TEXT_INVALID},         /* not the shortest form */
    {"\xe0\x80\xaf", 1, TEXT_INVALID},     /* not the shortest form */
    {"\xed\xa0\x80", 1, TEXT_INVALID},     /* surrogate */
    {"\xf4\x90\x80\x80", 1, TEXT_INVALID}, /* too large */
    {"\xf8\x88\x80\x80", 1, TEXT_INVALID}, /* five bytes, once */
    {"\xff", 1, TEXT_INVALID},
};

START_LOOP_TEST(test_text_decode, 0, COUNT(characters))
{
    const char *text = characters[_i].text;
    uint32_t point;

    ck_assert_uint_eq(asock_text_decode(text, TEXT_TO_NUL, &point), characters[_i].len);
    ck_assert_uint_eq(point, characters[_i].point);
    ck_assert_uint_eq(asock_text_decode(text, strlen(text), &point), characters[_i].len);
    ck_assert_uint_eq(point, characters[_i].point);
}
END_TEST

START_TEST(test_text_reads_nothing_behind_its_length)
{
    static const char euro[] = "\xe2\x82\xac";
    uint32_t point;

    for (size_t len = 1; len < 3; len++) {
        ck_assert_uint_eq(asock_text_decode(euro, len, &point), 1);
        ck_assert_uint_eq(point, TEXT_INVALID);
    }
    ck_assert_uint_eq(asock_text_decode(euro, 3, &point), 3);
}
END_TEST

/* Every code point has one form, which is the one that comes back. */
START_TEST(test_text_decode_takes_every_code_point)
{
    for (uint32_t code = 0x80; code <= 0x10ffff; code++) {
        char text[5] = {0};
        size_t len = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
        bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
        uint32_t point;

        for (size_t i = len; i-- > 1;)
            text[i] = (char)(0x80 | (code >> 6 * (len - 1 - i) & 0x3f));
        text[0] = (char)(0xf00 >> len | code >> 6 * (len - 1));
        ck_assert_uint_eq(asock_text_decode(text, len, &point), is_surrogate ? 1 : len);
        ck_assert_uint_eq(point, is_surrogate ? TEXT_INVALID : code);
    }
}
END_TEST

static const struct {
    const char *text, *json;
} strings[] = {
    {"", ""},
    {"say \"hi\" \\ there", "say \\\"hi\\\" \\\\ there"},
    {"a\nb\x01\x1b\x7f", "a\\u000ab\\u0001\\u001b\\u007f"},
    {"\xc3\xa9\xf0\x9f\x98\x80", "\xc3\xa9\xf0\x9f\x98\x80"},
    {"a\xff\xc3z", "a\\\\xff\\\\xc3z"},
    {"\xed\xa0\x80", "\\\\xed\\\\xa0\\\\x80"},
    {"\xc2\x9b\xe2\x80\xa8\xe2\x80\xa9", "\\u009b\\u2028\\u2029"},
};

START_LOOP_TEST(test_text_to_json, 0, COUNT(strings))
{
    char json[64] = "";

    for (const char *text = strings[_i].text; *text;) {
        char piece[TEXT_JSON_MAX];

        text += asock_text_to_json(text, TEXT_TO_NUL, piece);
        strcat(json, piece);
    }
    ck_assert_str_eq(json, strings[_i].json);
}
END_TEST
