/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/suite.h"
#include "tests/lib/skip.h"

#define A6 "aaaaaa"
#define A36 A6 A6 A6 A6 A6 A6
#define A511 A36 A36 A36 A36 A36 A36 A36 A36 A36 A36 A36 A36 A36 A36 A6 "a"
#define A1022 A511 A511
#define N64 "n234567890123456789012345678901234567890123456789012345678901234"

static char path[32];

static void write_file(const char *text, size_t len)
{
    FILE *file = fopen(path, "we");

    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, len, file), len);
    ck_assert_int_eq(fclose(file), 0);
}

static void make_file(void)
{
    int fd;

    strcpy(path, "/tmp/asock-conf-XXXXXX");
    fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    close(fd);
}

static void remove_file(void)
{
    unlink(path);
}

/* "Section", "Section/Key=value" per item, each with a newline behind it; the reader's return. */
static int read_items(char *out, size_t cap, char *error)
{
    struct conf_reader reader;
    struct conf_item item;
    size_t n = 0;
    int r;

    *out = '\0';
    r = asock_conf_open(&reader, path);
    while (r >= 0 && (r = asock_conf_next(&reader, &item)) > 0) {
        if (item.key)
            n += (size_t)snprintf(out + n, cap - n, "%s/%s=%s\n", item.section, item.key,
                                  item.value);
        else
            n += (size_t)snprintf(out + n, cap - n, "%s\n", item.section);
    }
    strcpy(error, reader.error);
    asock_conf_close(&reader);
    return r;
}

#define TEXT(t) t, sizeof(t) - 1

static const struct {
    const char *text;
    size_t len;
    const char *items;
    const char *error; /* what follows the path; NULL: none */
} files[] = {
    {TEXT(""), "", NULL},
    {TEXT("\n\n# comment\n; comment\n"), "", NULL},
    {TEXT("[A]\nKey=value\n"), "A\nA/Key=value\n", NULL},
    {TEXT("[A]\nK=1\nK=2\n[B]\n[A]\nK=3\n"), "A\nA/K=1\nA/K=2\nB\nA\nA/K=3\n", NULL},
    {TEXT("[A]\nK = a b  \n"), "A\nA/K=a b\n", NULL},
    {TEXT("[A]\nK=\n"), "A\nA/K=\n", NULL},
    {TEXT("[A]\nK=a=b#c;d\n"), "A\nA/K=a=b#c;d\n", NULL},
    {TEXT("[A]  \nK=\xc3\xa4\n"), "A\nA/K=\xc3\xa4\n", NULL},
    {TEXT("[A]\nK=" A1022 "\n"), "A\nA/K=" A1022 "\n", NULL},
    {TEXT("[" N64 "]\n" N64 "=1\n"), N64 "\n" N64 "/" N64 "=1\n", NULL},

    {TEXT("K=1\n"), "", ":1: K= before the first [Section]"},
    {TEXT("[A]\nK=1"), "A\n", ":2: the file does not end with a newline: was it truncated?"},
    {TEXT("[A]\n K=1\n"), "A\n", ":2: indented line"},
    {TEXT("[A]\n\tK=1\n"), "A\n", ":2: indented line"},
    {TEXT("[A]\n  \n"), "A\n", ":2: indented line"},
    {TEXT("[A]\n # c\n"), "A\n", ":2: indented line"},
    {TEXT("[A]\nK=1\r\n"), "A\n", ":2: control character"},
    {TEXT("[A]\nK=\0\n"), "A\n", ":2: control character"},
    {TEXT("# \x7f\n"), "", ":1: control character"},
    {TEXT("[A]\nKK=" A1022 "\n"), "A\n", ":2: line longer than 1024 bytes"},
    {TEXT("#" A1022 "aa\n"), "", ":1: line longer than 1024 bytes"},
    {TEXT("[A]\nword\n"), "A\n", ":2: neither [Section] nor Key=value"},
    {TEXT("[A]\n=1\n"), "A\n", ":2: \"\" is not a valid key"},
    {TEXT("[A]\nK k=1\n"), "A\n", ":2: \"K k\" is not a valid key"},
    {TEXT("[A]\nK.k=1\n"), "A\n", ":2: \"K.k\" is not a valid key"},
    {TEXT("[A]\n" N64 "n=1\n"), "A\n", ":2: \"" N64 "n\" is not a valid key"},
    {TEXT("[A\n"), "", ":1: the ']' of the section is missing"},
    {TEXT("[\n"), "", ":1: the ']' of the section is missing"},
    {TEXT("[]\n"), "", ":1: \"\" is not a valid section name"},
    {TEXT("[A B]\n"), "", ":1: \"A B\" is not a valid section name"},
    {TEXT("[A] # c\n"), "", ":1: the ']' of the section is missing"},
    {TEXT("[" N64 "n]\n"), "", ":1: \"" N64 "n\" is not a valid section name"},
    {TEXT("\xef\xbb\xbf[A]\n"), "", ":1: neither [Section] nor Key=value"},
};

TEST_FIXTURE(make_file, remove_file);

START_LOOP_TEST(test_conf_files, 0, sizeof(files) / sizeof(files[0]))
{
    char items[4096], error[CONF_ERROR_MAX], expected[CONF_ERROR_MAX] = "";
    int r;

    write_file(files[_i].text, files[_i].len);
    r = read_items(items, sizeof(items), error);
    if (files[_i].error)
        snprintf(expected, sizeof(expected), "%s%s", path, files[_i].error);
    ck_assert_str_eq(error, expected);
    ck_assert_int_eq(r, files[_i].error ? -EBADMSG : 0);
    ck_assert_str_eq(items, files[_i].items);
}
END_TEST

START_TEST(test_conf_refuse_ends_reading)
{
    struct conf_reader reader;
    struct conf_item item;

    write_file(TEXT("\n[A]\nK=1\nK=2\n"));
    ck_assert_int_eq(asock_conf_open(&reader, path), 0);
    ck_assert_int_eq(asock_conf_next(&reader, &item), 1);
    ck_assert_int_eq(asock_conf_next(&reader, &item), 1);
    ck_assert_int_eq(asock_conf_refuse(&reader, "no %s", item.key), -EBADMSG);
    ck_assert_str_eq(reader.error + strlen(path), ":3: no K");
    ck_assert_int_eq(asock_conf_next(&reader, &item), 0);
    asock_conf_close(&reader);
    asock_conf_close(&reader);
}
END_TEST

START_TEST(test_conf_unreadable)
{
    struct conf_reader reader;

    ck_assert_int_eq(asock_conf_open(&reader, "/nonexistent/x"), -ENOENT);
    ck_assert_str_eq(reader.error, "/nonexistent/x: No such file or directory");
    ck_assert_int_eq(asock_conf_open(&reader, "/"), -EISDIR);
    ck_assert_int_eq(asock_conf_open(&reader, "/dev/zero"), -EPERM);
    ck_assert_str_eq(reader.error, "/dev/zero: not a regular file");
    ck_assert_int_eq(asock_conf_open(&reader, "/dev/null"), 0);
    asock_conf_close(&reader);
}
END_TEST

START_TEST(test_conf_too_large)
{
    struct conf_reader reader;

    write_file("", 0);
    ck_assert_int_eq(truncate(path, CONF_FILE_MAX + 1), 0);
    ck_assert_int_eq(asock_conf_open(&reader, path), -EFBIG);
    ck_assert_str_eq(reader.error + strlen(path), ": larger than 16 MiB");
}
END_TEST

/* Whoever may write to it would be an administrator: only root and the reader's own user are. */
START_TEST(test_conf_writable_by_others)
{
    static const mode_t modes[] = {0602, 0620, 0666, 0777};
    struct conf_reader reader;

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        ck_assert_int_eq(chmod(path, modes[i]), 0);
        ck_assert_int_eq(asock_conf_open(&reader, path), -EPERM);
        ck_assert_str_eq(reader.error + strlen(path),
                         ": must not be writable by its group or by others");
    }
    ck_assert_int_eq(chmod(path, 0644), 0);
    ck_assert_int_eq(asock_conf_open(&reader, path), 0);
    asock_conf_close(&reader);
}
END_TEST

START_TEST(test_conf_foreign_owner)
{
    struct conf_reader reader;

    if (geteuid() != 0)
        TEST_SKIP("only root gives files away");
    ck_assert_int_eq(chown(path, 65534, 65534), 0);
    ck_assert_int_eq(asock_conf_open(&reader, path), -EPERM);
    ck_assert_str_eq(reader.error + strlen(path),
                     ": must belong to root or to the user that reads it");
}
END_TEST

/* A FIFO is recognised without waiting for a writer. */
START_TEST(test_conf_fifo)
{
    struct conf_reader reader;

    unlink(path);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_int_eq(asock_conf_open(&reader, path), -EPERM);
    ck_assert_str_eq(reader.error + strlen(path), ": not a regular file");
}
END_TEST

START_TEST(test_conf_open_at_takes_no_link)
{
    struct conf_reader reader;

    ck_assert_int_eq(asock_conf_open_at(&reader, AT_FDCWD, path, "shown"), 0);
    asock_conf_close(&reader);
    unlink(path);
    ck_assert_int_eq(symlink("/etc/passwd", path), 0);
    ck_assert_int_eq(asock_conf_open_at(&reader, AT_FDCWD, path, "shown"), -ELOOP);
    ck_assert_str_eq(reader.error, "shown: a symbolic link");
}
END_TEST

START_TEST(test_conf_text)
{
    struct conf_reader reader;
    struct conf_item item;

    ck_assert_int_eq(asock_conf_open_text(&reader, "shown", TEXT("[A]\nK=1\nK=2")), 0);
    ck_assert_int_eq(asock_conf_next(&reader, &item), 1);
    ck_assert_int_eq(asock_conf_next(&reader, &item), 1);
    ck_assert_str_eq(item.value, "1");
    ck_assert_int_eq(asock_conf_next(&reader, &item), -EBADMSG);
    ck_assert_str_eq(reader.error,
                     "shown:3: the file does not end with a newline: was it truncated?");
    asock_conf_close(&reader);
    ck_assert_int_eq(asock_conf_open_text(&reader, "shown", NULL, 0), 0);
    ck_assert_int_eq(asock_conf_next(&reader, &item), 0);
    asock_conf_close(&reader);
}
END_TEST

static const struct {
    const char *text;
    int number, size; /* returns */
    uint64_t value;
} numbers[] = {
    {"0", 0, 0, 0},
    {"7", 0, 0, 7},
    {"007", 0, 0, 7},
    {"18446744073709551615", -ERANGE, -ERANGE, 0}, /* over the table's maximum */
    {"1099511627776", 0, 0, 1099511627776},        /* the maximum */
    {"1099511627777", -ERANGE, -ERANGE, 0},
    {"99999999999999999999999999", -ERANGE, -ERANGE, 0},
    {"", -EINVAL, -EINVAL, 0},
    {"-1", -EINVAL, -EINVAL, 0},
    {"+1", -EINVAL, -EINVAL, 0},
    {" 1", -EINVAL, -EINVAL, 0},
    {"1 ", -EINVAL, -EINVAL, 0},
    {"0x1", -EINVAL, -EINVAL, 0},
    {"1K", -EINVAL, 0, 1024},
    {"3M", -EINVAL, 0, 3 * 1024 * 1024},
    {"1024G", -EINVAL, 0, 1099511627776},
    {"1025G", -EINVAL, -ERANGE, 0},
    {"17179869184G", -EINVAL, -ERANGE, 0}, /* 2^64 */
    {"K", -EINVAL, -EINVAL, 0},
    {"1k", -EINVAL, -EINVAL, 0},
    {"1KB", -EINVAL, -EINVAL, 0},
    {"1T", -EINVAL, -EINVAL, 0},
};

START_TEST(test_conf_numbers)
{
    uint64_t max = UINT64_C(1) << 40, value;

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        const char *text = numbers[i].text;

        value = 0;
        ck_assert_msg(asock_conf_number(text, 0, max, &value) == numbers[i].number &&
                          value == (numbers[i].number ? 0 : numbers[i].value),
                      "number \"%s\"", text);
        value = 0;
        ck_assert_msg(asock_conf_size(text, 0, max, &value) == numbers[i].size &&
                          value == (numbers[i].size ? 0 : numbers[i].value),
                      "size \"%s\"", text);
    }
    ck_assert_int_eq(asock_conf_number("4", 5, 9, &value), -ERANGE);
    ck_assert_int_eq(asock_conf_number("5", 5, 9, &value), 0);
}
END_TEST
