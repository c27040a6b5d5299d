/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proto/endpoint.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

/* By memcpy(): a program's address need not be aligned, and has a type of its own. */
int asock_endpoint_from(const struct sockaddr *addr, socklen_t len, struct endpoint *ret)
{
    *ret = (struct endpoint){0};
    if (!addr || len < sizeof(addr->sa_family))
        return -EINVAL;
    if (addr->sa_family == AF_INET && len >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in in;

        memcpy(&in, addr, sizeof(in));
        memcpy(ret->address, &in.sin_addr, 4);
        ret->address_len = 4;
        ret->port = ntohs(in.sin_port);
        return 0;
    }
    if (addr->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 in6;

        memcpy(&in6, addr, sizeof(in6));
        memcpy(ret->address, &in6.sin6_addr, 16);
        ret->address_len = 16;
        ret->port = ntohs(in6.sin6_port);
        ret->scope_id = in6.sin6_scope_id;
        return 0;
    }
    return addr->sa_family == AF_INET || addr->sa_family == AF_INET6 ? -EINVAL : -EAFNOSUPPORT;
}

socklen_t asock_endpoint_to(const struct endpoint *endpoint, struct sockaddr_storage *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (endpoint->address_len == 4) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(endpoint->port)};

        memcpy(&in.sin_addr, endpoint->address, 4);
        memcpy(ret, &in, sizeof(in));
        return sizeof(in);
    }
    if (endpoint->address_len == 16) {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6,
                                   .sin6_port = htons(endpoint->port),
                                   .sin6_scope_id = endpoint->scope_id};

        memcpy(&in6.sin6_addr, endpoint->address, 16);
        memcpy(ret, &in6, sizeof(in6));
        return sizeof(in6);
    }
    return 0;
}

void asock_sockaddr_set_port(struct sockaddr *addr, uint16_t port)
{
    if (addr->sa_family == AF_INET)
        ((struct sockaddr_in *)(void *)addr)->sin_port = htons(port);
    else
        ((struct sockaddr_in6 *)(void *)addr)->sin6_port = htons(port);
}
