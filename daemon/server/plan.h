/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_PLAN_H
#define ASOCKD_PLAN_H

/* How the daemon's descriptors and memory are divided when it starts. */
#include "daemon/server/server.h"

/* To the most that it may be; what it is then. */
uint64_t plan_raise_descriptor_limit(void);
/* Of `limit`, when the listeners have `used`. -EMFILE after a message to the log. */
int plan_descriptors(const struct server_config *config, uint64_t used, uint64_t limit,
                     struct descriptor_shares *ret);
void plan_quotas(struct worker *w, const struct server_config *config,
                 const struct descriptor_shares *shares);

#endif
