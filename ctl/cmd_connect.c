/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/ctl.h"
#include "ctl/idn.h"
#include "ctl/json.h"
#include "ctl/outcome.h"
#include "ctl/relay.h"
#include "ctl/session.h"
#include "ctl/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOST_MAX 253u /* asock_op_set_host() */
#define SERVICE_MAX 32u

/* "[v6 address]:port" and its like. */
#define ENDPOINT_MAX (INET6_ADDRSTRLEN + sizeof("[%4294967295]:65535"))

/* The destination, and everything that the final message reports. */
struct outcome {
    const char *host;                               /* as the daemon is asked for it */
    char local[ENDPOINT_MAX], remote[ENDPOINT_MAX]; /* empty: was never connected */
    struct relay_result relay;
    const char *error; /* SocketError's or errno's name; NULL: success */
    int status;        /* the exit status of an error */
    char message[OUTCOME_MAX];
};

static void format_endpoint(const struct sockaddr_storage *addr, char buf[ENDPOINT_MAX])
{
    char text[INET6_ADDRSTRLEN] = "";

    if (addr->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;

        inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
        if (in6->sin6_scope_id)
            snprintf(buf, ENDPOINT_MAX, "[%s%%%u]:%u", text, in6->sin6_scope_id,
                     ntohs(in6->sin6_port));
        else
            snprintf(buf, ENDPOINT_MAX, "[%s]:%u", text, ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_in *in = (const struct sockaddr_in *)addr;

        inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
        snprintf(buf, ENDPOINT_MAX, "%s:%u", text, ntohs(in->sin_port));
    }
}

/*
 * Converts the arguments for the library, and rejects those that need no round trip to be found
 * invalid.
 */
static int check_target(const char *host, const char *service)
{
    size_t digits = strspn(service, "0123456789");

    if (!host[0] || strlen(host) > HOST_MAX)
        return report_usage("the host must have 1 to %u characters", HOST_MAX);
    if (!service[0] || strlen(service) > SERVICE_MAX)
        return report_usage("the port must have 1 to %u characters", SERVICE_MAX);
    if (!service[digits] && (strtoul(service, NULL, 10) < 1 || strtoul(service, NULL, 10) > 65535))
        return report_usage("port %s is not between 1 and 65535", service);
    return 0;
}

static void set_errno(struct outcome *outcome, const char *where, int err)
{
    const char *name = strerrorname_np(err);

    outcome->error = name ? name : "unknown";
    outcome->status = EXIT_FAILURE;
    snprintf(outcome->message, sizeof(outcome->message), "%s: %s", where, strerror(err));
}

static void set_error(struct outcome *outcome, const char *where, int error)
{
    outcome->error = asock_error_name(error);
    outcome->status = EXIT_FAILURE;
    snprintf(outcome->message, sizeof(outcome->message), "%s: %s", where, asock_strerror(error));
}

/* Detects a vanished peer within two minutes, even if nothing is sent. */
static int keep_alive(asock_context *context, asock_socket *socket)
{
    static const struct {
        enum asock_option option;
        int value;
    } settings[] = {{ASOCK_OPTION_KEEP_ALIVE_TIME, 60},
                    {ASOCK_OPTION_KEEP_ALIVE_INTERVAL, 10},
                    {ASOCK_OPTION_KEEP_ALIVE_COUNT, 6},
                    {ASOCK_OPTION_KEEP_ALIVE, 1}};
    int r = 0;

    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]) && r >= 0; i++) {
        asock_op *op;

        r = asock_op_new(context, &op);
        if (r < 0)
            break;
        (void)asock_op_set_flags(op, ASOCK_ERRORS_ONLY);
        r = asock_set_option(socket, op, settings[i].option, settings[i].value);
        asock_op_unref(op);
    }
    return r;
}

/* Tells the caller that the connection is up (--ready-fd). */
static void tell_ready(int fd)
{
    if (fd < 0)
        return;
    while (write(fd, "\n", 1) < 0 && errno == EINTR)
        ;
    close(fd);
}

static void connect_socket(asock_socket *socket, asock_op *op, const struct settings *settings,
                           int timeout_ms, struct outcome *outcome)
{
    struct sockaddr_storage addr;
    int r = asock_op_set_host(op, outcome->host, settings->args[1]);

    if (r >= 0)
        r = asock_op_set_flags(op, ASOCK_LEND_IF_ALLOWED);
    if (r >= 0 && timeout_ms > 0)
        r = asock_op_set_timeout(op, (unsigned int)timeout_ms);
    if (r >= 0)
        r = asock_connect(socket, op);
    if (r > 0)
        r = asock_op_wait(op, -1);
    if (r < 0) {
        set_errno(outcome, "connect", -r);
        return;
    }
    if (asock_op_get_error(op)) {
        int error = asock_op_get_error(op);

        outcome->error = asock_error_name(error);
        outcome->status = outcome_exit_status(error);
        outcome_describe(outcome->host, error, asock_op_get_text(op), outcome->message);
        return;
    }
    if (asock_op_get_local(op, &addr) >= 0)
        format_endpoint(&addr, outcome->local);
    if (asock_op_get_remote(op, &addr) >= 0)
        format_endpoint(&addr, outcome->remote);
}

static void judge_relay(struct outcome *outcome)
{
    const struct relay_result *relay = &outcome->relay;

    switch (relay->place) {
    case RELAY_NOWHERE:
        break;
    case RELAY_STDIN:
        set_errno(outcome, "standard input", relay->error);
        break;
    case RELAY_STDOUT:
        set_errno(outcome, "standard output", relay->error);
        break;
    case RELAY_SENDING:
        set_error(outcome, "sending", relay->error);
        break;
    case RELAY_RECEIVING:
        set_error(outcome, "receiving", relay->error);
        break;
    case RELAY_ITSELF:
        set_errno(outcome, "asockctl", relay->error);
        break;
    }
}

/*
 * Afterwards the context has no reference left but the session's. Returns the relay for
 * relay_free().
 */
static struct relay *talk(asock_context *context, const struct settings *settings, int timeout_ms,
                          struct outcome *outcome)
{
    const struct relay_manner manner = {settings->exit_on_close, settings->keep_open};
    struct relay *relay = NULL;
    asock_socket *socket = NULL;
    asock_op *op = NULL;
    int r = asock_socket_new(context, AF_UNSPEC, &socket), fd = -1;

    if (r >= 0)
        r = keep_alive(context, socket);
    if (r >= 0)
        r = asock_op_new(context, &op);
    if (r >= 0)
        connect_socket(socket, op, settings, timeout_ms, outcome);
    if (r >= 0 && !outcome->error)
        fd = asock_op_take_fd(op);
    if (r >= 0 && !outcome->error && fd < 0)
        r = relay_new(context, socket, &manner, &relay);
    if (r < 0)
        set_errno(outcome, "asockctl", -r);
    if (fd >= 0) {
        tell_ready(settings->ready_fd);
        relay_lent(context, socket, fd, &manner, &outcome->relay);
        judge_relay(outcome);
    }
    if (relay) {
        tell_ready(settings->ready_fd);
        relay_run(relay, &outcome->relay);
        judge_relay(outcome);
        relay_release(relay);
    }
    asock_op_unref(op);
    asock_socket_unref(socket);
    return relay;
}

static void print_json(const struct settings *settings, const struct outcome *outcome)
{
    fputs("{\"host\": ", stderr);
    json_print_string(stderr, settings->args[0]);
    fputs(", \"port\": ", stderr);
    json_print_string(stderr, settings->args[1]);
    fputs(", \"local\": ", stderr);
    json_print_string(stderr, outcome->local[0] ? outcome->local : NULL);
    fputs(", \"remote\": ", stderr);
    json_print_string(stderr, outcome->remote[0] ? outcome->remote : NULL);
    fprintf(stderr, ", \"bytes_in\": %" PRIu64 ", \"bytes_out\": %" PRIu64 ", \"error\": ",
            outcome->relay.bytes_in, outcome->relay.bytes_out);
    json_print_string(stderr, outcome->error);
    fputs(", \"message\": ", stderr);
    json_print_string(stderr, outcome->error ? outcome->message : NULL);
    fputs("}\n", stderr);
}

/* The names come from the caller and the text from the daemon: escape both for the terminal. */
static void print_failure(const struct settings *settings, const struct outcome *outcome)
{
    fputs("asockctl: ", stderr);
    text_print_escaped(stderr, settings->args[0], 0);
    fputs(" port ", stderr);
    text_print_escaped(stderr, settings->args[1], 0);
    fputs(": ", stderr);
    text_print_escaped(stderr, outcome->message, 0);
    fputc('\n', stderr);
}

static int connect_host(const struct settings *settings, const char *host)
{
    struct session session;
    struct outcome outcome = {0};
    int timeout_ms = settings->timeout_ms, r;
    struct relay *relay;

    outcome.host = host;
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || session_open_client(settings, &session) < 0)
        return EXIT_NO_DAEMON;
    session_want_few(&session);
    r = session_await(&session, &timeout_ms);
    if (r < 0) {
        session_close(&session);
        return -r;
    }
    relay = talk(session.context, settings, timeout_ms, &outcome);
    session_close(&session);
    relay_free(relay);
    if (settings->json)
        print_json(settings, &outcome);
    else if (outcome.error)
        print_failure(settings, &outcome);
    return outcome.error ? outcome.status : EXIT_SUCCESS;
}

static int run_connect(const struct settings *settings)
{
    char *host;
    int status;

    if (idn_to_ascii(settings->args[0], &host) < 0)
        return EXIT_USAGE;
    status = check_target(host, settings->args[1]);
    if (!status)
        status = connect_host(settings, host);
    free(host);
    return status;
}

const struct command command_connect = {
    .name = "connect",
    .arguments = "HOST PORT",
    .summary = "connect standard input and output to HOST through asockd",
    .help =
        "Connects through asockd to PORT (a number or a service) on HOST (a name or an address). Sends\n"
        "standard input, and writes received data to standard output. Each direction ends separately;\n"
        "asockctl exits when both have ended.\n\n"
        "  ssh -o ProxyCommand='asockctl connect %h %p' HOST\n\n"
        "--timeout limits the time for connecting. Without it, the operating system's limit applies, and\n"
        "asockd must give its first answer within 10 seconds. --json prints a summary to standard error at\n"
        "the end, instead of a message.\n\n"
        "Exit status: 0 both directions have ended, 1 failure, 2 invalid command line, 3 denied by policy,\n"
        "4 connection refused, 5 the name does not exist or has no address, 6 no answer in time.\n",
    .options = TAKES_SOCKET | TAKES_JSON | TAKES_TIMEOUT | TAKES_RELAY,
    .min_args = 2,
    .max_args = 2,
    .run = run_connect,
};
