/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A CONNECT to literal addresses: one, or a list of them, which is tried as the addresses of a name
 * are.
 */
#include <string.h>

#include "daemon/net/happy_eyeballs.h"
#include "daemon/session/sock.h"
#include "daemon/verbs/connect.h"
#include "proto/endpoint.h"
#include "proto/errors.h"

static bool is_of_family(const struct sock *sock, int family)
{
    return sock->family == FAMILY_ANY ||
           family == (sock->family == FAMILY_INET ? AF_INET : AF_INET6);
}

/* The destination is an address, in whatever form it was given: there is no name from here on. */
int connect_take_address(struct connect *c, const struct sock *sock, const void *addr, size_t len)
{
    union resolver_address address;

    memcpy(&address, addr, len);
    asock_sockaddr_set_port(&address.any, c->port);
    if (!is_of_family(sock, address.any.sa_family))
        return ERR_ADDRESS_FAMILY_NOT_SUPPORTED;
    c->he.keeps_order = true; /* unlike those of a name */
    happy_eyeballs_add(&c->he, &address, 1);
    return 0;
}

int connect_to_endpoint(struct connect *c, const struct sock *sock, const struct endpoint *endpoint)
{
    struct sockaddr_storage addr;
    socklen_t len;
    int err = netsock_sockaddr(endpoint, &addr, &len);

    if (err != 0)
        return err;
    c->port = endpoint->port;
    return connect_take_address(c, sock, &addr, len);
}

/* An address of another family than the socket's is left out, as it is of a name's. */
int connect_to_list(struct connect *c, const struct sock *sock, const struct endpoint *first,
                    const struct endpoints *others)
{
    int err = connect_to_endpoint(c, sock, first);

    if (err != 0 && err != ERR_ADDRESS_FAMILY_NOT_SUPPORTED)
        return err;
    for (uint32_t i = 0; i < others->count; i++) {
        struct endpoint endpoint = others->at[i];

        if (endpoint.port == 0)
            endpoint.port = c->port;
        if (endpoint.port != c->port)
            return ERR_INVALID_ARGUMENT;
        err = connect_to_endpoint(c, sock, &endpoint);
        if (err != 0 && err != ERR_ADDRESS_FAMILY_NOT_SUPPORTED)
            return err;
    }
    return c->he.count > 0 ? 0 : ERR_ADDRESS_FAMILY_NOT_SUPPORTED;
}
