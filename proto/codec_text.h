/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_PROTO_CODEC_TEXT_H
#define ASOCK_PROTO_CODEC_TEXT_H

#include <stddef.h>

/* Octets of the character that text begins with; 0 when it is none, or a
 * control character. */
size_t asock_text_next(const char *text, size_t len);

#endif
