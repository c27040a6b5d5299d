/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_HOSTS_H
#define ASOCKD_HOSTS_H

/* Addresses by name, from /etc/hosts. A table as in file_table.h, which has the other calls. */
#include "daemon/names/file_table.h"
#include "daemon/names/resolver.h"

/* path NULL: /etc/hosts. -ENOMEM. */
int hosts_new(const char *path, struct file_table **ret);

/*
 * name: in lower case. False: the file does not have it. Otherwise `ret` has the result: its
 * addresses of that family (AF_UNSPEC: of both), or NO_DATA where it has only others.
 */
bool hosts_find(const struct file_table *hosts, const char *name, int family,
                struct resolver_result *ret);

#endif
