/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CLOSE: sock_close.c is the whole of it. Its op is never refused: it works at every limit. */
#include "daemon/session/sock.h"
#include "daemon/verbs/verbs.h"

static const struct op_class close_class = {.name = "close"};

void close_restore(struct op *op)
{
    op->class = &close_class;
}

int verb_close(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    struct sock *sock = op->sock;
    uint32_t linger_ms = r->close.linger_ms;
    int32_t option = sock_linger(sock);

    op->class = &close_class;
    if (linger_ms == 0 && option > 0)
        linger_ms = (uint32_t)option;
    /* Both end it in the same way. */
    if (r->timeout_ms > 0 && r->timeout_ms < linger_ms)
        linger_ms = r->timeout_ms;
    sock_close(sock, op, linger_ms, r->close.abort || (linger_ms == 0 && option == 0));
    return 0;
}
