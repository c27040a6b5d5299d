/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/proxy.h"
#include "ctl/restrict.h"

#include <stdlib.h>

static int run_proxy(const struct settings *settings)
{
    if (settings->listen_count == 0)
        return report_usage("proxy requires --listen PATH or --listen 127.0.0.1:PORT");
    if (restrict_refuse_control(settings) < 0)
        return EXIT_FAILURE;
    return proxy_serve(settings);
}

const struct command command_proxy = {
    .name = "proxy",
    .arguments = "",
    .summary = "run a SOCKS and HTTP proxy that connects through asockd",
    .help =
        "Serves SOCKS5, SOCKS4a, HTTP CONNECT and plain HTTP requests on the sockets given with --listen, and\n"
        "connects through asockd. Prints each socket when it is ready. Runs until SIGTERM or SIGINT.\n\n"
        "  asockctl proxy --policy FILE --listen /run/user/1000/proxy.sock\n"
        "  curl --proxy socks5h://localhost/run/user/1000/proxy.sock https://example.org/\n\n"
        "A Unix socket has mode 0600. On a TCP port, connections of users other than you and root are reset,\n"
        "unless you use --any-user: then every user of the host can use the port, with your rights.\n"
        "With --policy, the [Rules] in FILE (asockd.policy(5)) must also allow each connection.\n",
    .options = TAKES_SOCKET | TAKES_POLICY | TAKES_NAME | TAKES_TIMEOUT | TAKES_LISTEN |
               TAKES_ANY_USER,
    .min_args = 0,
    .max_args = 0,
    .run = run_proxy,
};
