/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_STUB_H
#define GATEWAY_STUB_H

/* The command's name server: each name has addresses that stand for it. */
#include <ev.h>

#include "gateway/fake_names.h"

struct gateway;

struct stub {
    struct gateway *gateway;
    struct fake_names *names;
    ev_io io;
};

/* At NETWORK_NAME_SERVER, which the network has. 0 or a negative errno. */
int stub_init(struct stub *stub, struct gateway *gateway, struct fake_names *names);
void stub_deinit(struct stub *stub);

#endif
