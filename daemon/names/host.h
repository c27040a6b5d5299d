/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_HOST_H
#define ASOCKD_HOST_H

/*
 * What a client's text for a host is, before anybody is asked. Strict on purpose: what one program
 * takes for a name and another for an address ("127.1", "0x7f.1") is refused, as is what DNS would
 * carry but no host may be called.
 */
#include <netinet/in.h>

#define HOST_TEXT_MAX 253u /* octets in text form without a trailing dot, RFC 1035 */

enum host_kind {
    HOST_NAME,     /* to be resolved */
    HOST_ADDRESS,  /* a literal address */
    HOST_LOOPBACK, /* "localhost" or below it: never asked for, RFC 6761 */
};

struct host {
    enum host_kind kind;
    char name[HOST_TEXT_MAX + 1]; /* as given, without a trailing dot */
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } address; /* HOST_ADDRESS; port 0 */
};

/* 0, or -EINVAL: neither an address nor a name, or the unspecified address. */
int host_parse(const char *text, struct host *ret);

#endif
