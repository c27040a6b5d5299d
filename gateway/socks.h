/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_SOCKS_H
#define GATEWAY_SOCKS_H

/*
 * The SOCKS handshakes: SOCKS5 (RFC 1928, with RFC 1929), SOCKS4 and SOCKS4a, both with Tor's
 * RESOLVE. Reads bytes, writes bytes, and does nothing else.
 */
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "gateway/destination.h"

#define SOCKS4_VERSION 4
#define SOCKS5_VERSION 5

/* The longest message: SOCKS4a with a user id and a name; SOCKS5's longest is 513 (RFC 1929). */
#define SOCKS_MESSAGE_MAX (8u + 256u + DESTINATION_HOST_MAX + 1u)
#define SOCKS_ANSWER_MAX 22u /* SOCKS5 with an IPv6 address */

enum socks_code {
    SOCKS_GRANTED = 0,
    SOCKS_GENERAL_FAILURE = 1,
    SOCKS_NOT_ALLOWED = 2,
    SOCKS_NETWORK_UNREACHABLE = 3,
    SOCKS_HOST_UNREACHABLE = 4,
    SOCKS_REFUSED = 5,
    SOCKS_TTL_EXPIRED = 6,
    SOCKS_BAD_COMMAND = 7,
    SOCKS_BAD_ADDRESS_TYPE = 8,
};

enum socks_stage { SOCKS_GREETING, SOCKS_AUTH, SOCKS_REQUEST };

/* Zeroed at first. */
struct socks {
    int version;
    enum socks_stage stage;
};

enum socks_step {
    SOCKS_MORE,      /* the message is not whole yet */
    SOCKS_ANSWER,    /* send the answer, then go on */
    SOCKS_CONNECT,   /* the request; answer it with socks_reply() */
    SOCKS_ASSOCIATE, /* likewise; `to` is where the program says it will send from */
    SOCKS_RESOLVE,   /* likewise: the address of `to`, whose port means nothing */
    SOCKS_FAIL,      /* send the answer, if there is one, then close */
};

struct socks_result {
    size_t consumed;
    uint8_t answer[SOCKS_ANSWER_MAX];
    size_t answer_len;
    struct destination to;
};

/* One message. Its first byte decides about the version. */
enum socks_step socks_read(struct socks *socks, const uint8_t *buf, size_t len,
                           struct socks_result *ret);

/*
 * The answer to the request. addr (may be NULL): the connection's own address, or the one that was
 * asked for. Returns its length.
 */
size_t socks_reply(const struct socks *socks, enum socks_code code,
                   const struct sockaddr_storage *addr, uint8_t answer[static SOCKS_ANSWER_MAX]);

/* ---- datagrams of UDP ASSOCIATE (RFC 1928, section 7) ---- */

#define SOCKS_DATAGRAM_HEAD_MAX 22u /* of one that comes from an IPv6 address */

/* The length of the head, and where it goes. -1: malformed, or a fragment. */
long socks_read_datagram(const uint8_t *buf, size_t len, struct destination *ret);
/* The head of one that comes from there; returns its length. */
size_t socks_write_datagram(const struct sockaddr_storage *from,
                            uint8_t head[static SOCKS_DATAGRAM_HEAD_MAX]);

#endif
