/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_BASE_ADDRESS_PORT_H
#define ASOCK_BASE_ADDRESS_PORT_H

/* "ADDRESS:PORT", as in options, settings and URLs; an IPv6 address is in brackets: [::1]:80. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sockaddr_storage;

/* Where the parts are in the text. */
struct address_port {
    const char *address; /* or the name of a host; without brackets */
    size_t address_len;
    bool is_ipv6;     /* has brackets */
    const char *port; /* behind the colon; NULL: there is none */
    size_t port_len;
};

/* false: no address, a bracket that is not closed or not around colons, colons without brackets. */
bool asock_address_port_split(const char *text, size_t len, struct address_port *ret);

/* Up to five decimal digits. false: it is no number from min to 65535, or there is none. */
bool asock_address_port_number(const struct address_port *parts, uint16_t min, uint16_t *ret);

/* The numeric address, with this port. Returns its length; 0: the address is not numeric. */
size_t asock_address_port_numeric(const struct address_port *parts, uint16_t port,
                                  struct sockaddr_storage *ret);

#endif
