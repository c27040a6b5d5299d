/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_STUB_H
#define GATEWAY_STUB_H

/* The command's name server: each name that there is has addresses that stand for it. */
#include <ev.h>

#include "gateway/fake_names.h"

struct gateway;
struct lookup;

struct stub {
    struct gateway *gateway;
    struct fake_names *names;
    ev_io io;
    struct lookup *lookups; /* a list: asockd is asked whether there is such a name */
    unsigned int lookup_count;
};

/* At NETWORK_NAME_SERVER, which the network has. 0 or a negative errno. */
int stub_init(struct stub *stub, struct gateway *gateway, struct fake_names *names);
/* No question is taken any more. */
void stub_stop(struct stub *stub);
/* Behind the end of the session: no op of it completes any more. */
void stub_deinit(struct stub *stub);

#endif
