/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/ctl.h"
#include "ctl/idn.h"
#include "ctl/json.h"
#include "ctl/outcome.h"
#include "ctl/session.h"
#include "ctl/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESS_MAX (INET6_ADDRSTRLEN + sizeof("%4294967295"))

static void format_address(const struct sockaddr_storage *addr, char buf[ADDRESS_MAX])
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;
    size_t len;

    if (addr->ss_family != AF_INET6) {
        inet_ntop(AF_INET, &((const struct sockaddr_in *)addr)->sin_addr, buf, ADDRESS_MAX);
        return;
    }
    inet_ntop(AF_INET6, &in6->sin6_addr, buf, ADDRESS_MAX);
    len = strlen(buf);
    if (in6->sin6_scope_id)
        snprintf(buf + len, ADDRESS_MAX - len, "%%%u", in6->sin6_scope_id);
}

/* One in a line, or a line about all. */
static void print_answer(const struct settings *settings, asock_op *op, int error)
{
    const char *text = asock_op_get_text(op);
    struct sockaddr_storage addr;
    char address[ADDRESS_MAX];

    if (settings->json) {
        fputs("{\"host\": ", stdout);
        json_print_string(stdout, settings->args[0]);
        fputs(", \"addresses\": [", stdout);
    }
    for (unsigned int i = 0; asock_op_get_address(op, i, &addr) > 0; i++) {
        format_address(&addr, address);
        printf(settings->json ? "%s\"%s\"" : "%s%s\n", settings->json && i > 0 ? ", " : "",
               address);
    }
    if (!settings->json)
        return;
    fputs("], \"error\": ", stdout);
    json_print_string(stdout, error ? asock_error_name(error) : NULL);
    fputs(", \"message\": ", stdout);
    json_print_string(stdout, error ? text ? text : asock_strerror(error) : NULL);
    fputs("}\n", stdout);
}

static void print_failure(const struct settings *settings, asock_op *op, int error)
{
    char message[OUTCOME_MAX];

    outcome_describe(settings->args[0], error, asock_op_get_text(op), message);
    fputs("asockctl: ", stderr);
    text_print_escaped(stderr, settings->args[0], 0);
    fputs(": ", stderr);
    text_print_escaped(stderr, message, 0);
    fputc('\n', stderr);
}

static int tell(const struct settings *settings, asock_op *op, int error)
{
    int status;

    print_answer(settings, op, error);
    status = report_finish_output();
    if (error && !settings->json)
        print_failure(settings, op, error);
    return status ? status : outcome_exit_status(error);
}

static int ask(asock_context *context, const struct settings *settings, const char *host,
               int timeout_ms)
{
    asock_op *op = NULL;
    int status = EXIT_FAILURE, r = asock_op_new(context, &op);

    if (r >= 0 && timeout_ms > 0)
        r = asock_op_set_timeout(op, (unsigned int)timeout_ms);
    if (r >= 0)
        r = asock_resolve(context, op, host, AF_UNSPEC);
    if (r == -EINVAL) {
        status = report_usage("the name must have 1 to 253 characters and no control characters");
    } else {
        if (r > 0)
            r = asock_op_wait(op, -1);
        if (r < 0)
            report_error("resolve: %s", strerror(-r));
        else
            status = tell(settings, op, asock_op_get_error(op));
    }
    asock_op_unref(op);
    return status;
}

static int resolve_host(const struct settings *settings, const char *host)
{
    struct session session;
    int status, timeout_ms = settings->timeout_ms;

    if (session_open_client(settings, &session) < 0)
        return EXIT_NO_DAEMON;
    status = -session_await(&session, &timeout_ms);
    if (status == 0)
        status = ask(session.context, settings, host, timeout_ms);
    session_close(&session);
    return status;
}

static int run_resolve(const struct settings *settings)
{
    char *host;
    int status;

    if (idn_to_ascii(settings->args[0], &host) < 0)
        return EXIT_USAGE;
    status = resolve_host(settings, host);
    free(host);
    return status;
}

const struct command command_resolve = {
    .name = "resolve",
    .arguments = "NAME",
    .summary = "print the addresses of NAME that the policy allows",
    .help =
        "Prints the addresses of NAME to which the policy allows this client to connect, one per line, in the\n"
        "order in which \"asockctl connect\" tries them.\n\n"
        "Exit status: 0 success, 1 failure, 2 invalid command line, 3 denied by policy, 5 the name does\n"
        "not exist or has no address, 6 no answer in time.\n",
    .options = TAKES_SOCKET | TAKES_JSON | TAKES_TIMEOUT,
    .min_args = 1,
    .max_args = 1,
    .run = run_resolve,
};
