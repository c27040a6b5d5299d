/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/help.h"

#include <stdio.h>
#include <string.h>

/* Where the description of an option begins. */
#define OPTION_WIDTH 21

/* In the order of the help. "run, proxy: " begins a description for these commands alone. */
static const struct {
    unsigned int bit;
    const char *name;
    const char *text;
} options[] = {
    {TAKES_SOCKET, "--socket",
     "  --socket PATH      asockd's client socket (default: ASOCK_SOCKET, then the system's)\n"},
    {TAKES_CONTROL, "--control",
     "  --control PATH     asockd's control socket (default: ASOCK_CONTROL; for root the system's)\n"},
    {TAKES_JSON, "--json", "  --json             print JSON\n"},
    {TAKES_HUMAN, "--human", "  --human            print sizes and times in larger units\n"},
    {TAKES_TIMEOUT, "--timeout",
     "  --timeout SECONDS  give up after this time; decimals are allowed\n"},
    {TAKES_ROWS, "--sort or other list options",
     "  --sort COLUMN      sort by this column, or by -COLUMN in reverse order\n"
     "  --columns NAMES    print these columns, separated by commas, or \"all\"\n"
     "  --watch[=SECONDS]  print again every 2 seconds, or every SECONDS\n"},
    {TAKES_METRICS, "--openmetrics or other metrics formats",
     "  --openmetrics      stats: print counters and histograms as OpenMetrics\n"
     "  --prometheus       stats: print them in Prometheus' text format\n"},
    {TAKES_KILL, "--yes or other kill options",
     "  --yes              kill: do not ask for confirmation\n"
     "  --dry-run          kill: only print what would be killed\n"
     "  --sessions         kill: apply the filters to sessions, not to sockets\n"},
    {TAKES_CLOSE, "--close",
     "  --close            reload: end the connections that the new policy denies\n"},
    {TAKES_RELAY, "--exit-on-close or other connect options",
     "  --exit-on-close    connect: exit when the peer closes its sending side\n"
     "  --keep-open        connect: do not pass on the end of standard input\n"
     "  --ready-fd N       connect: when connected, write a newline to descriptor N and close it\n"},
    {TAKES_POLICY, "--policy",
     "  --policy FILE      run, proxy: restrict the session to the [Rules] in FILE\n"},
    {TAKES_NAME, "--name",
     "  --name NAME        run, proxy: name of the session, shown by \"asockctl sessions\"\n"},
    {TAKES_FD, "--fd",
     "  --fd               run: execute COMMAND in place of asockctl, with the session in ASOCK_FD\n"
     "  --confine          run: like --fd, but COMMAND cannot connect, bind or listen itself\n"},
    {TAKES_PROXY, "--proxy",
     "  --proxy            run: provide a proxy on 127.0.0.1 for COMMAND, and set the proxy variables\n"},
    {TAKES_ANY_USER, "--any-user",
     "  --any-user         run, proxy: serve every user of the host on the proxy's TCP port\n"},
    {TAKES_TRANSPARENT, "--transparent",
     "  --transparent      run: run COMMAND in a network whose only way out is asockd\n"},
    {TAKES_SANDBOX, "--sandbox",
     "  --sandbox          run: with --transparent, run COMMAND in bubblewrap; only the current\n"
     "                     directory is writable\n"},
    {TAKES_PUBLISH, "--publish",
     "  --publish [ADDRESS:]PORT:PORT\n"
     "                     run: with --transparent, listen on ADDRESS (default: 127.0.0.1; IPv6 in\n"
     "                     brackets) and the first port, and forward connections to the second port\n"
     "                     on COMMAND's localhost; requires a Listen=tcp rule; can be repeated\n"},
    {TAKES_LISTEN, "--listen",
     "  --listen WHERE     proxy: a path, or 127.0.0.1:PORT; can be repeated\n"
     "  --listen PROTOCOL  policy test: ask about listening instead of connecting\n"},
    {TAKES_POLICIES, "second --policy",
     "  --policy FILE      policy test, policy check: use FILE instead of the policy in force; can be\n"
     "                     repeated\n"},
    {TAKES_CONFIG_DIR, "--config-dir",
     "  --config-dir DIR   policy test, policy check: use the files in DIR, not those in force\n"},
    {TAKES_CLIENT, "--user or other client attributes",
     "  --id ID            policy: the client of this session\n"
     "  --pid PID          policy: this process, which need not have a session\n"
     "  --user USER        policy: the client's user, with all groups of that user\n"
     "  --unit UNIT        policy: its systemd unit\n"
     "  --user-unit UNIT   policy: its unit in the user's service manager\n"
     "  --cgroup PATH      policy: its control group\n"
     "  --listener NAME    policy: its listener (default: default)\n"},
    {TAKES_GROUP, "--group",
     "  --group GROUP      policy: another group of the client; can be repeated\n"
     "  --group GROUP      listener: group of the socket file (default: asock)\n"},
    {TAKES_ADDRESS, "--address",
     "  --address ADDRESS  policy test: assume that HOST has this address\n"},
    {TAKES_PATH, "--path",
     "  --path PATH        listener: path of the socket (default: /run/asockd/NAME/asock.sock)\n"},
    {TAKES_MODE, "--mode",
     "  --mode MODE        listener: mode of the socket file, as in chmod (default: 0660)\n"},
};
#define OPTION_COUNT (sizeof(options) / sizeof(options[0]))

_Static_assert((TAKES_LAST << 1) == 1u << OPTION_COUNT, "each bit is in the table");

/* "run, proxy: restrict": where the names of the commands end. NULL: it is for all. */
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

/* The lines of an option. For one command, those that are for it, without its name. */
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
    unsigned int taken = command ? command->options : ~0u;

    printf("\nOptions:\n");
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (taken & options[i].bit)
            print_option(options[i].text, command);
    }
    printf("  -h, --help         print this help, or the help of a command\n"
           "  --version          print the version\n");
}

int help_print(const struct command *command, const struct command *const *all, size_t count)
{
    if (command) {
        printf("Usage: asockctl %s [OPTION]...%s%s\n\n%s", command->name,
               command->arguments[0] ? " " : "", command->arguments, command->help);
        print_options(command);
        return report_finish_output();
    }

    printf("Usage: asockctl COMMAND [ARGUMENT]... [OPTION]...\n\n"
           "Inspects and controls asockd, and connects through it.\n\nCommands:\n");
    for (size_t i = 0; i < count; i++)
        printf("  %s %-*s %s\n", all[i]->name, 30 - (int)strlen(all[i]->name), all[i]->arguments,
               all[i]->summary);
    print_options(NULL);
    printf("\n\"asockctl COMMAND --help\" describes a command. Exit status: 0 success, 1 failure,\n"
           "2 invalid command line, 7 no such socket or session, 8 asockd cannot be reached;\n"
           "asockctl(1) lists all of them.\n");
    return report_finish_output();
}

const char *help_option_name(unsigned int bits)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (bits & options[i].bit)
            return options[i].name;
    }
    return "";
}
