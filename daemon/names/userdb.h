/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_USERDB_H
#define ASOCKD_USERDB_H

/*
 * Names of users and groups as the configuration has them: those of /etc/passwd and /etc/group, and
 * numbers. No other source of names is asked: what it answers would be somebody else's word, and it
 * may hang.
 */
#include <sys/types.h>

/*
 * 0; -ENOENT: no such name; -EINVAL: a number that no account has; -errno: the file cannot be read.
 * A number need not be in it.
 */
int userdb_find_user(const char *text, uid_t *ret);
int userdb_find_group(const char *text, gid_t *ret);

/*
 * Every user of a file like /etc/passwd, in its order. 0, or -errno: it cannot be read (to its
 * end).
 */
int userdb_each_user(const char *path, void (*callback)(void *data, const char *name, uid_t uid),
                     void *data);

#endif
