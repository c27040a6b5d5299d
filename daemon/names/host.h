/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_HOST_H
#define ASOCKD_HOST_H

/*
 * What a client's text for a host is, before anybody is asked. Strict on purpose: what one program
 * takes for a name and another for an address ("127.1", "0x7f.1") is refused, as is what DNS would
 * carry but no host may be called.
 */
#include <net/if.h>
#include <netinet/in.h>

#define HOST_TEXT_MAX 253u /* bytes in text form without a trailing dot, RFC 1035 */

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
    /*
     * The zone of a link-local address where it is an interface's name; "": it is a number, or
     * there is none.
     */
    char zone[IF_NAMESIZE];
};

/*
 * 0, or -EINVAL: neither an address nor a name, or the unspecified address. Looks at the text
 * alone: whether there is an interface of the zone's name is not for a client that may not connect
 * there.
 */
int host_parse(const char *text, struct host *ret);
/* Asks the kernel for the interface of the zone, if there is a name. -EINVAL: there is none. */
int host_find_zone(struct host *host);

/* ASCII, in place: the locale has no say in names. */
void host_lower(char *name);

#endif
