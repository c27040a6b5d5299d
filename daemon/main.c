/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon/check.h"
#include "daemon/config.h"
#include "daemon/judge_files.h"
#include "daemon/names/resolver.h"
#include "daemon/server/hardening.h"
#include "daemon/server/server.h"

#ifdef ASOCKD_TEST_HOOKS
#include ASOCKD_TEST_HOOKS
#endif

static int judge(const struct config *arguments)
{
    struct config config = *arguments;
    char error[CONF_ERROR_MAX];

    if (config_read_file(&config, error) < 0) {
        fprintf(stderr, "%s\n", error);
        return EXIT_FAILURE;
    }
    return judge_files(&config.server.policy, config.operands) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Instead of libev's abort(3). */
static void on_loop_error(const char *what)
{
    if (errno == EMFILE)
        log_error(
            "asockd: no descriptor is left for the event loop: raise RLIMIT_NOFILE (LimitNOFILE=, "
            "ulimit -n)");
    else
        log_error("asockd: %s: %s", what, strerror(errno));
    exit(EXIT_FAILURE);
}

int main(int argc, char **argv)
{
    static struct config_source
        source; /* a loader that hangs may read into it when this has returned */
    struct config arguments, config;
    char error[CONF_ERROR_MAX];
    int r;

    config_init(&arguments);
    r = config_read_arguments(&arguments, argc, argv);
    if (r != 0)
        return r < 0 ? 2 : EXIT_SUCCESS;
    if (arguments.is_check)
        return check_config(&arguments, stdout, stderr);
    if (arguments.is_judge)
        return judge(&arguments);
    config = arguments;
    r = config_read_file(&config, error);
    if (r < 0) {
        fprintf(stderr, "asockd: %s\n", error);
        return EXIT_FAILURE;
    }
    config.server.source = config_source_init(&source, &arguments);
    resolver_clean_environment();
    r = hardening_close_inherited();
    if (r < 0) {
        fprintf(stderr, "asockd: descriptors: %s\n", strerror(-r));
        return EXIT_FAILURE;
    }
    /* Behind that: it may have a descriptor of its own. */
    asock_log_setup(config.log_level);
    ev_set_syserr_cb(on_loop_error);
#ifdef ASOCKD_TEST_HOOKS
    config.server.on_user_signal = hooks_find();
#endif
    return server_run(&config.server) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
