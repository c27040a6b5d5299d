/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_CONFIG_LISTENER_H
#define ASOCKD_CONFIG_LISTENER_H

/* The [Listener] sections of asockd.conf(5), one for each clients' listener. */
#include <stdbool.h>

#include "base/conf.h"

struct config;
struct listener_spec;

#define CONFIG_LISTENER_KEYS 4u

/* The section being read; zero at the beginning. */
struct listener_section {
    struct listener_spec *spec; /* NULL: the present section is another one */
    unsigned int line;          /* where it begins */
    bool seen[CONFIG_LISTENER_KEYS];
};

/* For each item of the file. 1: it was a listener's; 0: it was not; -EBADMSG: refused. */
int config_listener_item(struct config *config, struct listener_section *section,
                         struct conf_reader *reader, const struct conf_item *item);
/* At the end of the file. 0, -EBADMSG. */
int config_listener_end(struct listener_section *section, struct conf_reader *reader);

#endif
