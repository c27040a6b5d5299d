/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_TEXT_H
#define CTL_TEXT_H

/*
 * Text for terminals. What clients called themselves must neither move the cursor nor look like
 * ours.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Prints text; what the terminal could not show as itself (controls, formatting characters, what is
 * not UTF-8 or not of this locale) and backslashes as \n, \xHH, \u{HHHH}; with a quote also that
 * one. Returns the columns it takes.
 */
size_t text_print_escaped(FILE *file, const char *text, char quote);

/*
 * The beginning of what text_print_escaped() has made, and an ellipsis: exactly so many columns, 1
 * at least.
 */
void text_print_cut(FILE *file, const char *escaped, size_t columns);

/* "1536" as "1.5K": powers of 1024, at most four digits. Returns buf. */
#define TEXT_NUMBER_MAX 32
const char *text_human_size(int64_t bytes, char buf[TEXT_NUMBER_MAX]);

/* "61500" as "1m01s"; the two largest units. Returns buf. */
const char *text_human_ms(int64_t ms, char buf[TEXT_NUMBER_MAX]);

#endif
