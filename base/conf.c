/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define DIGITS "0123456789"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

int asock_conf_refuse(struct conf_reader *reader, const char *format, ...)
{
    va_list args;
    int n;

    n = snprintf(reader->error, sizeof(reader->error), "%s:%u: ", reader->path, reader->line);
    if (n > 0 && (size_t)n < sizeof(reader->error)) {
        va_start(args, format);
        vsnprintf(reader->error + n, sizeof(reader->error) - (size_t)n, format, args);
        va_end(args);
    }
    reader->pos = reader->len;
    return -EBADMSG;
}

/* Grows as the file turns out to be, not as stat(2) says: it may be written to. */
static int read_all(struct conf_reader *reader, int fd)
{
    size_t cap = 0;
    ssize_t n;

    for (;;) {
        if (reader->len == cap) {
            char *text = realloc(reader->text, cap + 16384);

            if (!text)
                return -ENOMEM;
            reader->text = text;
            cap += 16384;
        }
        n = read(fd, reader->text + reader->len, cap - reader->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        reader->len += (size_t)n;
        if (reader->len > CONF_FILE_MAX)
            return -EFBIG;
    }
}

static int refuse_file(struct conf_reader *reader, const char *why)
{
    snprintf(reader->error, sizeof(reader->error), "%s: %s", reader->path, why);
    return -EPERM;
}

int asock_conf_check_owner(const struct stat *st, const char **ret_why)
{
    if (st->st_uid != 0 && st->st_uid != geteuid())
        *ret_why = "must belong to root or to the user that reads it";
    else if (st->st_mode & (S_IWGRP | S_IWOTH))
        *ret_why = "must not be writable by its group or by others";
    else
        return 0;
    return -EPERM;
}

/* Of what has been opened, whatever the name stands for by now. */
static int check_file(struct conf_reader *reader, int fd)
{
    const char *why;
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))
        return 0; /* /dev/null: an empty file, whoever may write to it */
    if (!S_ISREG(st.st_mode))
        return refuse_file(reader, "not a regular file");
    reader->modified = st.st_mtime;
    return asock_conf_check_owner(&st, &why) < 0 ? refuse_file(reader, why) : 0;
}

/* How systemd masks a file: the one link that is followed. */
static bool is_masked(int dir, const char *name)
{
    static const char null[] = "/dev/null";
    char target[sizeof(null)];

    return readlinkat(dir, name, target, sizeof(target)) == (ssize_t)strlen(null) &&
           memcmp(target, null, strlen(null)) == 0;
}

static int open_and_read(struct conf_reader *reader, int dir, const char *name, int flags)
{
    /* Opening a FIFO must not wait for a writer: it is only opened to see that it is not a file. */
    const int all = O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | flags;
    int fd = openat(dir, name, all), r;

    if (fd < 0 && errno == ELOOP && is_masked(dir, name))
        fd = openat(AT_FDCWD, "/dev/null", all);
    if (fd < 0)
        return -errno;
    r = check_file(reader, fd);
    if (r == 0)
        r = read_all(reader, fd);
    close(fd);
    return r;
}

static int begin(struct conf_reader *reader, int dir, const char *name, const char *path, int flags)
{
    int r;

    memset(reader, 0, sizeof(*reader));
    reader->path = path;
    r = open_and_read(reader, dir, name, flags);
    if (r == 0)
        return 0;
    asock_conf_close(reader);
    if (r == -ELOOP)
        refuse_file(reader, "a symbolic link");
    else if (r == -EFBIG)
        refuse_file(reader, "larger than 16 MiB");
    else if (!reader->error[0])
        refuse_file(reader, strerror(-r));
    return r;
}

int asock_conf_open(struct conf_reader *reader, const char *path)
{
    return begin(reader, AT_FDCWD, path, path, 0);
}

int asock_conf_open_at(struct conf_reader *reader, int dir, const char *name, const char *path)
{
    return begin(reader, dir, name, path, O_NOFOLLOW);
}

int asock_conf_open_text(struct conf_reader *reader, const char *path, const char *text, size_t len)
{
    memset(reader, 0, sizeof(*reader));
    reader->path = path;
    reader->text = malloc(len > 0 ? len : 1);
    if (!reader->text) {
        refuse_file(reader, strerror(ENOMEM));
        return -ENOMEM;
    }
    if (len > 0)
        memcpy(reader->text, text, len);
    reader->len = len;
    return 0;
}

void asock_conf_close(struct conf_reader *reader)
{
    free(reader->text);
    reader->text = NULL;
    reader->len = reader->pos = 0;
}

static bool has_control(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return true;
    }
    return false;
}

/* The next line, without the newline and trailing spaces, in buf. */
static int take_line(struct conf_reader *reader)
{
    const char *start = reader->text + reader->pos;
    const char *end = memchr(start, '\n', reader->len - reader->pos);
    size_t len;

    reader->line++;
    if (!end)
        return asock_conf_refuse(reader, "the file does not end with a newline: was it truncated?");
    len = (size_t)(end - start);
    reader->pos += len + 1;
    if (len > CONF_LINE_MAX)
        return asock_conf_refuse(reader, "line longer than %u bytes", CONF_LINE_MAX);
    if (len > 0 && (*start == ' ' || *start == '\t'))
        return asock_conf_refuse(reader, "indented line");
    if (has_control(start, len))
        return asock_conf_refuse(reader, "control character");
    while (len > 0 && start[len - 1] == ' ')
        len--;
    memcpy(reader->buf, start, len);
    reader->buf[len] = '\0';
    return 0;
}

static bool is_name(const char *text)
{
    size_t len = strspn(text, LETTERS DIGITS);

    return len > 0 && len <= CONF_NAME_MAX && text[len] == '\0';
}

static int parse_section(struct conf_reader *reader, struct conf_item *ret)
{
    char *name = reader->buf + 1;
    size_t len = strlen(name);

    if (len == 0 || name[len - 1] != ']')
        return asock_conf_refuse(reader, "the ']' of the section is missing");
    name[len - 1] = '\0';
    if (!is_name(name))
        return asock_conf_refuse(reader, "\"%s\" is not a valid section name", name);
    strcpy(reader->section, name);
    *ret = (struct conf_item){.section = reader->section};
    return 1;
}

static int parse_pair(struct conf_reader *reader, struct conf_item *ret)
{
    char *key = reader->buf, *value = strchr(key, '='), *end;

    if (!value)
        return asock_conf_refuse(reader, "neither [Section] nor Key=value");
    for (end = value; end > key && end[-1] == ' '; end--)
        ;
    *value++ = '\0';
    *end = '\0';
    value += strspn(value, " ");
    if (!is_name(key))
        return asock_conf_refuse(reader, "\"%s\" is not a valid key", key);
    if (!reader->section[0])
        return asock_conf_refuse(reader, "%s= before the first [Section]", key);
    *ret = (struct conf_item){.section = reader->section, .key = key, .value = value};
    return 1;
}

/* With any spaces behind the '#'. */
static bool asks_to_ignore(const char *comment)
{
    return strcmp(comment + 1 + strspn(comment + 1, " "), CONF_IGNORE) == 0;
}

int asock_conf_next(struct conf_reader *reader, struct conf_item *ret)
{
    int r;

    reader->is_ignored = false;
    while (reader->pos < reader->len) {
        r = take_line(reader);
        if (r < 0)
            return r;
        if (reader->buf[0] == '#' || reader->buf[0] == ';')
            reader->is_ignored |= asks_to_ignore(reader->buf);
        if (reader->buf[0] == '\0' || reader->buf[0] == '#' || reader->buf[0] == ';')
            continue;
        if (reader->buf[0] == '[')
            return parse_section(reader, ret);
        return parse_pair(reader, ret);
    }
    return 0;
}

static int parse_number(const char *text, uint64_t unit, uint64_t min, uint64_t max, uint64_t *ret)
{
    uint64_t n = 0;

    for (; *text >= '0' && *text <= '9'; text++) {
        if (n > (UINT64_MAX - 9) / 10)
            return -ERANGE;
        n = n * 10 + (uint64_t)(*text - '0');
    }
    if (n > UINT64_MAX / unit)
        return -ERANGE;
    n *= unit;
    if (n < min || n > max)
        return -ERANGE;
    *ret = n;
    return 0;
}

int asock_conf_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    size_t digits = strspn(text, DIGITS);

    if (digits == 0 || text[digits] != '\0')
        return -EINVAL;
    return parse_number(text, 1, min, max, ret);
}

int asock_conf_size(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    static const char suffixes[] = "KMG";
    size_t digits = strspn(text, DIGITS);
    const char *suffix;

    if (text[digits] == '\0')
        return asock_conf_number(text, min, max, ret);
    suffix = strchr(suffixes, text[digits]);
    if (digits == 0 || !suffix || text[digits + 1] != '\0')
        return -EINVAL;
    return parse_number(text, UINT64_C(1024) << (10 * (suffix - suffixes)), min, max, ret);
}
