/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_RESOLV_CONF_H
#define ASOCKD_RESOLV_CONF_H

/*
 * Name servers, as resolv.conf(5) and asockd.conf(5) write them. c-ares of this age knows neither
 * `timeout:` nor `attempts:`.
 */
#include <stdbool.h>

#include "daemon/names/dns.h"

/*
 * "ADDRESS", "ADDRESS:PORT" or "[ADDRESS]:PORT"; default_port in host byte order. False: it is
 * none.
 */
bool resolv_conf_server(const char *text, uint16_t default_port, union resolver_address *ret);

/* Such texts with commas between them. -EINVAL: one is none; -E2BIG: over DNS_SERVERS_MAX. */
int resolv_conf_servers(const char *text, uint16_t default_port, struct dns_settings *ret);

/*
 * Reads the file: its servers, and what its options say about time-outs and attempts. What it does
 * not say stays as it is in `ret`. Without a server, or without the file, this host's own is asked,
 * as resolv.conf(5) says. 0, -errno: it could not be read for want of memory or descriptors.
 */
int resolv_conf_read(const char *path, uint16_t port, struct dns_settings *ret);

#endif
