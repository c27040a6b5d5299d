/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_PUBLISHED_H
#define CTL_PUBLISHED_H

/* run --transparent --publish: ports of asockd's host that lead to the command. */
#include "ctl/ctl.h"

#include "gateway/transparent.h"

_Static_assert(PUBLISH_MAX <= TRANSPARENT_PUBLISH_MAX, "all of them have a place");

struct published {
    struct publish *at[PUBLISH_MAX];
    int count;
};

/* Are they well-formed? 0, or an exit status after a complaint. */
int published_check(const struct settings *settings);
/* Listens; nothing is accepted yet. 0, or an exit status after a complaint. */
int published_open(struct published *published, const struct settings *settings,
                   struct gateway *gateway, int answer_timeout_ms);
void published_start(struct published *published, struct transparent *transparent);
/* Behind transparent_free(). */
void published_free(struct published *published);

#endif
