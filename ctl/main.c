/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * asockctl: inspects asockd, and connects through it. Parses the arguments and runs the command;
 * options may stand anywhere on the line.
 */
#include "ctl/ctl.h"
#include "ctl/help.h"

#include <asock/asock.h>

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command *const commands[] = {
    &command_list, &command_sessions, &command_denied, &command_monitor, &command_top,
    &command_show, &command_stats,    &command_kill,   &command_connect, &command_resolve,
    &command_run,  &command_reload,   &command_policy, &command_proxy,   &command_listener,
};
#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

enum {
    OPTION_SOCKET = 256,
    OPTION_CONTROL,
    OPTION_JSON,
    OPTION_HUMAN,
    OPTION_TIMEOUT,
    OPTION_NAME,
    OPTION_POLICY,
    OPTION_CLOSE,
    OPTION_LISTEN,
    OPTION_PUBLISH,
    OPTION_PROXY,
    OPTION_ANY_USER,
    OPTION_TRANSPARENT,
    OPTION_SANDBOX,
    OPTION_FD,
    OPTION_CONFINE,
    OPTION_CONFIG_DIR,
    OPTION_PATH,
    OPTION_MODE,
    OPTION_USER,
    OPTION_ID,
    OPTION_PID,
    OPTION_GROUP,
    OPTION_UNIT,
    OPTION_USER_UNIT,
    OPTION_CGROUP,
    OPTION_LISTENER,
    OPTION_ADDRESS,
    OPTION_EXIT_ON_CLOSE,
    OPTION_KEEP_OPEN,
    OPTION_READY_FD,
    OPTION_YES,
    OPTION_DRY_RUN,
    OPTION_SESSIONS,
    OPTION_OPENMETRICS,
    OPTION_PROMETHEUS,
    OPTION_SORT,
    OPTION_COLUMNS,
    OPTION_WATCH,
    OPTION_VERSION,
};

static const struct option long_options[] = {
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"control", required_argument, NULL, OPTION_CONTROL},
    {"json", no_argument, NULL, OPTION_JSON},
    {"human", no_argument, NULL, OPTION_HUMAN},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"policy", required_argument, NULL, OPTION_POLICY},
    {"name", required_argument, NULL, OPTION_NAME},
    {"close", no_argument, NULL, OPTION_CLOSE},
    {"exit-on-close", no_argument, NULL, OPTION_EXIT_ON_CLOSE},
    {"keep-open", no_argument, NULL, OPTION_KEEP_OPEN},
    {"ready-fd", required_argument, NULL, OPTION_READY_FD},
    {"listen", required_argument, NULL, OPTION_LISTEN},
    {"publish", required_argument, NULL, OPTION_PUBLISH},
    {"proxy", no_argument, NULL, OPTION_PROXY},
    {"any-user", no_argument, NULL, OPTION_ANY_USER},
    {"transparent", no_argument, NULL, OPTION_TRANSPARENT},
    {"sandbox", no_argument, NULL, OPTION_SANDBOX},
    {"fd", no_argument, NULL, OPTION_FD},
    {"confine", no_argument, NULL, OPTION_CONFINE},
    {"config-dir", required_argument, NULL, OPTION_CONFIG_DIR},
    {"path", required_argument, NULL, OPTION_PATH},
    {"mode", required_argument, NULL, OPTION_MODE},
    {"id", required_argument, NULL, OPTION_ID},
    {"pid", required_argument, NULL, OPTION_PID},
    {"user", required_argument, NULL, OPTION_USER},
    {"group", required_argument, NULL, OPTION_GROUP},
    {"unit", required_argument, NULL, OPTION_UNIT},
    {"user-unit", required_argument, NULL, OPTION_USER_UNIT},
    {"cgroup", required_argument, NULL, OPTION_CGROUP},
    {"listener", required_argument, NULL, OPTION_LISTENER},
    {"address", required_argument, NULL, OPTION_ADDRESS},
    {"yes", no_argument, NULL, OPTION_YES},
    {"dry-run", no_argument, NULL, OPTION_DRY_RUN},
    {"sessions", no_argument, NULL, OPTION_SESSIONS},
    {"openmetrics", no_argument, NULL, OPTION_OPENMETRICS},
    {"prometheus", no_argument, NULL, OPTION_PROMETHEUS},
    {"sort", required_argument, NULL, OPTION_SORT},
    {"columns", required_argument, NULL, OPTION_COLUMNS},
    {"watch", optional_argument, NULL, OPTION_WATCH},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

struct parsed {
    struct settings settings;
    unsigned int given; /* enum option_bit */
    bool help, version;
};

/* Converts seconds, with decimals, to milliseconds; 0 seconds is invalid. */
static int parse_seconds(const char *option, const char *text, int *ret)
{
    char *end;
    double seconds = strtod(text, &end);

    if (end == text || *end || !(seconds >= 0.001 && seconds <= INT_MAX / 1000))
        return report_usage("%s: \"%s\" is not a number of seconds from 0.001 to %d", option, text,
                            INT_MAX / 1000);
    *ret = (int)(seconds * 1000 + 0.5);
    return 0;
}

static int parse_descriptor(const char *text, int *ret)
{
    size_t digits = strspn(text, "0123456789");
    int fd = digits > 0 && digits < 10 && !text[digits] ? atoi(text) : -1;

    if (fd <= STDOUT_FILENO || fcntl(fd, F_GETFD) < 0)
        return report_usage(
            "--ready-fd: \"%s\" is not the number of an open descriptor, 2 or higher", text);
    *ret = fd;
    return 0;
}

static int parse_client_option(int option, struct parsed *parsed)
{
    struct client *client = &parsed->settings.client;
    const char **const texts[] = {
        [OPTION_USER - OPTION_USER] = &client->user,
        [OPTION_ID - OPTION_USER] = &client->id,
        [OPTION_PID - OPTION_USER] = &client->pid,
        [OPTION_UNIT - OPTION_USER] = &client->unit,
        [OPTION_USER_UNIT - OPTION_USER] = &client->user_unit,
        [OPTION_CGROUP - OPTION_USER] = &client->cgroup,
        [OPTION_LISTENER - OPTION_USER] = &client->listener,
        [OPTION_ADDRESS - OPTION_USER] = &client->address,
    };

    parsed->given |= option == OPTION_GROUP     ? TAKES_GROUP
                     : option == OPTION_ADDRESS ? TAKES_ADDRESS
                                                : TAKES_CLIENT;
    if (option != OPTION_GROUP)
        *texts[option - OPTION_USER] = optarg;
    else if (client->group_count < CLIENT_GROUPS_MAX)
        client->groups[client->group_count++] = optarg;
    else
        return report_usage("--group: more than %d groups", CLIENT_GROUPS_MAX);
    return 0;
}

/* Options without an argument; false: another option. */
static bool parse_flag(int option, struct parsed *parsed)
{
    struct settings *settings = &parsed->settings;
    const struct {
        int option;
        unsigned int bit;
        bool *flag;
    } flags[] = {
        {OPTION_JSON, TAKES_JSON, &settings->json},
        {OPTION_HUMAN, TAKES_HUMAN, &settings->human},
        {OPTION_CLOSE, TAKES_CLOSE, &settings->close},
        {OPTION_PROXY, TAKES_PROXY, &settings->proxy},
        {OPTION_ANY_USER, TAKES_ANY_USER, &settings->any_user},
        {OPTION_TRANSPARENT, TAKES_TRANSPARENT, &settings->transparent},
        {OPTION_SANDBOX, TAKES_SANDBOX, &settings->sandbox},
        {OPTION_FD, TAKES_FD, &settings->fd},
        {OPTION_CONFINE, TAKES_FD, &settings->confine},
        {OPTION_YES, TAKES_KILL, &settings->yes},
        {OPTION_DRY_RUN, TAKES_KILL, &settings->dry_run},
        {OPTION_SESSIONS, TAKES_KILL, &settings->sessions},
        {OPTION_OPENMETRICS, TAKES_METRICS, &settings->openmetrics},
        {OPTION_PROMETHEUS, TAKES_METRICS, &settings->prometheus},
    };

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (flags[i].option != option)
            continue;
        parsed->given |= flags[i].bit;
        *flags[i].flag = true;
        return true;
    }
    return false;
}

static int parse_relay_option(int option, struct parsed *parsed)
{
    parsed->given |= TAKES_RELAY;
    if (option == OPTION_READY_FD)
        return parse_descriptor(optarg, &parsed->settings.ready_fd);
    parsed->settings.exit_on_close |= option == OPTION_EXIT_ON_CLOSE;
    parsed->settings.keep_open |= option == OPTION_KEEP_OPEN;
    return 0;
}

#define WATCH_MS 2000

static int parse_rows_option(int option, struct parsed *parsed)
{
    parsed->given |= TAKES_ROWS;
    if (option == OPTION_SORT)
        parsed->settings.sort = optarg;
    else if (option == OPTION_COLUMNS)
        parsed->settings.columns = optarg;
    else if (optarg)
        return parse_seconds("--watch", optarg, &parsed->settings.watch_ms);
    else
        parsed->settings.watch_ms = WATCH_MS;
    return 0;
}

static int parse_listener_option(int option, struct parsed *parsed)
{
    parsed->given |= option == OPTION_PATH ? TAKES_PATH : TAKES_MODE;
    *(option == OPTION_PATH ? &parsed->settings.path : &parsed->settings.mode) = optarg;
    return 0;
}

/* --listen, --publish */
static int parse_place(int option, struct parsed *parsed)
{
    struct settings *settings = &parsed->settings;
    bool is_listen = option == OPTION_LISTEN;
    int *count = is_listen ? &settings->listen_count : &settings->publish_count;

    parsed->given |= is_listen ? TAKES_LISTEN : TAKES_PUBLISH;
    if (*count == (is_listen ? LISTEN_MAX : PUBLISH_MAX))
        return report_usage("%s: given more than %d times", is_listen ? "--listen" : "--publish",
                            *count);
    (is_listen ? settings->listen : settings->publish)[(*count)++] = optarg;
    return 0;
}

static int parse_option(int option, struct parsed *parsed)
{
    if (option >= OPTION_USER && option <= OPTION_ADDRESS)
        return parse_client_option(option, parsed);
    if (parse_flag(option, parsed))
        return 0;
    if (option >= OPTION_EXIT_ON_CLOSE && option <= OPTION_READY_FD)
        return parse_relay_option(option, parsed);
    if (option >= OPTION_SORT && option <= OPTION_WATCH)
        return parse_rows_option(option, parsed);
    if (option == OPTION_PATH || option == OPTION_MODE)
        return parse_listener_option(option, parsed);
    if (option == OPTION_LISTEN || option == OPTION_PUBLISH)
        return parse_place(option, parsed);

    switch (option) {
    case OPTION_SOCKET:
        parsed->given |= TAKES_SOCKET;
        parsed->settings.socket = optarg;
        return 0;
    case OPTION_CONTROL:
        parsed->given |= TAKES_CONTROL;
        parsed->settings.control = optarg;
        return 0;
    case OPTION_TIMEOUT:
        parsed->given |= TAKES_TIMEOUT;
        return parse_seconds("--timeout", optarg, &parsed->settings.timeout_ms);
    case OPTION_POLICY:
        parsed->given |= parsed->settings.policy ? TAKES_POLICIES : TAKES_POLICY;
        parsed->settings.policy = optarg;
        if (parsed->settings.policy_count == POLICIES_MAX)
            return report_usage("--policy: more than %d files", POLICIES_MAX);
        parsed->settings.policies[parsed->settings.policy_count++] = optarg;
        return 0;
    case OPTION_CONFIG_DIR:
        parsed->given |= TAKES_CONFIG_DIR;
        parsed->settings.config_dir = optarg;
        return 0;
    case OPTION_NAME:
        parsed->given |= TAKES_NAME;
        parsed->settings.name = optarg;
        return 0;
    case OPTION_VERSION:
        parsed->version = true;
        return 0;
    case 'h':
        parsed->help = true;
        return 0;
    default: /* getopt has said what is wrong */
        fprintf(stderr, "\"asockctl --help\" lists commands and options.\n");
        return EXIT_USAGE;
    }
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    }
    return NULL;
}

static int report_wrong_arguments(const struct command *command)
{
    return report_usage("usage: asockctl %s [OPTION]...%s%s", command->name,
                        command->arguments[0] ? " " : "", command->arguments);
}

/* part: the name of a subcommand, or "". */
static int check_options(const char *name, const char *part, unsigned int options,
                         unsigned int given)
{
    const char *space = part[0] ? " " : "";
    unsigned int surplus = given & ~options;

    if ((surplus & TAKES_CONTROL) && (options & TAKES_SOCKET))
        return report_usage("%s%s%s uses a client socket: give --socket, not --control", name,
                            space, part);
    if ((surplus & TAKES_SOCKET) && (options & TAKES_CONTROL))
        return report_usage("%s%s%s uses the control socket: give --control, not --socket", name,
                            space, part);
    if (surplus)
        return report_usage("%s%s%s does not accept %s", name, space, part,
                            help_option_name(surplus));
    return 0;
}

/* NULL: its arguments name none. */
static const struct subcommand *find_subcommand(const struct command *command,
                                                const struct settings *settings)
{
    for (const struct subcommand *at = command->subcommands; settings->arg_count > 0 && at->name;
         at++) {
        if (strcmp(at->name, settings->args[0]) == 0)
            return at;
    }
    return NULL;
}

static int check_call(const struct command *command, const struct parsed *parsed)
{
    const struct settings *settings = &parsed->settings;
    const struct subcommand *part = NULL;
    int status;

    if (command->subcommands) {
        part = find_subcommand(command, settings);
        if (!part)
            return report_wrong_arguments(command);
    }
    status = check_options(command->name, part ? part->name : "",
                           part ? part->options : command->options, parsed->given);
    if (status)
        return status;
    if (settings->socket && settings->control)
        return report_usage("--socket and --control cannot be combined");
    if ((settings->socket && !settings->socket[0]) || (settings->control && !settings->control[0]))
        return report_usage("the path of a socket is empty");
    if (settings->arg_count < command->min_args || settings->arg_count > command->max_args)
        return report_wrong_arguments(command);
    return 0;
}

/* Opens missing descriptors 0 to 2, so that none of ours gets their number; using them fails. */
static void occupy_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0)
            (void)open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
    }
}

/* All of the line, behind a wrong option too: whose it is decides the exit status. */
static int parse_options(int argc, char **argv, struct parsed *parsed)
{
    int option, status = 0;

    while ((option = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
        if (!status) /* what is wrong first is enough to say */
            status = parse_option(option, parsed);
    }
    return status;
}

static int wrong_call(const struct command *command, int status)
{
    return command && command->failure ? command->failure : status;
}

static int loop_failure = EXIT_FAILURE;

/* Instead of libev's abort(3). */
static void on_loop_error(const char *what)
{
    if (errno == EMFILE)
        report_error(
            "no file descriptor is left for the event loop (raise the limit with ulimit -n)");
    else
        report_error("%s: %s", what, strerror(errno));
    exit(loop_failure);
}

static int run_command(const struct command *command, const struct settings *settings)
{
    loop_failure = wrong_call(command, EXIT_FAILURE);
    ev_set_syserr_cb(on_loop_error);
    return command->subcommands ? find_subcommand(command, settings)->run(settings)
                                : command->run(settings);
}

int main(int argc, char **argv)
{
    static char program_name[] = "asockctl";
    struct parsed parsed = {.settings.timeout_ms = -1, .settings.ready_fd = -1};
    const struct command *command = NULL;
    int status;

    occupy_standard_descriptors();
    (void)setlocale(LC_CTYPE, "");
    if (argc < 1)
        return EXIT_USAGE;
    argv[0] = program_name; /* for getopt's messages */
    status = parse_options(argc, argv, &parsed);
    if (optind < argc)
        command = find_command(argv[optind]);
    if (status)
        return wrong_call(command, status);
    if (optind < argc && !command)
        return report_usage("unknown command \"%s\"", argv[optind]);
    optind++;
    if (parsed.version) {
        printf("asockctl %s (libasock %s)\n", VERSION, asock_version());
        return report_finish_output();
    }
    if (parsed.help)
        return help_print(command, commands, COMMAND_COUNT);
    if (!command)
        return report_usage("no command");

    parsed.settings.args = argv + optind;
    parsed.settings.arg_count = argc - optind;
    status = check_call(command, &parsed);
    return status ? wrong_call(command, status) : run_command(command, &parsed.settings);
}
