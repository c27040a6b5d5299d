/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * asockctl: inspects asockd, and connects through it. Parses the arguments and runs the command;
 * options may stand anywhere on the line.
 */
#include "ctl/ctl.h"

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

/* Where the description of an option begins. */
#define OPTION_WIDTH 21

static const char *run_option_text(unsigned int bit)
{
    switch (bit) {
    case TAKES_PROXY:
        return "  --proxy            run: serve a proxy on 127.0.0.1 to COMMAND, and set the proxy variables\n";
    case TAKES_TRANSPARENT:
        return "  --transparent      run: give COMMAND a network of its own that leads to asockd\n";
    case TAKES_PUBLISH:
        return "  --publish [ADDRESS:]PORT:PORT\n"
               "                     with --transparent: listen at the first port of ADDRESS (default: 127.0.0.1;\n"
               "                     [::1] in brackets) for the second port of COMMAND's localhost; can be repeated.\n"
               "                     Needs a Listen=tcp rule\n";
    case TAKES_SANDBOX:
        return "  --sandbox          run: with --transparent, run COMMAND in bubblewrap; only this directory is writable\n";
    default:
        return "  --fd               run: execute COMMAND in place of asockctl, with the session in ASOCK_FD\n"
               "  --confine          run: like --fd, but COMMAND cannot connect, bind or listen by itself\n";
    }
}

static const char *option_text(unsigned int bit)
{
    switch (bit) {
    case TAKES_SOCKET:
        return "  --socket PATH      asockd's client socket (default: ASOCK_SOCKET, then the system's)\n";
    case TAKES_CONTROL:
        return "  --control PATH     asockd's control socket (default: ASOCK_CONTROL; for root the system's)\n";
    case TAKES_JSON:
        return "  --json             print JSON\n";
    case TAKES_HUMAN:
        return "  --human            print sizes and times in larger units\n";
    case TAKES_POLICY:
        return "  --policy FILE      run, proxy: restrict the session by the [Rules] of FILE\n"
               "  --policy FILE      policy test: use FILE instead of the policy in force; can be repeated\n";
    case TAKES_CONFIG_DIR:
        return "  --config-dir DIR   policy test: use the files in DIR instead of the policy in force\n";
    case TAKES_NAME:
        return "  --name NAME        run, proxy: name of the session, shown by \"asockctl sessions\"\n";
    case TAKES_CLOSE:
        return "  --close            reload: end the connections that the new policy denies\n";
    case TAKES_LISTEN:
        return "  --listen WHERE     proxy: a path, or 127.0.0.1:PORT; can be repeated\n"
               "  --listen PROTOCOL  policy test: judge listening, not connecting\n";
    case TAKES_RELAY:
        return "  --exit-on-close    connect: exit when the peer has closed its sending side\n"
               "  --keep-open        connect: do not pass on the end of standard input\n"
               "  --ready-fd N       connect: when connected, write a newline to descriptor N and close it\n";
    case TAKES_ROWS:
        return "  --sort COLUMN      sort by this column; -COLUMN: in reverse order\n"
               "  --columns NAMES    print these columns, separated by commas, or \"all\"\n"
               "  --watch[=SECONDS]  print again every 2 seconds, or every SECONDS\n";
    case TAKES_METRICS:
        return "  --openmetrics      stats: print counters and histograms as OpenMetrics\n"
               "  --prometheus       stats: print them in Prometheus' text format\n";
    case TAKES_GROUP:
        return "  --group GROUP      policy: another group of the client; can be repeated\n"
               "  --group GROUP      listener: group of the socket file (default: asock)\n";
    case TAKES_LISTENER:
        return "  --path PATH        listener: path of the socket (default: /run/asockd/NAME/asock.sock)\n"
               "  --mode MODE        listener: mode of the socket file, as in chmod (default: 0660)\n";
    case TAKES_KILL:
        return "  --yes              kill: do not ask for confirmation\n"
               "  --dry-run          kill: print what would be ended, and end nothing\n"
               "  --sessions         kill: apply the filters to sessions, not to sockets\n";
    case TAKES_CLIENT:
        return "  --id ID            policy: the client of this session\n"
               "  --pid PID          policy: the client of this process, also without a session\n"
               "  --user USER        policy: the client's user, with all groups of this user\n"
               "  --unit UNIT        policy: its systemd unit\n"
               "  --user-unit UNIT   policy: its unit of the user's service manager\n"
               "  --cgroup PATH      policy: its control group\n"
               "  --listener NAME    policy: the listener that it uses (default: default)\n"
               "  --address ADDRESS  policy test: assume that HOST has this address\n";
    case TAKES_TIMEOUT:
        return "  --timeout SECONDS  give up after this time; decimals are allowed\n";
    default:
        return run_option_text(bit);
    }
}

/*
 * "run, proxy: restrict" is for these two commands. Returns where their names end; NULL: the text
 * is for all.
 */
static const char *end_of_commands(const char *text)
{
    size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz, ");

    return len > 0 && text[len] == ':' ? text + len : NULL;
}

static bool is_for(const char *words, const char *end, const char *command)
{
    size_t len = strlen(command);

    for (; words && words < end; words = strchr(words, ',') ? strchr(words, ',') + 2 : NULL) {
        if (strncmp(words, command, len) == 0 && strchr(" ,:", words[len]))
            return true;
    }
    return false;
}

/* The lines of an option; for one command those that it is for, without its name. */
static void print_option(const char *text, const struct command *command)
{
    bool is_shown = true;

    for (size_t len; *text; text += len) {
        const char *said = text + OPTION_WIDTH, *end = NULL;

        len = strcspn(text, "\n") + 1;
        if (command && text[2] == '-' && len > OPTION_WIDTH && said[-1] == ' ') {
            end = end_of_commands(said);
            is_shown = !end || is_for(said, end, command->name);
        }
        if (is_shown && end)
            printf("%.*s%.*s", OPTION_WIDTH, text, (int)(text + len - (end + 2)), end + 2);
        else if (is_shown)
            printf("%.*s", (int)len, text);
    }
}

/* command NULL: of all commands. */
static void print_options(const struct command *command)
{
    unsigned int options = command ? command->options : ~0u;

    printf("\nOptions:\n");
    for (unsigned int bit = TAKES_SOCKET; bit <= TAKES_LAST; bit <<= 1) {
        if (options & bit)
            print_option(option_text(bit), command);
    }
    printf("  -h, --help         print this help, or that of a command\n"
           "  --version          print the version\n");
}

static int print_help(const struct command *command)
{
    if (command) {
        printf("Usage: asockctl %s [OPTION]...%s%s\n\n%s", command->name,
               command->arguments[0] ? " " : "", command->arguments, command->help);
        print_options(command);
        return report_finish_output();
    }

    printf("Usage: asockctl COMMAND [ARGUMENT]... [OPTION]...\n\n"
           "Inspects and controls asockd, and connects through it.\n\nCommands:\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        printf("  %s %-*s %s\n", commands[i]->name, 30 - (int)strlen(commands[i]->name),
               commands[i]->arguments, commands[i]->summary);
    print_options(NULL);
    printf(
        "\n\"asockctl COMMAND --help\" describes a command. Exit status: 0 success, 1 failure, 2 invalid command\n"
        "line, 7 no such socket or session, 8 asockd cannot be reached; asockctl(1) lists all of them.\n");
    return report_finish_output();
}

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

    parsed->given |= option == OPTION_GROUP ? TAKES_GROUP : TAKES_CLIENT;
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
    parsed->given |= TAKES_LISTENER;
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
        parsed->given |= TAKES_POLICY;
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

/* Of the first one among them. */
static const char *option_name(unsigned int bits)
{
    static const char *const names[] = {"--socket",
                                        "--control",
                                        "--json",
                                        "--human",
                                        "--timeout",
                                        "--name",
                                        "--close",
                                        "--user or other attributes of a client",
                                        "--policy",
                                        "--listen",
                                        "--proxy",
                                        "--transparent",
                                        "--sandbox",
                                        "--exit-on-close or other options of connect",
                                        "--fd",
                                        "--sort or other options of lists",
                                        "--yes or other options of kill",
                                        "--config-dir",
                                        "--openmetrics or other formats of metrics",
                                        "--group",
                                        "--path or other options of listener",
                                        "--publish"};

    _Static_assert(1u << (sizeof(names) / sizeof(names[0]) - 1) == TAKES_LAST,
                   "each bit has its name");

    return names[__builtin_ctz(bits)];
}

static int check_call(const struct command *command, const struct parsed *parsed)
{
    unsigned int surplus = parsed->given & ~command->options;
    const struct settings *settings = &parsed->settings;

    if (surplus & TAKES_CONTROL)
        return report_usage("%s uses a client socket: give --socket, not --control", command->name);
    if (surplus)
        return report_usage("%s takes no %s", command->name, option_name(surplus));
    if (settings->socket && settings->control)
        return report_usage("--socket and --control cannot be combined");
    if ((settings->socket && !settings->socket[0]) || (settings->control && !settings->control[0]))
        return report_usage("the path of a socket is empty");
    if (settings->arg_count < command->min_args || settings->arg_count > command->max_args)
        return report_usage("usage: asockctl %s [OPTION]...%s%s", command->name,
                            command->arguments[0] ? " " : "", command->arguments);
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
        report_error("no descriptor is left for the event loop (ulimit -n raises the limit)");
    else
        report_error("%s: %s", what, strerror(errno));
    exit(loop_failure);
}

static int run_command(const struct command *command, const struct settings *settings)
{
    loop_failure = wrong_call(command, EXIT_FAILURE);
    ev_set_syserr_cb(on_loop_error);
    return command->run(settings);
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
        return print_help(command);
    if (!command)
        return report_usage("no command");

    parsed.settings.args = argv + optind;
    parsed.settings.arg_count = argc - optind;
    status = check_call(command, &parsed);
    return status ? wrong_call(command, status) : run_command(command, &parsed.settings);
}
