/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SERVICES_H
#define ASOCKD_SERVICES_H

/* TCP ports by name, from /etc/services. NSS is not asked: it may block, and load code. */
#include <stdint.h>

struct services;

/* path NULL: /etc/services. Reads it at once, and again when it has changed. -ENOMEM. */
int services_new(const char *path, struct services **ret);
struct services *services_free(struct services *services); /* accepts NULL; returns it */

/*
 * The port of a service: decimal 1 to 65535, or a name or alias of a TCP service. services NULL: no
 * name is known. 0, -EINVAL for a number out of range or an empty text, -ENOENT for an unknown
 * name.
 */
int services_port(struct services *services, const char *service, uint16_t *ret);
/* Why a service is not known, for people. */
const char *services_problem(const struct services *services);

#endif
