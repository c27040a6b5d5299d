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

/* What follows the '%': an index, or what may be an interface's name. */
static int parse_zone(const char *text, struct host *ret)
{
    size_t len = strlen(text);

    if (len > 0 && consists_of(text, DIGITS)) {
        if (len >= 10)
            return -EINVAL;
        ret->address.in6.sin6_scope_id = (uint32_t)strtoul(text, NULL, 10);
        return ret->address.in6.sin6_scope_id ? 0 : -EINVAL;
    }
    if (len == 0 || len >= IF_NAMESIZE || text[strcspn(text, "/: \t\r\n\v\f")])
        return -EINVAL;
    strcpy(ret->zone, text);
    return 0;
}

static int parse_ipv6(char *text, struct host *ret)
{
    struct sockaddr_in6 *in6 = &ret->address.in6;
    char *zone = strchr(text, '%');

    *in6 = (struct sockaddr_in6){.sin6_family = AF_INET6};
    if (zone) {
        *zone++ = '\0';
        if (parse_zone(zone, ret) < 0)
            return -EINVAL;
    }
    if (inet_pton(AF_INET6, text, &in6->sin6_addr) != 1)
        return -EINVAL;
    if (zone && !IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr))
        return -EINVAL;
    if (IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr))
        return -EINVAL;
    /* ::ffff:0.0.0.0 is the unspecified address in disguise. */
    if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && in6->sin6_addr.s6_addr32[3] == INADDR_ANY)
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
        return parse_ipv6(copy, ret);
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

int host_find_zone(struct host *host)
{
    if (!host->zone[0])
        return 0;
    host->address.in6.sin6_scope_id = if_nametoindex(host->zone);
    return host->address.in6.sin6_scope_id ? 0 : -EINVAL;
}

void host_lower(char *name)
{
    for (; *name; name++)
        if (*name >= 'A' && *name <= 'Z')
            *name = (char)(*name + 'a' - 'A');
}
