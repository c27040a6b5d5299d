/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_DESTINATION_H
#define GATEWAY_DESTINATION_H

/* Where a program asks the proxy to connect: what asock_op_set_host() takes. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DESTINATION_HOST_MAX 253u /* asock_op_set_host() */

struct destination {
    char host[DESTINATION_HOST_MAX + 1]; /* a name, or an address without brackets */
    char service[sizeof("65535")];
};

/* false: the host is empty, too long, or has bytes that no name or address has. */
bool destination_set(struct destination *to, const char *host, size_t len, unsigned int port);

#endif
