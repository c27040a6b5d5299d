/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: open a session -> restrict it -> listen -> serve until a signal, or until the command
 * has ended.
 * Failures: no daemon, or none that answers, a policy file that is wrong, an address that cannot be
 * had, a command that cannot be run: a message, and nothing has been served.
 */
#include "base/address_port.h"
#include "ctl/child.h"
#include "ctl/proxy.h"
#include "ctl/restrict.h"
#include "ctl/signals.h"
#include "ctl/text.h"

#include "gateway/gateway.h"
#include "gateway/guard.h"

#include <errno.h>
#include <ev.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_TIMEOUT_MS 30000
/*
 * As many as the gateway serves, with an op for each way and its end; the daemon gives what its
 * configuration has.
 */
#define SOCKETS_WANTED 8192
#define OPS_WANTED (4 * SOCKETS_WANTED)

/* What the command inherits as asockctl did. */
struct inherited {
    sighandler_t pipe_action;
    struct rlimit files;
};

/* Each connection has a descriptor here, and the usual limit is for programs that use select(2). */
static int prepare(struct inherited *ret)
{
    struct rlimit files;

    ret->pipe_action = signal(SIGPIPE, SIG_IGN);
    if (ret->pipe_action == SIG_ERR || getrlimit(RLIMIT_NOFILE, &ret->files) < 0)
        return -1;
    files = ret->files;
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    return 0;
}

/* ---- the session ---- */

static int open_session(void *userdata, asock_context **ret)
{
    const struct settings *settings = userdata;
    const char *fallback = settings->arg_count > 0 ? settings->args[0] : "asockctl proxy";
    int timeout_ms = settings->timeout_ms;
    struct session session;

    if (session_open_client(settings, &session) < 0)
        return -ENOENT;
    /* A session that was inherited has its limits. */
    (void)asock_context_set_limit(session.context, ASOCK_LIMIT_SOCKETS, SOCKETS_WANTED);
    (void)asock_context_set_limit(session.context, ASOCK_LIMIT_OPS, OPS_WANTED);
    if (restrict_name_session(&session, settings, fallback) ||
        restrict_session(&session, settings) < 0 || session_await(&session, &timeout_ms) < 0) {
        session_close(&session);
        return -EACCES;
    }
    /* The loop has nothing else to watch. */
    if (asock_context_get_fd(session.context) < 0) {
        report_error(
            "no file descriptor is left for the connection to asockd (raise the limit with ulimit -n)");
        session_close(&session);
        return -EMFILE;
    }
    *ret = session.context;
    return 0;
}

static void on_refused(void *userdata, uid_t user, unsigned long long count)
{
    char whose[64] = "an unknown user";

    (void)userdata;
    if (user == GUARD_OTHERS)
        snprintf(whose, sizeof(whose), "other users");
    else if (user != GUARD_UNKNOWN)
        snprintf(whose, sizeof(whose), "user %u", user);
    if (count == 1)
        report_error("refused to serve a program that belongs to %s (--any-user serves all users)",
                     whose);
    else
        report_error("refused to serve programs of %s %llu times", whose, count);
}

int proxy_answer_timeout(const struct settings *settings)
{
    return settings->timeout_ms > 0 ? settings->timeout_ms : ANSWER_TIMEOUT_MS;
}

int proxy_make_gateway(const struct settings *settings, struct gateway **ret)
{
    struct gateway_config config = {
        .open = open_session,
        .userdata = (void *)settings,
        .refused = on_refused,
        .serves_any_user = settings->any_user,
        .answer_timeout_ms = proxy_answer_timeout(settings),
    };

    return gateway_new(ev_default_loop(EVFLAG_AUTO), &config, ret);
}

/* ---- listeners ---- */

static int complain_listen(const char *where, int err)
{
    fputs("asockctl: cannot listen on ", stderr);
    text_print_escaped(stderr, where, 0);
    if (err == EEXIST)
        fputs(": the path exists and is not a socket\n", stderr);
    else if (err == EINVAL)
        fputs(": give a path with a /, or a loopback address and a port such as 127.0.0.1:1080\n",
              stderr);
    else if (err == EOPNOTSUPP)
        fputs(": the kernel does not report which user a connection belongs to (sock_diag(7)); use "
              "--any-user to serve all users\n",
              stderr);
    else if (err == EADDRINUSE)
        fputs(": another program is listening there\n", stderr);
    else
        fprintf(stderr, ": %s\n", strerror(err));
    return -1;
}

/* 127.0.0.1:1080 or [::1]:1080 */
static int listen_at_port(struct gateway *gateway, const char *where, uint16_t *ret_port)
{
    struct sockaddr_storage address;
    struct address_port parts;
    uint16_t port;

    if (!asock_address_port_split(where, strlen(where), &parts) ||
        !asock_address_port_number(&parts, 0, &port) ||
        !asock_address_port_numeric(&parts, port, &address))
        return -EINVAL;
    return gateway_listen_tcp(gateway, &address, ret_port);
}

static int listen_at(struct gateway *gateway, const char *where)
{
    uint16_t port;
    int r;

    if (strchr(where, '/')) {
        r = gateway_listen_unix(gateway, where);
        if (r == 0)
            printf("%s\n", where);
        return r < 0 ? complain_listen(where, -r) : 0;
    }
    r = listen_at_port(gateway, where, &port);
    if (r == 0)
        printf("%.*s:%u\n", (int)(strrchr(where, ':') - where), where, port);
    return r < 0 ? complain_listen(where, -r) : 0;
}

/* ---- asockctl proxy ---- */

static void on_stop(struct ev_loop *loop, ev_signal *signal, int events)
{
    (void)signal;
    (void)events;
    ev_break(loop, EVBREAK_ALL);
}

static int serve(struct gateway *gateway, const struct settings *settings)
{
    struct ev_loop *loop = ev_default_loop(EVFLAG_AUTO);
    ev_signal stops[2];

    for (int i = 0; i < settings->listen_count; i++)
        if (listen_at(gateway, settings->listen[i]) < 0)
            return EXIT_FAILURE;
    ev_signal_init(&stops[0], on_stop, SIGTERM);
    ev_signal_init(&stops[1], on_stop, SIGINT);
    ev_signal_start(loop, &stops[0]);
    ev_signal_start(loop, &stops[1]);
    if (report_finish_output())
        return EXIT_FAILURE;
    report_without_waiting();
    ev_run(loop, 0);
    return EXIT_SUCCESS;
}

int proxy_serve(const struct settings *settings)
{
    struct gateway *gateway;
    struct inherited inherited;
    int status;

    if (prepare(&inherited) < 0 || proxy_make_gateway(settings, &gateway) < 0)
        return EXIT_FAILURE;
    status = serve(gateway, settings);
    gateway_free(gateway);
    return status;
}

/* ---- asockctl run --proxy ---- */

static void set(const char *name, const char *value)
{
    if (setenv(name, value, 1) < 0)
        report_need_memory(NULL);
}

/* One more setting for git(1), behind those that the environment has already. */
static void set_git_proxy(const char *url)
{
    const char *text = getenv("GIT_CONFIG_COUNT");
    unsigned long count = text ? strtoul(text, NULL, 10) : 0;
    char name[64], number[32];

    snprintf(name, sizeof(name), "GIT_CONFIG_KEY_%lu", count);
    set(name, "http.proxy");
    snprintf(name, sizeof(name), "GIT_CONFIG_VALUE_%lu", count);
    set(name, url);
    snprintf(number, sizeof(number), "%lu", count + 1);
    set("GIT_CONFIG_COUNT", number);
}

/* Programs do not agree on names or case. */
static void set_environment(uint16_t port)
{
    static const char *const http[] = {"http_proxy",  "HTTP_PROXY",       "https_proxy",
                                       "HTTPS_PROXY", "npm_config_proxy", "npm_config_https_proxy",
                                       "PIP_PROXY"};
    char url[64];

    snprintf(url, sizeof(url), "http://127.0.0.1:%u", port);
    for (size_t i = 0; i < sizeof(http) / sizeof(http[0]); i++)
        set(http[i], url);
    set_git_proxy(url);
    set("RSYNC_PROXY", url + strlen("http://"));
    set("NODE_USE_ENV_PROXY", "1");
    set("no_proxy", "localhost,127.0.0.1,::1");
    set("NO_PROXY", "localhost,127.0.0.1,::1");
    snprintf(url, sizeof(url), "socks5h://127.0.0.1:%u", port);
    set("all_proxy", url);
    set("ALL_PROXY", url);
    /* This session has an owner. */
    unsetenv("ASOCK_FD");
}

struct proxied {
    uint16_t port;
    struct inherited inherited;
};

/* In the command's process. */
static void prepare_command(const void *data)
{
    const struct proxied *proxied = data;

    signal(SIGPIPE, proxied->inherited.pipe_action);
    (void)setrlimit(RLIMIT_NOFILE, &proxied->inherited.files);
    set_environment(proxied->port);
}

int proxy_run_command(const struct settings *settings)
{
    struct proxied proxied;
    struct gateway *gateway;
    int r, status = EXIT_OWN;

    if (prepare(&proxied.inherited) < 0 || proxy_make_gateway(settings, &gateway) < 0)
        return EXIT_OWN;
    r = listen_at_port(gateway, "127.0.0.1:0", &proxied.port);
    if (r < 0) {
        complain_listen("127.0.0.1:0", -r);
    } else {
        status = child_run(ev_default_loop(EVFLAG_AUTO), settings->args, prepare_command, &proxied);
        signals_end();
        gateway_drain(gateway, CHILD_DRAIN_SECONDS);
    }
    gateway_free(gateway);
    return status;
}
