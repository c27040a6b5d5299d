/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_CTL_H
#define CTL_CTL_H

/* The settings that every command gets, and the commands. */
#include <stdbool.h>

enum { EXIT_USAGE = 2 };

/* policy test: a hypothetical client. */
#define CLIENT_GROUPS_MAX 64

/* proxy: addresses and paths to listen at. */
#define LISTEN_MAX 16

/* list and the like: words that say which rows are meant. */
#define ROWS_FILTERS_MAX 64

/* run --transparent: ports that lead to COMMAND. */
#define PUBLISH_MAX 16

/* policy test: files in place of the daemon's. */
#define POLICIES_MAX 64

struct client {
    const char *id, *pid, *user, *unit, *user_unit, *cgroup, *listener; /* NULL: not given */
    const char *address;
    const char *groups[CLIENT_GROUPS_MAX];
    int group_count;
};

struct settings {
    const char *socket;  /* --socket, or NULL */
    const char *control; /* --control, or NULL */
    bool json;
    bool human;
    int timeout_ms;     /* --timeout, or -1 */
    const char *name;   /* --name, or NULL */
    const char *policy; /* --policy, or NULL: the last one */
    const char *policies[POLICIES_MAX];
    int policy_count;
    const char *config_dir; /* --config-dir, or NULL */
    bool close;
    bool exit_on_close, keep_open;
    int ready_fd; /* --ready-fd, or -1 */
    bool proxy, any_user;
    bool transparent;
    bool sandbox;
    bool fd, confine;
    bool openmetrics, prometheus;
    const char *sort, *columns; /* or NULL */
    int watch_ms;               /* 0: once */
    bool yes, dry_run, sessions;
    const char *path, *mode;        /* --path, --mode, or NULL */
    const char *listen[LISTEN_MAX]; /* --listen */
    int listen_count;
    const char *publish[PUBLISH_MAX]; /* --publish */
    int publish_count;
    struct client client;
    char **args; /* what follows the command */
    int arg_count;
};

/* Bits of the options that a command takes beside --help and --version. */
enum option_bit {
    TAKES_SOCKET = 1,
    TAKES_CONTROL = 2,
    TAKES_JSON = 4,
    TAKES_HUMAN = 8,
    TAKES_TIMEOUT = 16,
    TAKES_NAME = 32,
    TAKES_CLOSE = 64,
    TAKES_CLIENT = 128, /* --user, --id and the like */
    TAKES_POLICY = 256,
    TAKES_LISTEN = 512,
    TAKES_PROXY = 1024,
    TAKES_TRANSPARENT = 2048,
    TAKES_SANDBOX = 4096,
    TAKES_RELAY = 8192, /* --exit-on-close and the like */
    TAKES_FD = 16384,
    TAKES_ROWS = 32768, /* --sort, --columns, --watch */
    TAKES_KILL = 65536, /* --yes, --dry-run, --sessions */
    TAKES_CONFIG_DIR = 131072,
    TAKES_METRICS = 262144, /* --openmetrics, --prometheus */
    TAKES_GROUP = 524288,
    TAKES_PATH = 1048576,
    TAKES_PUBLISH = 2097152,
    TAKES_POLICIES = 4194304, /* --policy more than once */
    TAKES_ADDRESS = 8388608,
    TAKES_MODE = 16777216,
    TAKES_ANY_USER = 33554432,
    TAKES_LAST = TAKES_ANY_USER,
    INSPECTOR_OPTIONS = TAKES_SOCKET | TAKES_CONTROL | TAKES_JSON | TAKES_HUMAN | TAKES_TIMEOUT,
};

/* What the first argument of a command selects, such as policy check. */
struct subcommand {
    const char *name;
    unsigned int options; /* enum option_bit */
    int (*run)(const struct settings *settings);
};

struct command {
    const char *name;
    const char *arguments; /* for the usage line */
    const char *summary;   /* a line in the list of commands */
    const char *help;      /* the rest of its own help */
    unsigned int options;  /* enum option_bit */
    int failure;           /* exit status of a wrong call or loop; 0: the usual ones */
    int min_args, max_args;
    int (*run)(const struct settings *settings); /* returns the exit status */
    const struct subcommand *subcommands;        /* instead of run; the last one has no name */
};

extern const struct command command_list;
extern const struct command command_sessions;
extern const struct command command_denied;
extern const struct command command_monitor;
extern const struct command command_top;
extern const struct command command_show;
extern const struct command command_stats;
extern const struct command command_connect;
extern const struct command command_kill;
extern const struct command command_resolve;
extern const struct command command_run;
extern const struct command command_reload;
extern const struct command command_policy;
extern const struct command command_proxy;
extern const struct command command_listener;

/* Prints "asockctl: ..." on standard error. Text from elsewhere must have been escaped. */
void report_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* For a wrong call: prints the message and where to find help; returns EXIT_USAGE. */
int report_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Ends the program when p is NULL; else returns it. */
void *report_need_memory(void *p);

/*
 * From here on a standard error that takes no line makes nobody wait: the line is lost, and the
 * next one says so. For a loop that serves others.
 */
void report_without_waiting(void);

/* Writes out what standard output still holds. Returns the exit status. */
int report_finish_output(void);

#endif
