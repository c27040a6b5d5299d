/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_DNS_H
#define GATEWAY_DNS_H

/*
 * What a name server on one machine reads and writes (RFC 1035): one question, one address. Reads
 * bytes, writes bytes, and does nothing else. Strict: what it does not understand has no name.
 */
#include <stddef.h>
#include <stdint.h>

#define DNS_NAME_MAX 253u
/* Without EDNS no answer may be longer; ours are shorter. */
#define DNS_MESSAGE_MAX 512u

enum dns_type { DNS_A = 1, DNS_AAAA = 28 };

enum dns_code {
    DNS_SUCCESS = 0,
    DNS_FORMAT_ERROR = 1,
    DNS_SERVER_FAILURE = 2,
    DNS_NO_SUCH_NAME = 3,
    DNS_NOT_IMPLEMENTED = 4,
    DNS_REFUSED = 5,
};

struct dns_question {
    uint16_t type;               /* enum dns_type, or another one */
    char name[DNS_NAME_MAX + 1]; /* lower case, without a dot at the end */
    /* What goes back: the header as it was, the question's bytes. */
    uint8_t head[12];
    uint8_t asked[DNS_MESSAGE_MAX / 2 + 8];
    size_t asked_len;
};

/*
 * An enum dns_code: DNS_SUCCESS, else what to answer without asking anybody. -1: no answer, it is
 * not a query.
 */
int dns_read(const uint8_t *data, size_t len, struct dns_question *ret);

/*
 * address: of 4 or 16 bytes, for the question's type; NULL: there is none. Returns the answer's
 * length.
 */
size_t dns_write(const struct dns_question *question, enum dns_code code, const void *address,
                 size_t address_len, uint32_t ttl, uint8_t ret[static DNS_MESSAGE_MAX]);

#endif
