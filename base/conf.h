/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_BASE_CONF_H
#define ASOCK_BASE_CONF_H

/* A comment that asks for no warning about the next line that is none. */
#define CONF_IGNORE "check: ignore"

/*
 * Strict reader of configuration files:
 *
 *     # a comment; ';' too, and only at the start of a line
 *     [Section]
 *     Key=value
 *
 * Whatever could be read in two ways is refused with its file and line: indented lines, control
 * characters, lines over CONF_LINE_MAX, a last line without its newline (a file cut short), keys
 * before the first section. Spaces around '=' and at the end of a line do not count. What sections,
 * keys and values mean, and whether they may come twice, is the caller's to judge, who refuses with
 * asock_conf_refuse().
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stat;

#define CONF_LINE_MAX 1024u       /* bytes without the newline */
#define CONF_NAME_MAX 64u         /* bytes of a section's or a key's name */
#define CONF_FILE_MAX (16u << 20) /* bytes: a policy with as many rules as there may be fits */
#define CONF_ERROR_MAX 512u

struct conf_reader {
    const char *path; /* the caller's; as it is to appear in messages */
    char *text;
    size_t len, pos;
    unsigned int line; /* the one read last */
    bool is_ignored;   /* a comment before it asks for no warning about that line */
    int64_t modified;  /* when the file was, in seconds since 1970; 0: it is no file */
    char section[CONF_NAME_MAX + 1];
    char buf[CONF_LINE_MAX + 1];
    char error[CONF_ERROR_MAX]; /* after a negative return: "path:line: what is wrong" */
};

/* Lives until the next call. */
struct conf_item {
    const char *section;
    const char *key; /* NULL: the section begins here */
    const char *value;
};

/*
 * 0 or -errno. On failure there is nothing to close. -EPERM: not a regular file, or one that
 * somebody but root and the reader's own user may write to: who can change what an administrator
 * says is one.
 */
int asock_conf_open(struct conf_reader *reader, const char *path);
/* A file of an open directory; a symbolic link is refused (-ELOOP). path is for messages. */
int asock_conf_open_at(struct conf_reader *reader, int dir, const char *name, const char *path);
/* What is no file; text is copied. 0 or -ENOMEM. */
int asock_conf_open_text(struct conf_reader *reader, const char *path, const char *text,
                         size_t len);
/* The owner and mode of a file, or directory of such files, as above. */
int asock_conf_check_owner(const struct stat *st, const char **ret_why);
void asock_conf_close(struct conf_reader *reader);

/* 1: an item; 0: the end; -EBADMSG: refused, nothing more can be read. */
int asock_conf_next(struct conf_reader *reader, struct conf_item *ret);

/* The caller refuses the line that was read last; returns -EBADMSG. */
int asock_conf_refuse(struct conf_reader *reader, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Decimal digits and nothing else. 0, -EINVAL, -ERANGE: not min to max. */
int asock_conf_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret);
/* The same with an optional K, M or G (powers of 1024) behind the digits. */
int asock_conf_size(const char *text, uint64_t min, uint64_t max, uint64_t *ret);

#endif
