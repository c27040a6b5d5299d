/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_CORE_ACCEPT_H
#define ASOCK_LIB_CORE_ACCEPT_H

#include "client-lib/core/objects.h"

/* An op that has been started gets the socket that it will fill; or the error that it ends with. */
uint32_t asock_accept_prepare(asock_op *op);
/* There is a connection. -EPROTO: it is not under that id. */
int asock_accept_done(asock_op *op, const struct reply *reply);
/* Nobody has taken it: closed, or never used. */
void asock_accept_drop(asock_op *op);

#endif
