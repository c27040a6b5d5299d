/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_PROTO_ENDPOINT_H
#define ASOCK_PROTO_ENDPOINT_H

/* An address and a port, as the wire has them and as the kernel has them. */
#include <sys/socket.h>

#include "proto/codec.h"

/*
 * 0; -EINVAL: no address, or one cut short; -EAFNOSUPPORT: of another family. *ret is not set then.
 */
int asock_endpoint_from(const struct sockaddr *addr, socklen_t len, struct endpoint *ret);

/* Bytes of the address; 0: the endpoint is not set, or malformed. */
socklen_t asock_endpoint_to(const struct endpoint *endpoint, struct sockaddr_storage *ret);

/* Of an IPv4 or IPv6 address. */
void asock_sockaddr_set_port(struct sockaddr *addr, uint16_t port);

#endif
