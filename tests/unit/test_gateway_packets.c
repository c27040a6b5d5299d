/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a command sends into its own network: questions for names, first packets; and what it is
 * answered.
 */
#include "tests/lib/suite.h"
#include "gateway/dns.h"
#include "gateway/fake_names.h"
#include "gateway/packet.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define HEAD "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
#define BYTES(text) (text), sizeof(text) - 1

/* -------------------------------------------------------------------------------------- names */

static const struct {
    const char *bytes;
    size_t len;
    int code;
    const char *name;
    unsigned int type;
} questions[] = {
    {BYTES(HEAD "\7EXAMPLE\3org\0\0\1\0\1"), DNS_SUCCESS, "example.org", DNS_A},
    {BYTES(HEAD "\1a\0\0\x1c\0\1"), DNS_SUCCESS, "a", DNS_AAAA},
    {BYTES(HEAD "\1a\0\0\x41\0\1"), DNS_SUCCESS, "a", 65},
    {BYTES(HEAD "\0\0\1\0\1"), DNS_NO_SUCH_NAME, "", DNS_A},
    {BYTES(HEAD "\3a b\0\0\1\0\1"), DNS_NO_SUCH_NAME, "a?b", DNS_A},
    {BYTES(HEAD "\3a.b\0\0\1\0\1"), DNS_NO_SUCH_NAME, "a?b", DNS_A},
    {BYTES(HEAD "\1a\0\0\1\0\3"), DNS_REFUSED, "a", DNS_A},
    {BYTES(HEAD "\xc0\x0c\0\1\0\1"), DNS_FORMAT_ERROR, "", 0},
    {BYTES(HEAD "\1a\0\0\1\0"), DNS_FORMAT_ERROR, "a", 0},
    {BYTES(HEAD "\5abc"), DNS_FORMAT_ERROR, "", 0},
    {BYTES("\x12\x34\x01\x00\x00\x02\x00\x00\x00\x00\x00\x00\1a\0\0\1\0\1"), DNS_FORMAT_ERROR, "",
     0},
    {BYTES("\x12\x34\x29\x00\x00\x01\x00\x00\x00\x00\x00\x00\1a\0\0\1\0\1"), DNS_NOT_IMPLEMENTED,
     "", 0},
    {BYTES("\x12\x34\x81\x00\x00\x01\x00\x00\x00\x00\x00\x00\1a\0\0\1\0\1"), -1, "", 0},
    {BYTES("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00"), -1, "", 0},
};

START_LOOP_TEST(test_a_question_is_read_strictly, 0, COUNT(questions))
{
    struct dns_question question;

    ck_assert_int_eq(dns_read((const uint8_t *)questions[_i].bytes, questions[_i].len, &question),
                     questions[_i].code);
    if (questions[_i].code == DNS_SUCCESS || questions[_i].code == DNS_NO_SUCH_NAME) {
        ck_assert_str_eq(question.name, questions[_i].name);
        ck_assert_uint_eq(question.type, questions[_i].type);
    }
}
END_TEST

START_TEST(test_an_answer_repeats_its_question)
{
    static const uint8_t address[4] = {198, 19, 0, 1};
    static const char expected[] = "\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\1A\0\0\1\0\1"
                                   "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc6\x13\0\1";
    uint8_t answer[DNS_MESSAGE_MAX];
    struct dns_question question;

    ck_assert_int_eq(dns_read((const uint8_t *)HEAD "\1A\0\0\1\0\1", 19, &question), DNS_SUCCESS);
    ck_assert_uint_eq(dns_write(&question, DNS_SUCCESS, address, 4, 60, answer),
                      sizeof(expected) - 1);
    ck_assert_mem_eq(answer, expected, sizeof(expected) - 1);
    ck_assert_uint_eq(dns_write(&question, DNS_NO_SUCH_NAME, NULL, 0, 60, answer), 19);
    ck_assert_uint_eq(answer[3], 0x80 | DNS_NO_SUCH_NAME);
}
END_TEST

START_TEST(test_the_longest_name_is_answered_in_512_bytes)
{
    uint8_t data[300], answer[DNS_MESSAGE_MAX], address[16] = {0};
    struct dns_question question;
    size_t at = 12;

    memcpy(data, HEAD, 12);
    for (int label = 0; label < 4; label++) {
        uint8_t len = label < 3 ? 63 : 61;

        data[at++] = len;
        memset(data + at, 'a', len);
        at += len;
    }
    memcpy(data + at, "\0\0\x1c\0\1", 5);
    ck_assert_int_eq(dns_read(data, at + 5, &question), DNS_SUCCESS);
    ck_assert_uint_eq(strlen(question.name), DNS_NAME_MAX);
    ck_assert_uint_le(dns_write(&question, DNS_SUCCESS, address, 16, 60, answer), DNS_MESSAGE_MAX);
    data[12 + 3 * 64] = 62; /* and one byte more is none */
    memcpy(data + at, "a\0\0\x1c\0\1", 6);
    ck_assert_int_eq(dns_read(data, at + 6, &question), DNS_FORMAT_ERROR);
}
END_TEST

static void map(const struct in6_addr *ipv4, struct in6_addr *ret)
{
    *ret = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
    memcpy(&ret->s6_addr[12], ipv4, 4);
}

START_TEST(test_a_name_keeps_its_addresses_and_they_are_its_own)
{
    struct fake_names names;
    struct in6_addr address, mapped;
    char text[32];
    bool is_fake;

    fake_names_init(&names);
    for (unsigned int i = 1; i <= FAKE_NAMES_MAX; i++) {
        snprintf(text, sizeof(text), "host%u.example", i);
        ck_assert_uint_eq(fake_names_add(&names, text), i);
    }
    ck_assert_uint_eq(fake_names_add(&names, "one-more.example"), 0);
    for (unsigned int i = 1; i <= FAKE_NAMES_MAX; i += 257) {
        snprintf(text, sizeof(text), "host%u.example", i);
        ck_assert_uint_eq(fake_names_add(&names, text), i);
        fake_names_address(i, AF_INET, &address);
        map(&address, &mapped);
        ck_assert_str_eq(fake_names_find(&names, &mapped, &is_fake), text);
        fake_names_address(i, AF_INET6, &address);
        ck_assert_str_eq(fake_names_find(&names, &address, &is_fake), text);
    }
    fake_names_deinit(&names);
}
END_TEST

static const struct {
    const char *address;
    bool is_fake;
} addresses[] = {
    {"::ffff:198.18.0.1", true},   {"::ffff:198.19.0.0", true},     {"::ffff:198.19.0.2", true},
    {"::ffff:198.20.0.1", false},  {"::ffff:192.0.2.1", false},     {"fd61:736f:636b::1", true},
    {"fd61:736f:636b::1:2", true}, {"fd61:736f:636b:1::1:1", true}, {"fd61:736f:636c::1:1", false},
    {"2001:db8::1:1", false},
};

START_LOOP_TEST(test_other_addresses_stand_for_no_name, 0, COUNT(addresses))
{
    struct fake_names names;
    struct in6_addr address;
    bool is_fake;

    fake_names_init(&names);
    ck_assert_uint_eq(fake_names_add(&names, "example.org"), 1);
    ck_assert_int_eq(inet_pton(AF_INET6, addresses[_i].address, &address), 1);
    ck_assert_ptr_null(fake_names_find(&names, &address, &is_fake));
    ck_assert(is_fake == addresses[_i].is_fake);
    fake_names_deinit(&names);
}
END_TEST

/* ------------------------------------------------------------------------------------ packets */

#define IP4 "\x45\0\0\x2c\0\1\0\0\x40\6\0\0\xc6\x12\0\2\xc0\0\2\1"
#define IP6                                                                                        \
    "\x60\0\0\0\0\x18\6\x40\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
#define TCP(flags) "\x9c\x40\1\xbb\1\2\3\4\0\0\0\0\x60" flags "\xff\xff\0\0\0\0\2\4\5\xb4"

static const struct {
    const char *bytes;
    size_t len;
    bool is_syn;
} packets[] = {
    {BYTES(IP4 TCP("\2")), true},
    {BYTES(IP6 TCP("\2")), true},
    {BYTES(IP4 TCP("\2") "data"), true},
    {BYTES(IP4 TCP("\xc2")), true}, /* ECN */
    {BYTES(IP4 TCP("\x12")), false},
    {BYTES(IP4 TCP("\6")), false},
    {BYTES(IP4 TCP("\x10")), false},
    {BYTES("\x45\0\0\x2c\0\1\x20\0\x40\6\0\0\xc6\x12\0\2\xc0\0\2\1" TCP("\2")), false},
    {BYTES("\x45\0\0\x2c\0\1\0\0\x40\x11\0\0\xc6\x12\0\2\xc0\0\2\1" TCP("\2")), false},
    {BYTES("\x44\0\0\x2c\0\1\0\0\x40\6\0\0\xc6\x12\0\2\xc0\0\2\1" TCP("\2")), false},
    {BYTES("\x4f\0\0\x2c\0\1\0\0\x40\6\0\0\xc6\x12\0\2\xc0\0\2\1" TCP("\2")), false},
};

/* Cut anywhere it is none; what is read of one is one, with whole checksums. */
START_LOOP_TEST(test_a_first_packet_is_told_from_others, 0, COUNT(packets))
{
    const uint8_t *bytes = (const uint8_t *)packets[_i].bytes;
    struct packet packet, again;

    ck_assert(packet_read_syn(bytes, packets[_i].len, &packet) == packets[_i].is_syn);
    if (!packets[_i].is_syn)
        return;
    ck_assert_uint_eq(packet.flow.source_port, 40000);
    ck_assert_uint_eq(packet.flow.target_port, 443);
    ck_assert_uint_eq(packet.seq, 0x01020304);
    ck_assert(packet_read_syn(packet.head, packet.len, &again));
    ck_assert_mem_eq(&packet, &again, sizeof(packet));
    for (size_t cut = 0; cut < packet.len; cut++) {
        uint8_t *part = malloc(cut + 1); /* so that reading past its end is noticed */

        memcpy(part, bytes, cut);
        ck_assert(!packet_read_syn(part, cut, &again));
        free(part);
    }
}
END_TEST

/*
 * Ones' complement sum of an IP header, or of what TCP and ICMPv6 cover: 0xffff where the checksum
 * is right.
 */
static unsigned int sum_of(const uint8_t *data, size_t len, unsigned int sum)
{
    for (size_t i = 0; i < len; i++)
        sum += i % 2 ? data[i] : (unsigned int)data[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

static const struct {
    enum refusal refusal;
    unsigned int code4, code6;
} refusals[] = {
    {REFUSAL_PORT, 3, 4}, {REFUSAL_NETWORK, 0, 0}, {REFUSAL_HOST, 1, 3}, {REFUSAL_DENIED, 13, 1}};

START_LOOP_TEST(test_a_refusal_is_an_icmp_packet_about_its_cause, 0, COUNT(refusals))
{
    _Alignas(4) uint8_t answer[PACKET_MAX];
    struct packet packet;
    size_t len;

    ck_assert(packet_read_syn((const uint8_t *)BYTES(IP4 TCP("\2")), &packet));
    len = packet_refuse(&packet, refusals[_i].refusal, answer);
    ck_assert_uint_eq(len, 20 + 8 + packet.len);
    ck_assert_uint_eq(sum_of(answer, 20, 0), 0xffff);
    ck_assert_uint_eq(sum_of(answer + 20, len - 20, 0), 0xffff);
    ck_assert_mem_eq(answer + 12, packet.head + 16, 4);
    ck_assert_mem_eq(answer + 16, packet.head + 12, 4);
    ck_assert_uint_eq(answer[20], 3);
    ck_assert_uint_eq(answer[21], refusals[_i].code4);
    ck_assert_mem_eq(answer + 28, packet.head, packet.len);

    ck_assert(packet_read_syn((const uint8_t *)BYTES(IP6 TCP("\2")), &packet));
    len = packet_refuse(&packet, refusals[_i].refusal, answer);
    ck_assert_uint_eq(len, 40 + 8 + packet.len);
    ck_assert_uint_eq(sum_of(answer + 8, len - 8, 58 + (unsigned int)len - 40), 0xffff);
    ck_assert_uint_eq(answer[40], 1);
    ck_assert_uint_eq(answer[41], refusals[_i].code6);
}
END_TEST

START_TEST(test_a_reset_acknowledges_the_first_packet)
{
    _Alignas(4) uint8_t answer[PACKET_MAX];
    struct packet packet;

    ck_assert(packet_read_syn((const uint8_t *)BYTES(IP4 TCP("\2")), &packet));
    ck_assert_uint_eq(packet_refuse(&packet, REFUSAL_REFUSED, answer), 40);
    ck_assert_uint_eq(sum_of(answer + 12, 28, 6 + 20), 0xffff);
    ck_assert_mem_eq(answer + 20, "\1\xbb\x9c\x40\0\0\0\0\1\2\3\5\x50\x14", 14);
}
END_TEST

#define IP4U "\x45\0\0\x20\0\1\0\0\x40\x11\0\0\xc6\x12\0\2\xc0\0\2\1"
#define IP6U                                                                                       \
    "\x60\0\0\0\0\x0c\x11\x40\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
#define UDP "\x9c\x40\1\xbb\0\x0c\0\0"

START_TEST(test_a_datagram_is_answered)
{
    _Alignas(4) uint8_t buf[PACKET_DATAGRAM_HEAD + 65536] = {0};
    const uint8_t *answer;
    struct packet packet;
    size_t len;

    ck_assert(packet_read_datagram((const uint8_t *)BYTES(IP4U UDP "data"), &packet));
    ck_assert_uint_eq(packet.len, 28);
    ck_assert_uint_eq(packet.payload_len, 4);
    memcpy(buf + PACKET_DATAGRAM_HEAD, "answer!", 7);
    len = packet_put_datagram(&packet, buf, 7, &answer);
    ck_assert_uint_eq(len, 35);
    ck_assert_ptr_eq(answer + 28, buf + PACKET_DATAGRAM_HEAD);
    ck_assert_mem_eq(answer + 20, "\1\xbb\x9c\x40\0\x0f", 6);
    ck_assert_uint_eq(sum_of(answer, 20, 0), 0xffff);
    ck_assert_uint_eq(sum_of(answer + 12, 23, 17 + 15), 0xffff);
    ck_assert_mem_eq(answer + 12, packet.head + 16, 4);
    ck_assert_mem_eq(answer + 16, packet.head + 12, 4);
    ck_assert_uint_eq(packet_put_datagram(&packet, buf, 65507, &answer), 65535);
    ck_assert_uint_eq(packet_put_datagram(&packet, buf, 65508, &answer), 0);

    ck_assert(packet_read_datagram((const uint8_t *)BYTES(IP6U UDP "data"), &packet));
    len = packet_put_datagram(&packet, buf, 7, &answer);
    ck_assert_uint_eq(len, 55);
    ck_assert_ptr_eq(answer + 48, buf + PACKET_DATAGRAM_HEAD);
    ck_assert_uint_eq(sum_of(answer + 8, 47, 17 + 15), 0xffff);
    /* A length that is shorter than the header itself. */
    ck_assert(
        !packet_read_datagram((const uint8_t *)BYTES(IP4U "\x9c\x40\1\xbb\0\7\0\0"), &packet));
}
END_TEST
