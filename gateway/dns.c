/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/dns.h"

#include <stdbool.h>
#include <string.h>

#define HEAD_SIZE 12u
#define LABEL_MAX 63u
#define CLASS_IN 1u
#define FLAG_RESPONSE 0x80u /* of the header's third byte */
#define FLAG_RECURSION_DESIRED 0x01u
#define OPCODE_MASK 0x78u
#define FLAG_RECURSION_AVAILABLE 0x80u /* of its fourth */
#define POINTER_TO_QUESTION 0xc00cu

static unsigned int read16(const uint8_t *at)
{
    return (unsigned int)at[0] << 8 | at[1];
}

static uint8_t *put16(uint8_t *to, unsigned int value)
{
    to[0] = (uint8_t)(value >> 8);
    to[1] = (uint8_t)value;
    return to + 2;
}

/* Of a host's name; the underscore is in names of services. 0: of none. */
static char name_byte(uint8_t byte)
{
    if (byte >= 'A' && byte <= 'Z')
        return (char)(byte | 0x20);
    if ((byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' || byte == '_')
        return (char)byte;
    return 0;
}

/*
 * Returns where it ends; 0: malformed. A question's name is not compressed: there is nothing in
 * front of it. *is_host: it may be a host's; no other one is anybody's here.
 */
static size_t read_name(const uint8_t *data, size_t len, char name[static DNS_NAME_MAX + 1],
                        bool *is_host)
{
    size_t at = HEAD_SIZE, used = 0;

    *is_host = true;
    while (at < len && data[at] != 0) {
        size_t label = data[at++];

        if (label > LABEL_MAX || label > len - at || used + label + (used > 0) > DNS_NAME_MAX)
            return 0;
        if (used > 0)
            name[used++] = '.';
        for (size_t i = 0; i < label; i++) {
            char byte = name_byte(data[at + i]);

            *is_host &= byte != 0;
            name[used++] = byte ? byte : '?';
        }
        at += label;
    }
    name[used] = 0;
    *is_host &= used > 0;
    return at < len ? at + 1 : 0;
}

int dns_read(const uint8_t *data, size_t len, struct dns_question *ret)
{
    bool is_host;
    size_t end;

    if (len < HEAD_SIZE || data[2] & FLAG_RESPONSE)
        return -1;
    *ret = (struct dns_question){0};
    memcpy(ret->head, data, HEAD_SIZE);
    if (data[2] & OPCODE_MASK)
        return DNS_NOT_IMPLEMENTED;
    if (read16(data + 4) != 1)
        return DNS_FORMAT_ERROR;
    end = read_name(data, len, ret->name, &is_host);
    if (end == 0 || len - end < 4)
        return DNS_FORMAT_ERROR;
    ret->asked_len = end + 4 - HEAD_SIZE;
    memcpy(ret->asked, data + HEAD_SIZE, ret->asked_len);
    ret->type = (uint16_t)read16(data + end);
    if (read16(data + end + 2) != CLASS_IN)
        return DNS_REFUSED;
    return is_host ? DNS_SUCCESS : DNS_NO_SUCH_NAME;
}

size_t dns_write(const struct dns_question *question, enum dns_code code, const void *address,
                 size_t address_len, uint32_t ttl, uint8_t ret[static DNS_MESSAGE_MAX])
{
    uint8_t *to = ret;

    memcpy(to, question->head, 2);
    to[2] = (uint8_t)(FLAG_RESPONSE | (question->head[2] & (OPCODE_MASK | FLAG_RECURSION_DESIRED)));
    to[3] = (uint8_t)(FLAG_RECURSION_AVAILABLE | code);
    to = put16(to + 4, question->asked_len > 0);
    to = put16(to, address != NULL);
    to = put16(put16(to, 0), 0);
    memcpy(to, question->asked, question->asked_len);
    to += question->asked_len;
    if (address) {
        to = put16(to, POINTER_TO_QUESTION);
        to = put16(put16(to, question->type), CLASS_IN);
        to = put16(put16(to, ttl >> 16), ttl & 0xffff);
        to = put16(to, (unsigned int)address_len);
        memcpy(to, address, address_len);
        to += address_len;
    }
    return (size_t)(to - ret);
}
