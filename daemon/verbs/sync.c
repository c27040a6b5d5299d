/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SYNC: requests are processed in order, so every earlier one has been. */
#include "daemon/session/complete.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

int verb_sync(struct op *op, const struct call *call)
{
    (void)call;
    complete(op, ERR_SUCCESS);
    return 0;
}
