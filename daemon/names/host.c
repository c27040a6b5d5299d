/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/names/host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DIGITS "0123456789"
#define HEX DIGITS "abcdefABCDEF"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
/* The underscore is in no host name, and in many. Names in other scripts come as "xn--…". */
#define LABEL_CHARACTERS LETTERS DIGITS "-_"

static bool consists_of(const char *text, const char *characters)
{
    return text[strspn(text, characters)] == '\0';
}

static int parse_ipv4(const char *text, struct sockaddr_in *ret)
{
    *ret = (struct sockaddr_in){.sin_family = AF_INET};
    if (inet_pton(AF_INET, text, &ret->sin_addr) != 1 || ret->sin_addr.s_addr == INADDR_ANY)
        return -EINVAL;
    return 0;
}

/* What follows the '%': an index, or an interface's name. 0: neither. */
static uint32_t parse_scope(const char *text)
{
    if (*text && strlen(text) < 10 && consists_of(text, DIGITS))
        return (uint32_t)strtoul(text, NULL, 10);
    return if_nametoindex(text);
}

static int parse_ipv6(char *text, struct sockaddr_in6 *ret)
{
    char *scope = strchr(text, '%');

    *ret = (struct sockaddr_in6){.sin6_family = AF_INET6};
    if (scope) {
        *scope++ = '\0';
        ret->sin6_scope_id = parse_scope(scope);
        if (ret->sin6_scope_id == 0)
            return -EINVAL;
    }
    if (inet_pton(AF_INET6, text, &ret->sin6_addr) != 1)
        return -EINVAL;
    if (scope && !IN6_IS_ADDR_LINKLOCAL(&ret->sin6_addr))
        return -EINVAL;
    if (IN6_IS_ADDR_UNSPECIFIED(&ret->sin6_addr))
        return -EINVAL;
    /* ::ffff:0.0.0.0 is the unspecified address in disguise. */
    if (IN6_IS_ADDR_V4MAPPED(&ret->sin6_addr) && ret->sin6_addr.s6_addr32[3] == INADDR_ANY)
        return -EINVAL;
    return 0;
}

/* As the last label it would make some programs read an address: "1", "0x1f". */
static bool is_number(const char *label)
{
    if (label[0] == '0' && (label[1] == 'x' || label[1] == 'X'))
        return consists_of(label + 2, HEX);
    return consists_of(label, DIGITS);
}

static bool check_name(const char *name)
{
    const char *label = name;

    for (;;) {
        size_t len = strspn(label, LABEL_CHARACTERS);

        if (len < 1 || len > 63 || (label[len] != '.' && label[len] != '\0'))
            return false;
        if (label[len] == '\0')
            return !is_number(label);
        label += len + 1;
    }
}

static bool is_localhost(const char *name)
{
    static const char localhost[] = "localhost";
    size_t len = strlen(name), local_len = sizeof(localhost) - 1;

    if (len < local_len || strcasecmp(name + len - local_len, localhost) != 0)
        return false;
    return len == local_len || name[len - local_len - 1] == '.';
}

int host_parse(const char *text, struct host *ret)
{
    char copy[HOST_TEXT_MAX + 1];
    size_t len = strlen(text);

    memset(ret, 0, sizeof(*ret));
    if (len > 0 && text[len - 1] == '.')
        len--;
    if (len == 0 || len > HOST_TEXT_MAX)
        return -EINVAL;
    memcpy(ret->name, text, len);
    if (strchr(ret->name, ':')) {
        if (text[len]) /* no address ends in a dot */
            return -EINVAL;
        ret->kind = HOST_ADDRESS;
        strcpy(copy, text);
        return parse_ipv6(copy, &ret->address.in6);
    }
    if (consists_of(text, DIGITS ".")) {
        ret->kind = HOST_ADDRESS;
        return parse_ipv4(text, &ret->address.in);
    }
    if (!check_name(ret->name))
        return -EINVAL;
    ret->kind = is_localhost(ret->name) ? HOST_LOOPBACK : HOST_NAME;
    return 0;
}
