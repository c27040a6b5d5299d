/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/proxy.h"
#include "ctl/restrict.h"

#include <stdlib.h>

static int run_proxy(const struct settings *settings)
{
    if (settings->listen_count == 0)
        return report_usage("proxy needs --listen PATH or --listen 127.0.0.1:PORT");
    if (restrict_refuse_control(settings) < 0)
        return EXIT_FAILURE;
    return proxy_serve(settings);
}

const struct command command_proxy = {
    .name = "proxy",
    .arguments = "",
    .summary = "serve a SOCKS and HTTP proxy for programs that do not know asockd",
    .help =
        "Serves SOCKS5, SOCKS4a, HTTP CONNECT and plain HTTP requests on the sockets of --listen, and connects\n"
        "through asockd. Prints each socket when it is ready. Runs until SIGTERM or SIGINT.\n\n"
        "  asockctl proxy --policy FILE --listen /run/user/1000/proxy.sock\n"
        "  curl --proxy socks5h://localhost/run/user/1000/proxy.sock https://example.org/\n\n"
        "A Unix socket has mode 0600. At a TCP port, connections of other users than you and root are reset,\n"
        "unless --any-user is given: then every user of the host can use the port, with your rights.\n"
        "With --policy, the [Rules] of FILE (asockd.policy(5)) have to allow each connect as well.\n",
    .options = TAKES_SOCKET | TAKES_POLICY | TAKES_NAME | TAKES_TIMEOUT | TAKES_LISTEN |
               TAKES_ANY_USER,
    .min_args = 0,
    .max_args = 0,
    .run = run_proxy,
};
