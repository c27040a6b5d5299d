/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SERVICES_H
#define ASOCKD_SERVICES_H

#include <stdint.h>

/*
 * The port of a service: decimal 1 to 65535, or a name or alias of a TCP service in the file at path
 * (NULL: /etc/services), which is read anew each time. NSS is not asked: it may block, and load code.
 * 0, -EINVAL for a number out of range or an empty text, -ENOENT for an unknown name.
 */
int services_port(const char *service, const char *path, uint16_t *ret);

#endif
