/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/destination.h"

#include <stdio.h>
#include <string.h>

/*
 * The daemon decides what a name is. This keeps out what would end a text or play with a terminal.
 */
static bool is_host_byte(unsigned char byte)
{
    return byte > ' ' && byte != 0x7f;
}

bool destination_set(struct destination *to, const char *host, size_t len, unsigned int port)
{
    if (len == 0 || len > DESTINATION_HOST_MAX || port > 65535)
        return false;
    for (size_t i = 0; i < len; i++)
        if (!is_host_byte((unsigned char)host[i]))
            return false;
    memcpy(to->host, host, len);
    to->host[len] = 0;
    snprintf(to->service, sizeof(to->service), "%u", port);
    return true;
}
