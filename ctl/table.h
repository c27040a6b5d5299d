/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

/* Columns as wide as their widest cell; numbers to the right. */
#include <stdbool.h>
#include <stddef.h>

struct table;

/* align: a character per column, 'r' for right; kept. The first cells added are the heads. */
struct table *table_new(const char *align);
struct table *table_free(struct table *table);

/* The next cell; rows fill up by themselves. Escapes text; quotes it if asked to. */
void table_add(struct table *table, const char *text, bool quoted);

/*
 * width: lines of no more columns than these, where that can be; 0: no limit. What is cut ends in
 * an ellipsis.
 */
void table_print(struct table *table, size_t width);

#endif
