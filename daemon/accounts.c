/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/accounts.h"

#include <errno.h>
#include <grp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/conf.h"

#define GROUP_FILE "/etc/group"

int accounts_find_group(const char *text, gid_t *ret)
{
    const struct group *group;
    uint64_t number;
    int r = -ENOENT;
    FILE *file;

    /* The last number is the kernel's "none". */
    if (asock_conf_number(text, 0, UINT32_MAX - 1, &number) == 0) {
        *ret = (gid_t)number;
        return 0;
    }
    file = fopen(GROUP_FILE, "re");
    if (!file)
        return -errno;
    while (r != 0 && (group = fgetgrent(file))) {
        if (strcmp(group->gr_name, text) != 0)
            continue;
        *ret = group->gr_gid;
        r = 0;
    }
    fclose(file);
    return r;
}
