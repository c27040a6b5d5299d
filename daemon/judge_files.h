/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_JUDGE_FILES_H
#define ASOCKD_JUDGE_FILES_H

/* asockd --judge: what JUDGE asks of a daemon, asked of files that need not be in force. */
struct policy_source;

/*
 * fields: "name=value" each, up to a NULL, as JUDGE has them, and "restriction=TEXT" any number of
 * times. Writes records to standard output, the verdict and then each answer that other facts would
 * give: of each field its name, its kind ('T' text, 'N' number) and its value, each with a NUL
 * behind it; behind a record an empty name. 0, or -1: standard error says why.
 */
int judge_files(const struct policy_source *source, char *const *fields);

#endif
