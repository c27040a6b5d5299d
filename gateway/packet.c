/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/packet.h"

#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>

#define HOP_LIMIT 64

/* ---- checksums ---- */

static uint32_t add_words(uint32_t sum, const void *data, size_t len)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i + 1 < len; i += 2)
        sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
    if (len % 2)
        sum += (uint32_t)bytes[len - 1] << 8;
    return sum;
}

static uint16_t fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return htons((uint16_t)~sum);
}

/* Of TCP, UDP and ICMPv6: with the addresses that stand in the IP header. */
static uint16_t transport_checksum(const uint8_t *packet, int family, uint8_t protocol,
                                   const void *data, size_t len)
{
    uint32_t sum = (uint32_t)len + protocol;

    sum = family == AF_INET ? add_words(sum, packet + 12, 8) : add_words(sum, packet + 8, 32);
    return fold(add_words(sum, data, len));
}

/* ---- reading ---- */

static void map_address(const void *ipv4, struct in6_addr *ret)
{
    *ret = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
    memcpy(&ret->s6_addr[12], ipv4, 4);
}

/* The length of the IP header; 0: not IP with that protocol behind it, or a fragment. */
static size_t read_ip(const uint8_t *data, size_t len, uint8_t protocol, struct packet *ret)
{
    size_t head = len > 0 ? (size_t)(data[0] & 15) * 4 : 0;

    if (len >= sizeof(struct iphdr) && data[0] >> 4 == 4) {
        if (head < sizeof(struct iphdr) || head > len || data[9] != protocol ||
            ((data[6] << 8 | data[7]) & (IP_MF | IP_OFFMASK)))
            return 0;
        ret->family = AF_INET;
        map_address(data + 12, &ret->flow.source);
        map_address(data + 16, &ret->flow.target);
        return head;
    }
    if (len >= sizeof(struct ip6_hdr) && data[0] >> 4 == 6) {
        if (data[6] != protocol)
            return 0;
        ret->family = AF_INET6;
        memcpy(&ret->flow.source, data + 8, 16);
        memcpy(&ret->flow.target, data + 24, 16);
        return sizeof(struct ip6_hdr);
    }
    return 0;
}

/* Without its payload it is as long as its headers. */
static void set_lengths(struct packet *syn, size_t head)
{
    struct iphdr *ip = (void *)syn->head;
    struct ip6_hdr *ip6 = (void *)syn->head;
    struct tcphdr *tcp = (void *)(syn->head + head);

    if (syn->family == AF_INET) {
        ip->tot_len = htons((uint16_t)syn->len);
        ip->check = 0;
        ip->check = fold(add_words(0, ip, head));
    } else {
        ip6->ip6_plen = htons((uint16_t)(syn->len - head));
    }
    tcp->check = 0;
    tcp->check = transport_checksum(syn->head, syn->family, IPPROTO_TCP, tcp, syn->len - head);
}

bool packet_read_syn(const uint8_t *data, size_t len, struct packet *ret)
{
    struct tcphdr tcp;
    size_t head;

    *ret = (struct packet){0};
    head = read_ip(data, len, IPPROTO_TCP, ret);
    if (head == 0 || len - head < sizeof(tcp))
        return false;
    memcpy(&tcp, data + head, sizeof(tcp));
    if (!tcp.syn || tcp.ack || tcp.rst || tcp.fin || tcp.doff < 5 || tcp.doff * 4u > len - head ||
        tcp.source == 0 || tcp.dest == 0)
        return false;
    ret->flow.source_port = ntohs(tcp.source);
    ret->flow.target_port = ntohs(tcp.dest);
    ret->seq = ntohl(tcp.seq);
    ret->len = head + tcp.doff * 4u;
    memcpy(ret->head, data, ret->len);
    set_lengths(ret, head);
    return true;
}

bool packet_read_datagram(const uint8_t *data, size_t len, struct packet *ret)
{
    struct udphdr udp;
    size_t head;

    *ret = (struct packet){0};
    head = read_ip(data, len, IPPROTO_UDP, ret);
    if (head == 0 || len - head < sizeof(udp))
        return false;
    memcpy(&udp, data + head, sizeof(udp));
    if (ntohs(udp.len) < sizeof(udp))
        return false;
    ret->payload_len = ntohs(udp.len) - sizeof(udp);
    ret->flow.source_port = ntohs(udp.source);
    ret->flow.target_port = ntohs(udp.dest);
    ret->len = head + sizeof(udp);
    memcpy(ret->head, data, ret->len);
    return true;
}

/* ---- writing ---- */

/*
 * An IP header for an answer: from where the program wanted to connect, to it. Returns its length.
 */
static size_t put_ip(const struct packet *packet, uint8_t protocol, size_t len, uint8_t *ret)
{
    struct iphdr *ip = (void *)ret;
    struct ip6_hdr *ip6 = (void *)ret;

    if (packet->family == AF_INET6) {
        *ip6 = (struct ip6_hdr){.ip6_flow = htonl(6u << 28),
                                .ip6_plen = htons((uint16_t)len),
                                .ip6_nxt = protocol,
                                .ip6_hlim = HOP_LIMIT,
                                .ip6_src = packet->flow.target,
                                .ip6_dst = packet->flow.source};
        return sizeof(*ip6);
    }
    *ip = (struct iphdr){.version = 4,
                         .ihl = sizeof(*ip) / 4,
                         .tot_len = htons((uint16_t)(sizeof(*ip) + len)),
                         .ttl = HOP_LIMIT,
                         .protocol = protocol};
    memcpy(&ip->saddr, &packet->flow.target.s6_addr[12], 4);
    memcpy(&ip->daddr, &packet->flow.source.s6_addr[12], 4);
    ip->check = fold(add_words(0, ip, sizeof(*ip)));
    return sizeof(*ip);
}

size_t packet_put_datagram(const struct packet *packet, uint8_t *buf, size_t len,
                           const uint8_t **ret)
{
    size_t head = packet->family == AF_INET ? sizeof(struct iphdr) : sizeof(struct ip6_hdr);
    size_t size = sizeof(struct udphdr) + len;
    uint8_t *at = buf + PACKET_DATAGRAM_HEAD - sizeof(struct udphdr) - head;
    struct udphdr *udp = (void *)(at + head);

    if (head + size > UINT16_MAX)
        return 0;
    put_ip(packet, IPPROTO_UDP, size, at);
    *udp = (struct udphdr){.source = htons(packet->flow.target_port),
                           .dest = htons(packet->flow.source_port),
                           .len = htons((uint16_t)size)};
    udp->check = transport_checksum(at, packet->family, IPPROTO_UDP, udp, size);
    if (udp->check == 0)
        udp->check = 0xffff; /* 0 means that there is none */
    *ret = at;
    return head + size;
}

static size_t put_reset(const struct packet *packet, uint8_t *ret)
{
    size_t head = put_ip(packet, IPPROTO_TCP, sizeof(struct tcphdr), ret);
    struct tcphdr *tcp = (void *)(ret + head);

    *tcp = (struct tcphdr){.source = htons(packet->flow.target_port),
                           .dest = htons(packet->flow.source_port),
                           .ack_seq = htonl(packet->seq + 1),
                           .doff = sizeof(*tcp) / 4,
                           .rst = 1,
                           .ack = 1};
    tcp->check = transport_checksum(ret, packet->family, IPPROTO_TCP, tcp, sizeof(*tcp));
    return head + sizeof(*tcp);
}

/* Type, code, checksum, and behind four bytes of nothing the packet that it is about. */
static size_t put_icmp(const struct packet *packet, uint8_t type, uint8_t code, uint8_t *ret)
{
    bool is_ipv4 = packet->family == AF_INET;
    uint8_t protocol = is_ipv4 ? IPPROTO_ICMP : IPPROTO_ICMPV6;
    size_t len = 8 + packet->len;
    size_t head = put_ip(packet, protocol, len, ret);
    uint8_t *icmp = ret + head;
    uint16_t sum;

    memset(icmp, 0, 8);
    icmp[0] = type;
    icmp[1] = code;
    memcpy(icmp + 8, packet->head, packet->len);
    sum = is_ipv4 ? fold(add_words(0, icmp, len))
                  : transport_checksum(ret, AF_INET6, protocol, icmp, len);
    memcpy(icmp + 2, &sum, sizeof(sum));
    return head + len;
}

size_t packet_refuse(const struct packet *packet, enum refusal refusal,
                     uint8_t ret[static PACKET_MAX])
{
    static const uint8_t codes[] = {
        [REFUSAL_PORT] = ICMP_PORT_UNREACH,
        [REFUSAL_NETWORK] = ICMP_NET_UNREACH,
        [REFUSAL_HOST] = ICMP_HOST_UNREACH,
        [REFUSAL_DENIED] = ICMP_PKT_FILTERED,
    };
    static const uint8_t codes6[] = {
        [REFUSAL_PORT] = ICMP6_DST_UNREACH_NOPORT,
        [REFUSAL_NETWORK] = ICMP6_DST_UNREACH_NOROUTE,
        [REFUSAL_HOST] = ICMP6_DST_UNREACH_ADDR,
        [REFUSAL_DENIED] = ICMP6_DST_UNREACH_ADMIN,
    };

    if (refusal == REFUSAL_REFUSED)
        return put_reset(packet, ret);
    if (packet->family == AF_INET)
        return put_icmp(packet, ICMP_DEST_UNREACH, codes[refusal], ret);
    return put_icmp(packet, ICMP6_DST_UNREACH, codes6[refusal], ret);
}
