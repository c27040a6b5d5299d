/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_FILE_TABLE_H
#define ASOCKD_FILE_TABLE_H

/*
 * The names in a file like /etc/hosts, in a hash table of ours. The file is read when the table is
 * made, and again when stat(2) shows that it has changed: in steps, so that a large one delays no
 * session. Until the last step the table says what the file said before.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FILE_TABLE_STEP (32u * 1024) /* bytes of the file: a quarter of a millisecond */
/* Longer lines are cut behind a whole word. */
#define FILE_TABLE_LINE_MAX (64u * 1024)
/* What is behind them is left out, with a message to the log: 100 MB of memory at most. */
#define FILE_TABLE_BYTES_MAX (64u * 1024 * 1024)
#define FILE_TABLE_NAMES_MAX (1024u * 1024)

union file_table_value {
    uint16_t port;
    struct {
        uint8_t family; /* AF_INET, AF_INET6 */
        uint8_t bytes[16];
    } address;
};

struct file_table;
struct file_table_names;

/* Adds what a line says. It has no comment and no newline, and may be changed. */
typedef void (*file_table_line_fn)(struct file_table_names *names, char *line);

/* Reads the whole file; one that is missing is empty. path is copied. -ENOMEM. */
int file_table_new(const char *path, file_table_line_fn take_line, struct file_table **ret);
struct file_table *file_table_free(struct file_table *table); /* accepts NULL; returns it */

/* For file_table_line_fn. */
void file_table_add(struct file_table_names *names, const char *name,
                    const union file_table_value *value);

/*
 * Looks at the file. False: it has changed, and file_table_step() has to be called until it returns
 * true.
 */
bool file_table_is_current(struct file_table *table);
bool file_table_step(struct file_table *table);

/* There is no such file, or it says nothing. */
bool file_table_is_empty(const struct file_table *table);

/*
 * The values of a name, in the file's order. previous NULL: the first one; NULL: there are no more.
 */
const union file_table_value *file_table_find(const struct file_table *table, const char *name,
                                              const union file_table_value *previous);

#endif
