/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/address_port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* The colon before the port, or NULL. false: the brackets are wrong. */
static bool take_brackets(const char *text, size_t len, struct address_port *ret,
                          const char **ret_colon)
{
    const char *end = memchr(text, ']', len), *behind = end ? end + 1 : NULL;

    if (!end || (behind < text + len && *behind != ':'))
        return false;
    ret->is_ipv6 = true;
    ret->address = text + 1;
    ret->address_len = (size_t)(end - ret->address);
    *ret_colon = behind < text + len ? behind : NULL;
    return memchr(ret->address, ':', ret->address_len);
}

bool asock_address_port_split(const char *text, size_t len, struct address_port *ret)
{
    const char *colon = memchr(text, ':', len);

    *ret = (struct address_port){.address = text, .address_len = len};
    if (len > 0 && text[0] == '[') {
        if (!take_brackets(text, len, ret, &colon))
            return false;
    } else if (colon) {
        ret->address_len = (size_t)(colon - text);
    }
    if (colon) {
        ret->port = colon + 1;
        ret->port_len = (size_t)(text + len - ret->port);
    }
    return ret->address_len > 0 && !(colon && memchr(ret->port, ':', ret->port_len));
}

bool asock_address_port_number(const struct address_port *parts, uint16_t min, uint16_t *ret)
{
    unsigned int number = 0;

    if (parts->port_len == 0 || parts->port_len > 5)
        return false;
    for (size_t i = 0; i < parts->port_len; i++) {
        if (parts->port[i] < '0' || parts->port[i] > '9')
            return false;
        number = number * 10 + (unsigned int)(parts->port[i] - '0');
    }
    if (number < min || number > UINT16_MAX)
        return false;
    *ret = (uint16_t)number;
    return true;
}

size_t asock_address_port_numeric(const struct address_port *parts, uint16_t port,
                                  struct sockaddr_storage *ret)
{
    struct sockaddr_in *in = (struct sockaddr_in *)ret;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
    char text[INET6_ADDRSTRLEN];

    memset(ret, 0, sizeof(*ret));
    if (parts->address_len >= sizeof(text))
        return 0;
    memcpy(text, parts->address, parts->address_len);
    text[parts->address_len] = '\0';
    if (parts->is_ipv6) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(port);
        return inet_pton(AF_INET6, text, &in6->sin6_addr) == 1 ? sizeof(*in6) : 0;
    }
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    return inet_pton(AF_INET, text, &in->sin_addr) == 1 ? sizeof(*in) : 0;
}
