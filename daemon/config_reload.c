/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/config.h"

static int read_again(void *data, const struct server_config **ret,
                      char ret_error[static CONF_ERROR_MAX])
{
    struct config_source *source = data;

    source->next = *source->arguments;
    *ret = &source->next.server;
    return config_read_file(&source->next, ret_error);
}

static void taken(void *data)
{
    const struct config_source *source = data;

    asock_log_setup(source->next.log_level);
}

struct reload_source config_source_init(struct config_source *source,
                                        const struct config *arguments)
{
    source->arguments = arguments;
    return (struct reload_source){read_again, taken, source};
}
