/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: SOCKS5: greeting -> method (-> user and password, any are accepted) -> request.
 * SOCKS4: request.
 * Failures: no method that we have, a command other than CONNECT and RESOLVE, an unknown address
 * type, a name or user id that is too long or malformed. Each gets the protocol's own answer where
 * there is one.
 */
#include "gateway/socks.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#define METHOD_NONE 0x00
#define METHOD_PASSWORD 0x02
#define METHOD_NO_ACCEPTABLE 0xff
#define COMMAND_CONNECT 1
#define COMMAND_ASSOCIATE 3 /* of SOCKS5 */
#define COMMAND_RESOLVE                                                                            \
    0xf0 /* Tor's socks-extensions; its RESOLVE_PTR is unknown here as others are */
#define ADDRESS_IPV4 1
#define ADDRESS_NAME 3
#define ADDRESS_IPV6 4
#define SOCKS4_GRANTED 0x5a
#define SOCKS4_REJECTED 0x5b
#define SOCKS4_USER_MAX 255u

static bool is_known(uint8_t command)
{
    return command == COMMAND_CONNECT || command == COMMAND_RESOLVE;
}

static enum socks_step request_of(uint8_t command)
{
    if (command == COMMAND_ASSOCIATE)
        return SOCKS_ASSOCIATE;
    return command == COMMAND_RESOLVE ? SOCKS_RESOLVE : SOCKS_CONNECT;
}

static enum socks_step answer(struct socks_result *ret, enum socks_step step, uint8_t a, uint8_t b)
{
    ret->answer[0] = a;
    ret->answer[1] = b;
    ret->answer_len = 2;
    return step;
}

static enum socks_step fail(const struct socks *socks, enum socks_code code,
                            struct socks_result *ret)
{
    ret->answer_len = socks_reply(socks, code, NULL, ret->answer);
    return SOCKS_FAIL;
}

/* ---- SOCKS5 ---- */

static enum socks_step read_greeting(struct socks *socks, const uint8_t *buf, size_t len,
                                     struct socks_result *ret)
{
    if (len < 2 || len < 2 + (size_t)buf[1])
        return SOCKS_MORE;
    ret->consumed = 2 + (size_t)buf[1];
    if (memchr(buf + 2, METHOD_NONE, buf[1])) {
        socks->stage = SOCKS_REQUEST;
        return answer(ret, SOCKS_ANSWER, SOCKS5_VERSION, METHOD_NONE);
    }
    if (memchr(buf + 2, METHOD_PASSWORD, buf[1])) {
        socks->stage = SOCKS_AUTH;
        return answer(ret, SOCKS_ANSWER, SOCKS5_VERSION, METHOD_PASSWORD);
    }
    return answer(ret, SOCKS_FAIL, SOCKS5_VERSION, METHOD_NO_ACCEPTABLE);
}

/*
 * RFC 1929. Whatever they are, they are right: who may connect is decided by the kernel's identity.
 */
static enum socks_step read_password(struct socks *socks, const uint8_t *buf, size_t len,
                                     struct socks_result *ret)
{
    size_t password;

    if (buf[0] != 1)
        return answer(ret, SOCKS_FAIL, 1, 1);
    if (len < 2 || len < 3 + (size_t)buf[1])
        return SOCKS_MORE;
    password = 2 + (size_t)buf[1];
    if (len < password + 1 + buf[password])
        return SOCKS_MORE;
    ret->consumed = password + 1 + buf[password];
    socks->stage = SOCKS_REQUEST;
    return answer(ret, SOCKS_ANSWER, 1, 0);
}

/* Bytes of the address with its length byte; 0: an unknown type. */
static size_t address_len(uint8_t type, uint8_t first)
{
    switch (type) {
    case ADDRESS_IPV4:
        return 4;
    case ADDRESS_IPV6:
        return 16;
    case ADDRESS_NAME:
        return 1 + (size_t)first;
    default:
        return 0;
    }
}

static bool set_address(struct destination *to, uint8_t type, const uint8_t *at, unsigned int port)
{
    char text[INET6_ADDRSTRLEN];

    if (type == ADDRESS_NAME)
        return destination_set(to, (const char *)at + 1, at[0], port);
    inet_ntop(type == ADDRESS_IPV4 ? AF_INET : AF_INET6, at, text, sizeof(text));
    return destination_set(to, text, strlen(text), port);
}

static enum socks_step read_request5(struct socks *socks, const uint8_t *buf, size_t len,
                                     struct socks_result *ret)
{
    size_t n;
    const uint8_t *port;

    if (buf[0] != SOCKS5_VERSION)
        return SOCKS_FAIL;
    if (len < 5)
        return SOCKS_MORE;
    n = address_len(buf[3], buf[4]);
    if (n == 0)
        return fail(socks, SOCKS_BAD_ADDRESS_TYPE, ret);
    if (len < 4 + n + 2)
        return SOCKS_MORE;
    ret->consumed = 4 + n + 2;
    if (!is_known(buf[1]) && buf[1] != COMMAND_ASSOCIATE)
        return fail(socks, SOCKS_BAD_COMMAND, ret);
    port = buf + 4 + n;
    if (!set_address(&ret->to, buf[3], buf + 4, (unsigned int)port[0] << 8 | port[1]))
        return fail(socks, SOCKS_GENERAL_FAILURE, ret);
    return request_of(buf[1]);
}

/* ---- SOCKS4 ---- */

/* A text that ends with a NUL: its length; -1: it has more than max bytes; -2: it is not whole. */
static long text_len(const uint8_t *at, size_t len, size_t max)
{
    const uint8_t *end = memchr(at, 0, len < max + 1 ? len : max + 1);

    if (end)
        return end - at;
    return len > max ? -1 : -2;
}

/* 0.0.0.x with x not 0 is SOCKS4a: the name follows the user id. */
static bool has_name(const uint8_t *address)
{
    return address[0] == 0 && address[1] == 0 && address[2] == 0 && address[3] != 0;
}

static enum socks_step read_request4(struct socks *socks, const uint8_t *buf, size_t len,
                                     struct socks_result *ret)
{
    char text[INET_ADDRSTRLEN];
    const char *host = text;
    long user, name = 0;

    if (len < 9)
        return SOCKS_MORE;
    user = text_len(buf + 8, len - 8, SOCKS4_USER_MAX);
    if (user == -2)
        return SOCKS_MORE;
    if (user < 0)
        return fail(socks, SOCKS_GENERAL_FAILURE, ret);
    ret->consumed = 8 + (size_t)user + 1;
    if (has_name(buf + 4)) {
        host = (const char *)buf + ret->consumed;
        name = text_len(buf + ret->consumed, len - ret->consumed, DESTINATION_HOST_MAX);
        if (name == -2)
            return SOCKS_MORE;
        if (name < 0)
            return fail(socks, SOCKS_GENERAL_FAILURE, ret);
        ret->consumed += (size_t)name + 1;
    } else {
        inet_ntop(AF_INET, buf + 4, text, sizeof(text));
        name = (long)strlen(text);
    }
    if (!is_known(buf[1]) ||
        !destination_set(&ret->to, host, (size_t)name, (unsigned int)buf[2] << 8 | buf[3]))
        return fail(socks, SOCKS_GENERAL_FAILURE, ret);
    return request_of(buf[1]);
}

/* ---- both ---- */

enum socks_step socks_read(struct socks *socks, const uint8_t *buf, size_t len,
                           struct socks_result *ret)
{
    ret->consumed = ret->answer_len = 0;
    if (len == 0)
        return SOCKS_MORE;
    if (!socks->version) {
        if (buf[0] != SOCKS4_VERSION && buf[0] != SOCKS5_VERSION)
            return SOCKS_FAIL;
        socks->version = buf[0];
    }
    if (socks->version == SOCKS4_VERSION)
        return read_request4(socks, buf, len, ret);
    if (socks->stage == SOCKS_GREETING)
        return read_greeting(socks, buf, len, ret);
    if (socks->stage == SOCKS_AUTH)
        return read_password(socks, buf, len, ret);
    return read_request5(socks, buf, len, ret);
}

static size_t reply4(enum socks_code code, const struct sockaddr_storage *addr, uint8_t *to)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)addr;

    memset(to, 0, 8);
    to[1] = code == SOCKS_GRANTED ? SOCKS4_GRANTED : SOCKS4_REJECTED;
    if (addr && addr->ss_family == AF_INET) {
        memcpy(to + 2, &in->sin_port, 2);
        memcpy(to + 4, &in->sin_addr, 4);
    }
    return 8;
}

static size_t reply5(enum socks_code code, const struct sockaddr_storage *addr, uint8_t *to)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)addr;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;

    memset(to, 0, SOCKS_ANSWER_MAX);
    to[0] = SOCKS5_VERSION;
    to[1] = (uint8_t)code;
    to[3] = ADDRESS_IPV4;
    if (addr && addr->ss_family == AF_INET6) {
        to[3] = ADDRESS_IPV6;
        memcpy(to + 4, &in6->sin6_addr, 16);
        memcpy(to + 20, &in6->sin6_port, 2);
        return 22;
    }
    if (addr && addr->ss_family == AF_INET) {
        memcpy(to + 4, &in->sin_addr, 4);
        memcpy(to + 8, &in->sin_port, 2);
    }
    return 10;
}

size_t socks_reply(const struct socks *socks, enum socks_code code,
                   const struct sockaddr_storage *addr, uint8_t answer[static SOCKS_ANSWER_MAX])
{
    if (socks->version == SOCKS4_VERSION)
        return reply4(code, addr, answer);
    return reply5(code, addr, answer);
}

/* ---- datagrams ---- */

long socks_read_datagram(const uint8_t *buf, size_t len, struct destination *ret)
{
    const uint8_t *port;
    size_t n;

    /* Two reserved bytes, then the number of a fragment: 0 is a whole one. */
    if (len < 5 || buf[0] || buf[1] || buf[2])
        return -1;
    n = address_len(buf[3], buf[4]);
    if (n == 0 || len < 4 + n + 2)
        return -1;
    port = buf + 4 + n;
    if (!set_address(ret, buf[3], buf + 4, (unsigned int)port[0] << 8 | port[1]))
        return -1;
    return (long)(4 + n + 2);
}

size_t socks_write_datagram(const struct sockaddr_storage *from,
                            uint8_t head[static SOCKS_DATAGRAM_HEAD_MAX])
{
    size_t len = reply5(SOCKS_GRANTED, from, head);

    head[0] = 0; /* where an answer has the version; the rest is the same */
    return len;
}
