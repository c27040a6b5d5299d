/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SUBIDS_H
#define ASOCKD_SUBIDS_H

/*
 * The owners of subordinate user ids, subuid(5). A user may run programs as any id of the user's
 * ranges (newuidmap, rootless containers), so rules about the user apply to them too. Ranges that
 * only NSS knows ("subid:" in nsswitch.conf) are not found.
 */
#include <sys/types.h>

#include "daemon/identity/identity.h"

#define SUBIDS_FILE_MAX (64u * 1024u * 1024u) /* bytes; two million lines */

struct subids;

/* Paths of files like /etc/subuid and /etc/passwd, which outlive it. NULL without memory. */
struct subids *subids_new(const char *subuid, const char *passwd);
struct subids *subids_free(struct subids *subids); /* accepts NULL; returns it */

/*
 * The files are read again when they have changed; a look-up is a binary search.
 * IDENTITY_OWNER_UNKNOWN: the range belongs to a name that /etc/passwd lacks, or to several users,
 * or the file cannot be read; *ret is then the id that stands for the owner where shares are
 * counted.
 */
enum identity_ownership subids_find(struct subids *subids, uid_t uid, uid_t *ret);

/* The same for a client's user id. subids NULL: no id is subordinate. */
void subids_mark(struct subids *subids, struct identity *identity);

#endif
