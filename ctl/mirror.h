/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_MIRROR_H
#define CTL_MIRROR_H

/*
 * Names that a process of this mount namespace must not find, whatever the host does meanwhile. A
 * mount over such a name does not hold: the kernel takes it away in every other namespace when the
 * host removes or replaces the name, and what the host makes in its place is there for all. So each
 * directory on the way to the name, from the one below "/" on, is replaced by one of our own that
 * has the host's other entries: nothing that the host makes in one of these appears here.
 */
#include <stdbool.h>

struct mirror {
    char **own; /* directories that are replaced */
    struct mirror_change {
        char *path;
        const char *source; /* in its place; NULL: nothing */
    } * changes;
    unsigned int own_count, change_count;
};

/*
 * path is absolute, without links and dots, and lies below a directory of "/"; it need not exist.
 * source is the file that is there instead, or NULL; it is not copied.
 */
void mirror_change(struct mirror *mirror, const char *path, const char *source);
/*
 * In an empty directory, of a file system that may go once this has returned. 0 or a negative
 * errno.
 */
int mirror_make(const struct mirror *mirror, const char *stage);
void mirror_free(struct mirror *mirror);

/*
 * The path behind its links, also those to what is not there; its last parts need not exist. false:
 * it cannot be known, and errno says why.
 */
bool mirror_resolve(const char *path, char ret[static 4096]);

#endif
