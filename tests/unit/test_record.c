/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/suite.h"
#include "proto/codec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Rows of LIST, SHOW and STATS. */

/* What decoding should show; visited counts the calls. */
struct expected {
    const struct field *fields;
    size_t count;
    int visited;
};

static void same_fields(const struct field *fields, size_t count, void *data)
{
    struct expected *expected = data;
    size_t i;

    expected->visited++;
    ck_assert_uint_eq(count, expected->count);
    for (i = 0; i < count; i++) {
        ck_assert_str_eq(fields[i].name, expected->fields[i].name);
        if (expected->fields[i].text) {
            ck_assert_str_eq(fields[i].text, expected->fields[i].text);
        } else {
            ck_assert_ptr_null(fields[i].text);
            ck_assert_int_eq(fields[i].number, expected->fields[i].number);
        }
    }
}

static void never(const struct field *fields, size_t count, void *data)
{
    ck_abort_msg("a broken record was shown");
}

static void there_and_back(const struct field *fields, size_t count, const struct field *expected)
{
    struct expected what = {expected, count, 0};
    uint8_t buf[CODEC_RECORD_MAX];
    long n;

    n = asock_codec_encode_record(fields, count, buf, sizeof(buf));
    ck_assert_int_ge(n, 0);
    ck_assert_int_eq(asock_codec_decode_record(buf, (size_t)n, same_fields, &what), 0);
    ck_assert_int_eq(what.visited, 1);
}

START_TEST(test_record_round_trip)
{
    static const struct field fields[] = {
        {"id", NULL, 7},         {"name", "caf\xc3\xa9", 0}, {"empty", "", 0},
        {"zero", NULL, 0},       {"least", NULL, INT64_MIN}, {"most", NULL, INT64_MAX},
        {"state", "closing", 0},
    };

    there_and_back(fields, sizeof(fields) / sizeof(fields[0]), fields);
    there_and_back(fields, 0, fields);
}
END_TEST

START_TEST(test_record_most_fields)
{
    struct field fields[CODEC_FIELDS_MAX + 1];
    uint8_t buf[CODEC_RECORD_MAX];
    size_t i;

    for (i = 0; i < CODEC_FIELDS_MAX + 1; i++)
        fields[i] = (struct field){"name", "some text that takes a little room", 0};
    there_and_back(fields, CODEC_FIELDS_MAX, fields);
    ck_assert_int_eq(asock_codec_encode_record(fields, CODEC_FIELDS_MAX + 1, buf, sizeof(buf)),
                     -EINVAL);
}
END_TEST

/* Sixteen texts of the greatest length: nearly all the bytes a record may have. */
START_TEST(test_record_longest_texts)
{
    static char text[CODEC_FIELD_MAX + 1];
    struct field fields[16];
    uint8_t buf[2 * CODEC_RECORD_MAX];
    size_t i;

    memset(text, 't', CODEC_FIELD_MAX);
    for (i = 0; i < 16; i++)
        fields[i] = (struct field){"n", text, 0};
    there_and_back(fields, 15, fields);
    ck_assert_int_eq(asock_codec_encode_record(fields, 16, buf, sizeof(buf)), -ENOBUFS);
}
END_TEST

/* The name of a process is what the process says it is. */
START_TEST(test_record_cleans_texts)
{
    static const struct field dirty[] = {
        {"a", "x\ny", 0},          {"b", "\x1b[31mred", 0},       {"c", "\xff\xfe", 0},
        {"d", "half \xe2\x82", 0}, {"e", "\xc2\x85next line", 0}, {"f", "\xed\xa0\x80", 0},
    };
    static const struct field clean[] = {
        {"a", "x?y", 0},     {"b", "?[31mred", 0},    {"c", "??", 0},
        {"d", "half ??", 0}, {"e", "??next line", 0}, {"f", "???", 0},
    };

    there_and_back(dirty, 6, clean);
}
END_TEST

START_TEST(test_record_cuts_at_a_character)
{
    static char text[CODEC_FIELD_MAX + 16], cut[CODEC_FIELD_MAX + 1];
    struct field dirty = {"n", text, 0}, clean = {"n", cut, 0};

    memset(text, 'x', CODEC_FIELD_MAX - 1);
    strcpy(text + CODEC_FIELD_MAX - 1, "\xc3\xa9 and more");
    memset(cut, 'x', CODEC_FIELD_MAX - 1);
    there_and_back(&dirty, 1, &clean);
}
END_TEST

START_TEST(test_record_small_buffer)
{
    static const struct field fields[] = {{"id", NULL, 7}, {"name", "client", 0}};
    uint8_t buf[CODEC_RECORD_MAX];
    long n, i;

    n = asock_codec_encode_record(fields, 2, buf, sizeof(buf));
    for (i = 0; i < n; i++)
        ck_assert_int_eq(asock_codec_encode_record(fields, 2, buf, (size_t)i), -ENOBUFS);
    ck_assert_int_eq(asock_codec_encode_record(fields, 2, buf, (size_t)n), n);
}
END_TEST

static int decode(const char *bytes, size_t len)
{
    return asock_codec_decode_record((const uint8_t *)bytes, len, never, NULL);
}

START_TEST(test_record_hostile)
{
    uint8_t buf[CODEC_RECORD_MAX + 2];
    size_t i;

    ck_assert_int_eq(decode("\x0a\x05", 2), -EPROTO); /* cut */
    ck_assert_int_eq(decode("\x0a\x05\x0a\x03"
                            "a\0b",
                            7),
                     -EPROTO); /* NUL in a name */
    ck_assert_int_eq(decode("\x0a\x05\x12\x03"
                            "a\nb",
                            7),
                     -EPROTO);                                    /* newline in a text */
    ck_assert_int_eq(decode("\x0a\x03\x12\x01\xff", 5), -EPROTO); /* not UTF-8 */
    for (i = 0; i + 1 < sizeof(buf); i += 2) {                    /* thousands of empty fields */
        buf[i] = 0x0a;
        buf[i + 1] = 0;
    }
    ck_assert_int_eq(decode((const char *)buf, CODEC_RECORD_MAX), -EPROTO);
    ck_assert_int_eq(decode((const char *)buf, sizeof(buf)), -EPROTO);
    ck_assert_int_eq(decode((const char *)buf, 2 * (CODEC_FIELDS_MAX + 1)), -EPROTO);
}
END_TEST
