/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_PACKET_H
#define GATEWAY_PACKET_H

/*
 * The first packet of a TCP connection, or a datagram, and the packets that refuse them. Reads and
 * writes bytes, and does nothing else.
 */
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Who wants to connect where. Memory without gaps: it is compared and hashed as bytes. */
struct flow {
    struct in6_addr source, target; /* IPv4: as ::ffff:a.b.c.d */
    uint16_t source_port, target_port;
};

/* The largest headers: IPv4 with options, TCP with options. */
#define HEAD_MAX 120u
/* The largest answer: IPv6 and ICMP in front of a SYN. */
#define PACKET_MAX (48u + HEAD_MAX)

struct packet {
    struct flow flow;
    int family;
    uint32_t seq;       /* of TCP */
    size_t payload_len; /* of UDP, as its header says */
    /*
     * The packet without what it carries. A first packet (its data is of TCP Fast Open; the program
     * sends it again) has whole checksums.
     */
    _Alignas(4) uint8_t head[HEAD_MAX];
    size_t len;
};

/* What connect(2) returns, or a call behind it. */
enum refusal {
    REFUSAL_REFUSED, /* ECONNREFUSED */
    REFUSAL_PORT,    /* the same of UDP */
    REFUSAL_NETWORK, /* ENETUNREACH */
    REFUSAL_HOST,    /* EHOSTUNREACH */
    REFUSAL_DENIED,  /* IPv6: EACCES; IPv4 has no such packet: EHOSTUNREACH */
};

/* From the IP header on. false: it is something else, or malformed. */
bool packet_read_syn(const uint8_t *data, size_t len, struct packet *ret);

/* The same for UDP. */
bool packet_read_datagram(const uint8_t *data, size_t len, struct packet *ret);

/*
 * Puts headers in front of the len bytes at buf + PACKET_DATAGRAM_HEAD: an answer to that datagram.
 * Returns the length of what begins at *ret; 0: it is too long. buf: aligned to 4.
 */
#define PACKET_DATAGRAM_HEAD 48u
size_t packet_put_datagram(const struct packet *packet, uint8_t *buf, size_t len,
                           const uint8_t **ret);

/* From the IP header on. Returns its length. */
size_t packet_refuse(const struct packet *packet, enum refusal refusal,
                     uint8_t ret[static PACKET_MAX]); /* ret: aligned to 4 */

#endif
