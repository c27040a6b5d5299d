/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_CORE_ASK_H
#define ASOCK_LIB_CORE_ASK_H

/* Ops whose success the daemon does not tell (ASOCK_ERRORS_ONLY). */
#include "client-lib/core/objects.h"

/* Makes the daemon tell of an op whose success it would not tell: 0 or -ENOMEM. */
int asock_ask(asock_op *op);
/* The same for all such ops of a socket that the program has let go. */
int asock_ask_all(asock_socket *socket);
void asock_ask_again(asock_socket *socket);

#endif
