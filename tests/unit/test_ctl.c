/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* asockctl's own small parts: text, JSON, table, records. */
#include "ctl/json.h"
#include "ctl/mirror.h"
#include "ctl/record.h"
#include "ctl/stream.h"
#include "ctl/table.h"
#include "tests/lib/suite.h"
#include "ctl/text.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char *written;
static size_t written_len;

static FILE *begin(void)
{
    return open_memstream(&written, &written_len);
}

static void expect(FILE *file, const char *text)
{
    fclose(file);
    ck_assert_str_eq(written, text);
    free(written);
}

static void expect_escaped(const char *text, char quote, const char *escaped, size_t width)
{
    FILE *file = begin();

    ck_assert_uint_eq(text_print_escaped(file, text, quote), width);
    expect(file, escaped);
}

START_TEST(test_escapes_what_plays_with_the_terminal)
{
    setlocale(LC_CTYPE, "C.UTF-8");
    expect_escaped("plain text-1.service", 0, "plain text-1.service", 20);
    expect_escaped("a\x1b[31mb", 0, "a\\x1b[31mb", 10);
    expect_escaped("a\nb\tc\rd", 0, "a\\nb\\tc\\rd", 10);
    expect_escaped("\x7f\xc2\x9b", 0, "\\x7f\\u{9b}", 10);
    expect_escaped("\xe2\x80\xae", 0, "\\u{202e}", 8); /* right-to-left override */
    expect_escaped("\xff\xc3", 0, "\\xff\\xc3", 8);
    expect_escaped("back\\slash", 0, "back\\\\slash", 11);
    expect_escaped("say \"hi\"", '"', "say \\\"hi\\\"", 10);
    expect_escaped("say \"hi\"", 0, "say \"hi\"", 8);
}
END_TEST

START_TEST(test_width_is_columns_not_bytes)
{
    setlocale(LC_CTYPE, "C.UTF-8");
    expect_escaped("caf\xc3\xa9", 0, "caf\xc3\xa9", 4);
    expect_escaped("\xe4\xb8\xad", 0, "\xe4\xb8\xad", 2);
    setlocale(LC_CTYPE, "C");
    expect_escaped("caf\xc3\xa9", 0, "caf\\u{e9}", 9);
}
END_TEST

START_TEST(test_human_numbers)
{
    static const struct {
        int64_t number;
        const char *size, *ms;
    } cases[] = {
        {0, "0", "0.0s"},
        {1023, "1023", "1.0s"},
        {1024, "1.0K", "1.0s"},
        {61500, "60K", "1m01s"},
        {1048575, "1.0M", "17m28s"},
        {104857600, "100M", "1d05h"},
        {INT64_MAX, "8.0E", "106751991167d07h"},
    };
    char buf[TEXT_NUMBER_MAX];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ck_assert_str_eq(text_human_size(cases[i].number, buf), cases[i].size);
        ck_assert_str_eq(text_human_ms(cases[i].number, buf), cases[i].ms);
    }
}
END_TEST

static void expect_json(const char *text, const char *json)
{
    FILE *file = begin();

    json_print_string(file, text);
    expect(file, json);
}

START_TEST(test_json_strings)
{
    expect_json(NULL, "null");
    expect_json("", "\"\"");
    expect_json("say \"hi\" \\ there", "\"say \\\"hi\\\" \\\\ there\"");
    expect_json("a\nb\x01\x1b\x7f", "\"a\\u000ab\\u0001\\u001b\\u007f\"");
    expect_json("\xc3\xa9\xf0\x9f\x98\x80", "\"\xc3\xa9\xf0\x9f\x98\x80\"");
    expect_json("a\xff\xc3z", "\"a\\\\xff\\\\xc3z\"");
    expect_json("\xed\xa0\x80", "\"\\\\xed\\\\xa0\\\\x80\"");
    expect_json("\xc2\x9b\xe2\x80\xa8", "\"\\u009b\\u2028\"");
}
END_TEST

START_TEST(test_json_objects_keep_every_field)
{
    char name[] = "new";
    struct asock_field fields[] = {
        {"id", NULL, INT64_MIN},
        {name, "text", 0},
        {"empty", "", 7},
    };
    struct records records = {0};
    FILE *file;

    records_add(fields, 3, &records);
    records_add(NULL, 0, &records);
    strcpy(name, "---"); /* records hold copies */
    ck_assert_ptr_nonnull(record_find(&records.rows[0], "new"));
    ck_assert_ptr_null(record_find(&records.rows[0], "none"));
    file = begin();
    json_print_record(file, &records.rows[0]);
    json_print_record(file, &records.rows[1]);
    records_free(&records);
    expect(file, "{\"id\": -9223372036854775808, \"new\": \"text\", \"empty\": \"\"}{}");
}
END_TEST

/* Runs print with standard output in a file; gives its content. */
static void capture(void (*print)(const void *data), const void *data, char *buf, size_t size)
{
    FILE *file = tmpfile();
    int saved = dup(STDOUT_FILENO);
    size_t len;

    fflush(stdout);
    dup2(fileno(file), STDOUT_FILENO);
    print(data);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    rewind(file);
    len = fread(buf, 1, size - 1, file);
    buf[len] = 0;
    fclose(file);
}

static void print_table(const void *data)
{
    table_print(*(struct table *const *)data, 0);
}

START_TEST(test_table_fits_its_columns)
{
    static const char *const cells[] = {"ID", "WHO",  "NAME", "1",   "long-name",
                                        "a",  "1000", "x\n",  "b\"c"};
    struct table *table = table_new("rll");
    char buf[256];

    for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++)
        table_add(table, cells[i], i > 3 && i % 3 == 2);
    capture(print_table, &table, buf, sizeof(buf));
    table_free(table);
    ck_assert_str_eq(buf, "  ID  WHO        NAME\n"
                          "   1  long-name  \"a\"\n"
                          "1000  x\\n        \"b\\\"c\"\n");
}
END_TEST

static void print_narrow_table(const void *data)
{
    table_print(*(struct table *const *)data, 24);
}

/* Texts are cut, the widest first, and not within a character; numbers are not. */
START_TEST(test_table_is_cut_to_the_terminal)
{
    static const char *const cells[] = {"ID",
                                        "WHO",
                                        "NAME",
                                        "1234567890",
                                        "a-longer-name",
                                        "b",
                                        "2",
                                        "\xc3\xbc\xc3\xbc-with-two-umlauts",
                                        "cdefghijklm"};
    struct table *table = table_new("rll");
    char buf[256];

    ck_assert_ptr_nonnull(setlocale(LC_CTYPE, "C.UTF-8"));
    for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++)
        table_add(table, cells[i], false);
    capture(print_narrow_table, &table, buf, sizeof(buf));
    table_free(table);
    ck_assert_str_eq(buf, "        ID  WHO    NAME\n"
                          "1234567890  a-lo\u2026  b\n"
                          "         2  \u00fc\u00fc-w\u2026  cdef\u2026\n");
}
END_TEST

static void print_record(const void *data)
{
    record_print(data, true, 0);
}

START_TEST(test_record_is_printed_in_lines)
{
    struct asock_field fields[] = {
        {"id", NULL, 4096},
        {"bytes_in", NULL, 4096},
        {"age_ms", NULL, 4096},
        {"limit_shared", NULL, 67108864},
        {"audit_queued", NULL, 4096},
        {"quota_user", "ops=4096/8192 memory=4096/- audit=0/8388608 shared_memory=-/x \x1b", 0},
        {"name", "\"\x1b", 0},
        {"unit", "\x1b", 0},
    };
    struct record record = {sizeof(fields) / sizeof(fields[0]), fields};
    char buf[512];

    capture(print_record, &record, buf, sizeof(buf));
    ck_assert_str_eq(
        buf, "id            4096\n"
             "bytes_in      4.0K\n"
             "age           4.0s\n"
             "limit_shared  64M\n"
             "audit_queued  4096\n"
             "quota_user    ops=4096/8192 memory=4.0K/- audit=0/8.0M shared_memory=-/x \\x1b\n"
             "name          \"\\\"\\x1b\"\n"
             "unit          \\x1b\n");
}
END_TEST

/* Puts fds in the place of standard input and output for the rest of the test's process. */
static void become(int in, int out)
{
    dup2(in, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
}

static void expect_untouched(void)
{
    ck_assert(!(fcntl(STDIN_FILENO, F_GETFL) & O_NONBLOCK));
    ck_assert(!(fcntl(STDOUT_FILENO, F_GETFL) & O_NONBLOCK));
}

static void fill(struct stream *out)
{
    static char buf[65536];
    ssize_t n = 0;

    for (int i = 0; i < 1000 && n != -EAGAIN; i++)
        n = stream_write(out, buf, sizeof(buf));
    ck_assert_int_eq(n, -EAGAIN); /* 64 MB fit into no pipe or socket */
}

static void check_pair(int in, int out)
{
    struct stream reader, writer;
    char buf[16];

    become(in, out);
    stream_init(&reader, STDIN_FILENO);
    stream_init(&writer, STDOUT_FILENO);
    expect_untouched();
    ck_assert_int_eq(stream_read(&reader, buf, sizeof(buf)), -EAGAIN);
    ck_assert_int_eq(stream_write(&writer, "hello", 5), 5);
    reader.is_ready = true;
    ck_assert_int_eq(stream_read(&reader, buf, sizeof(buf)), 5);
    fill(&writer);
    expect_untouched();
    ck_assert_int_eq(stream_end(&writer), 0);
    ck_assert_int_ge(fcntl(STDOUT_FILENO, F_GETFD), 0);
    stream_deinit(&reader);
}

START_TEST(test_stream_of_a_pipe_never_waits)
{
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    check_pair(fds[0], fds[1]);
}
END_TEST

START_TEST(test_stream_of_a_socket_never_waits)
{
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    check_pair(fds[0], fds[1]);
}
END_TEST

START_TEST(test_stream_without_proc_writes_what_fits)
{
    static char buf[65536];
    struct stream writer;
    int fds[2];

    ck_assert_int_eq(pipe(fds), 0);
    become(fds[0], fds[1]);
    stream_init(&writer, STDOUT_FILENO);
    stream_deinit(&writer); /* as if it could not have been opened again */
    writer.kind = STREAM_BLOCKING;
    writer.piece = 4096;
    writer.is_ready = false;
    ck_assert_int_eq(stream_write(&writer, buf, sizeof(buf)), -EAGAIN);
    writer.is_ready = true;
    ck_assert_int_eq(stream_write(&writer, buf, sizeof(buf)), 4096);
    ck_assert_int_eq(stream_write(&writer, buf, sizeof(buf)), -EAGAIN);
}
END_TEST

/* path and expected are names in directory; expected NULL: it cannot be known. */
static void expect_resolved(const char *directory, const char *path, const char *expected)
{
    char whole[8192], is[4096], wanted[8192];

    snprintf(whole, sizeof(whole), "%s/%s", directory, path);
    snprintf(wanted, sizeof(wanted), "%s/%s", directory, expected ? expected : "");
    ck_assert_msg(mirror_resolve(whole, is) == (expected != NULL), "%s", path);
    if (expected)
        ck_assert_str_eq(is, wanted);
}

START_TEST(test_a_path_is_what_is_behind_its_links)
{
    char made[] = "/tmp/asock-test-XXXXXX", directory[4096], name[4200];
    static const char *const links[][2] = {
        {"relative", "gone/sock"}, {"above", "there/../new"}, {"chain", "relative"},
        {"loop", "pool"},          {"pool", "loop"},          {"folder", "gone"},
        {"slash", "gone/"},
    };

    ck_assert_ptr_nonnull(mkdtemp(made));
    ck_assert_ptr_nonnull(realpath(made, directory));
    snprintf(name, sizeof(name), "%s/there", directory);
    ck_assert_int_eq(mkdir(name, 0700), 0);
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
        snprintf(name, sizeof(name), "%s/%s", directory, links[i][0]);
        ck_assert_int_eq(symlink(links[i][1], name), 0);
    }
    expect_resolved(directory, "there", "there");
    expect_resolved(directory, "gone/sock", "gone/sock");
    expect_resolved(directory, "relative", "gone/sock");
    expect_resolved(directory, "above", "new");
    expect_resolved(directory, "chain", "gone/sock");
    expect_resolved(directory, "chain/more", "gone/sock/more");
    expect_resolved(directory, "folder/sock", "gone/sock");
    expect_resolved(directory, "slash", "gone");
    expect_resolved(directory, "slash/sock", "gone/sock");
    expect_resolved(directory, "loop", NULL);
    expect_resolved(directory, "loop/sock", NULL);
    expect_resolved(directory, "gone/../sock", NULL);
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
        snprintf(name, sizeof(name), "%s/%s", directory, links[i][0]);
        unlink(name);
    }
    snprintf(name, sizeof(name), "%s/there", directory);
    rmdir(name);
    rmdir(directory);
}
END_TEST
