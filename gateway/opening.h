/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_OPENING_H
#define GATEWAY_OPENING_H

/*
 * Opening a session asks the daemon, and waits for its answer: a thread of its own does, so that a
 * daemon that hangs does not delay connections that do not need it.
 */
#include "gateway/blocks.h"
#include "gateway/gateway.h"

struct opening;

/*
 * done is called in the loop, once, with a session and its blocks, or with a negative errno; not
 * after opening_drop(). 0 or a negative errno.
 */
int opening_start(struct ev_loop *loop, const struct gateway_config *config,
                  void (*done)(void *userdata, int result, asock_context *context,
                               const struct blocks *blocks),
                  void *userdata, struct opening **ret);
/* It is not needed any more; what the thread still makes, it frees. Accepts NULL. */
void opening_drop(struct opening *opening);

/* At once, in the caller's thread. */
int opening_run(const struct gateway_config *config, asock_context **ret,
                struct blocks *ret_blocks);

#endif
