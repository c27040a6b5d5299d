/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/idn.h"
#include "ctl/ctl.h"

#include <idn2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool is_ascii(const char *text)
{
    while (*text && !(*text & 0x80))
        text++;
    return !*text;
}

int idn_to_ascii(const char *host, char **ret)
{
    char *name;
    int r;

    if (is_ascii(host)) {
        *ret = need_memory(strdup(host));
        return 0;
    }
    r = idn2_to_ascii_8z(host, &name, IDN2_NONTRANSITIONAL);
    if (r != IDN2_OK) {
        complain("the host is not a name: %s", idn2_strerror(r));
        return -1;
    }
    *ret = need_memory(strdup(name));
    idn2_free(name);
    return 0;
}
