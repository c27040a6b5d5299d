/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_WIRE_REPLY_H
#define ASOCK_LIB_WIRE_REPLY_H

/* What a reply means. */
#include "client-lib/core/objects.h"

/* The head is read: 0 and the sink of its payload, or -EPROTO. */
int asock_reply_head(asock_context *context);
/* The payload is where it belongs: 1, or -EPROTO. */
int asock_reply_finish(asock_context *context);

#endif
