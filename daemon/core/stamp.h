/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STAMP_H
#define ASOCKD_STAMP_H

/* Whether a file is still what it was when it was read, by one stat(2). */
#include <stdbool.h>
#include <sys/stat.h>

struct stamp {
    bool is_taken, is_there, is_settled;
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec modified, changed;
};

/* To be taken before the file is read: a change meanwhile shows the next time. */
void stamp_take(struct stamp *stamp, const char *path);
/*
 * False for a stamp that was never taken (all zero). A file that is missing is the same while it
 * is.
 */
bool stamp_is_current(const struct stamp *stamp, const char *path);

#endif
