/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz/fuzz.h"
#include "gateway/dns.h"
#include "gateway/packet.h"

#include <netinet/in.h>
#include <string.h>

/*
 * What a command sends into its network: 'd' a question to its name server, 's' the first packet of
 * a connection, 'u' a datagram. An answer has its question and fits into 512 bytes; a refusal is
 * for whoever sent the packet.
 */

static void check_question(const uint8_t *data, size_t size)
{
    struct dns_question question, again;
    uint8_t answer[DNS_MESSAGE_MAX], address[16] = {0};
    int code = dns_read(data, size, &question);
    size_t len;

    if (code < 0)
        return;
    MUST(strlen(question.name) <= DNS_NAME_MAX);
    MUST(question.asked_len <= size - 12 && question.asked_len <= sizeof(question.asked));
    MUST(memcmp(question.asked, data + 12, question.asked_len) == 0);
    if (code == DNS_SUCCESS)
        MUST(question.name[0] && strspn(question.name, "abcdefghijklmnopqrstuvwxyz"
                                                       "0123456789-_.") == strlen(question.name));
    len = dns_write(&question, (enum dns_code)code, code ? NULL : address, sizeof(address), 60,
                    answer);
    MUST(len >= 12 && len <= DNS_MESSAGE_MAX && memcmp(answer, data, 2) == 0);
    MUST(dns_read(answer, len, &again) == -1); /* an answer gets no answer */
    if (code != DNS_SUCCESS)
        return;
    for (size_t cut = 0; cut < 12 + question.asked_len; cut++)
        MUST(dns_read(data, cut, &again) != DNS_SUCCESS);
}

static void check_packet(const uint8_t *data, size_t size, bool is_syn)
{
    struct packet packet, again;
    _Alignas(4) uint8_t answer[PACKET_MAX];
    bool known = is_syn ? packet_read_syn(data, size, &packet)
                        : packet_read_datagram(data, size, &packet);

    if (!known)
        return;
    MUST(packet.len <= HEAD_MAX && packet.len <= size);
    MUST(is_syn ? packet_read_syn(packet.head, packet.len, &again)
                : packet_read_datagram(packet.head, packet.len, &again));
    MUST(memcmp(&packet, &again, sizeof(packet)) == 0);
    for (int refusal = REFUSAL_REFUSED; refusal <= REFUSAL_DENIED; refusal++) {
        size_t len = packet_refuse(&packet, (enum refusal)refusal, answer);
        size_t at = packet.family == AF_INET ? 16 : 24;

        MUST(len <= PACKET_MAX && answer[0] >> 4 == (packet.family == AF_INET ? 4 : 6));
        if (packet.family == AF_INET)
            MUST(memcmp(answer + at, &packet.flow.source.s6_addr[12], 4) == 0);
        else
            MUST(memcmp(answer + at, &packet.flow.source, 16) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] == 'd')
        check_question(data + 1, size - 1);
    else
        check_packet(data + 1, size - 1, data[0] == 's');
    return 0;
}
