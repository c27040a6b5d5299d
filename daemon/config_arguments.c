/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command line of asockd(8).
 * Failures: misuse is reported on standard error, with what to do about it.
 */
#include "daemon/config.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "daemon/session/latency.h"

#ifdef HAVE_INSTRUMENTS
#define SECCOMP_HELP                                                                                    \
    "      --seccomp=off      without the system call filter, and traceable: this build is for tests\n" \
    "      --without=NAME     without this heuristic: hold, eager, guess or gather\n"
#else
#define SECCOMP_HELP
#endif

static const char help[] =
    "Usage: asockd [OPTION]...\n"
    "Owns network sockets for local programs that have none.\n\n"
    "      --runtime-dir DIR  create the sockets in DIR (default /run/asockd);\n"
    "                         not used if the service manager passes sockets\n"
    "      --take-over DIR    take over the clients, connections and operations of the\n"
    "                         running asockd whose sockets are in DIR\n"
    "      --config FILE      read FILE instead of " CONFIG_NAME "\n"
    "      --config-dir DIR   look for " CONFIG_NAME " and " POLICY_NAME " in DIR only, not in\n"
    "                         " CONFIG_DIR ", /run/asockd and " VENDORDIR "/asockd\n"
    "      --policy FILE      read FILE instead of the files in " POLICY_NAME "; can be\n"
    "                         repeated\n"
    "      --allow-public     without policy files, let any client connect to\n"
    "                         globally reachable addresses\n"
    "      --allow-any        without policy files, let any client connect to any\n"
    "                         address, including this host's own\n"
    "      --check [FILE]...  check policy files for mistakes and exit; without FILE,\n"
    "                         check all files that the daemon would read\n"
    "      --judge NAME=VALUE...\n"
    "                         print the policy's decision on a connect request and\n"
    "                         exit; used by asockctl policy test\n"
    "      --log-level LEVEL  error, warning, notice (default), info or debug\n" SECCOMP_HELP
    "      --help             print this help and exit\n"
    "      --version          print the version and exit\n"
    "\n"
    "Exit status: 0 after a clean shutdown, 1 failure, 2 invalid command line.\n"
    "See asockd(8), asockd.conf(5) and asockd.policy(5).\n";

static int misused(void)
{
    fputs("Try 'asockd --help'.\n", stderr);
    return -EINVAL;
}

enum {
    OPT_RUNTIME_DIR = 256,
    OPT_TAKE_OVER,
    OPT_CONFIG,
    OPT_CONFIG_DIR,
    OPT_POLICY,
    OPT_ALLOW_PUBLIC,
    OPT_ALLOW_ANY,
    OPT_CHECK,
    OPT_JUDGE,
    OPT_LOG_LEVEL,
    OPT_SECCOMP,
    OPT_WITHOUT,
    OPT_HELP,
    OPT_VERSION
};

static int add_policy_file(struct config *config, const char *path)
{
    struct policy_source *policy = &config->server.policy;

    if (policy->file_count == POLICY_FILES_MAX) {
        fprintf(stderr, "asockd: --policy: more than %u files\n", POLICY_FILES_MAX);
        return misused();
    }
    config->policy_files[policy->file_count++] = path;
    policy->files = config->policy_files;
    return 0;
}

static int set_base(struct config *config, enum policy_base base)
{
    if (config->server.policy.base != POLICY_DENY && config->server.policy.base != base) {
        fputs("asockd: --allow-any and --allow-public cannot be combined\n", stderr);
        return misused();
    }
    config->server.policy.base = base;
    return 0;
}

static int apply_option(struct config *config, int option, const char *argument)
{
    switch (option) {
    case OPT_RUNTIME_DIR:
        config->server.runtime_dir = argument;
        if (*argument)
            return 0;
        fputs("asockd: --runtime-dir requires a directory\n", stderr);
        return misused();
    case OPT_TAKE_OVER:
        config->server.takes_over = true;
        config->server.runtime_dir = argument;
        if (*argument)
            return 0;
        fputs("asockd: --take-over requires a directory\n", stderr);
        return misused();
    case OPT_CONFIG:
        config->file = argument;
        return 0;
    case OPT_CONFIG_DIR:
        config->dir = argument;
        return 0;
    case OPT_POLICY:
        return add_policy_file(config, argument);
    case OPT_ALLOW_PUBLIC:
        return set_base(config, POLICY_PUBLIC);
    case OPT_ALLOW_ANY:
        return set_base(config, POLICY_ANY);
    case OPT_CHECK:
        config->is_check = true;
        return 0;
    case OPT_JUDGE:
        config->is_judge = true;
        return 0;
    case OPT_LOG_LEVEL:
        config->is_log_level_given = true;
        if (config_parse_level(argument, &config->log_level) == 0)
            return 0;
        fprintf(stderr,
                "asockd: --log-level: \"%s\" is not error, warning, notice, info or debug\n",
                argument);
        return misused();
#ifdef HAVE_INSTRUMENTS
    case OPT_SECCOMP:
        config->server.without_filter = strcmp(argument, "off") == 0;
        return config->server.without_filter ? 0 : misused();
    case OPT_WITHOUT:
        return latency_switch_off(&config->server.without, argument) ? 0 : misused();
#endif
    case OPT_HELP:
        fputs(help, stdout);
        return 1;
    case OPT_VERSION:
        puts("asockd " PACKAGE_VERSION);
        return 1;
    default:
        return misused(); /* getopt_long has said why */
    }
}

static int set_policy_dirs(struct config *config)
{
    static const char *const all[CONFIG_DIR_COUNT] = POLICY_DIRS;
    struct policy_source *policy = &config->server.policy;
    int n;

    if (!config->dir) {
        memcpy(policy->dirs, all, sizeof(all));
        policy->dir_count = CONFIG_DIR_COUNT;
        return 0;
    }
    n = snprintf(config->policy_dir, sizeof(config->policy_dir), "%s/" POLICY_NAME, config->dir);
    /* The configuration's name is longer. */
    if (n < 0 || (size_t)n + sizeof(CONFIG_NAME) > sizeof(config->policy_dir)) {
        fputs("asockd: --config-dir: the path is too long\n", stderr);
        return misused();
    }
    policy->dirs[0] = config->policy_dir;
    policy->dir_count = 1;
    return 0;
}

static int take_operands(struct config *config, char **operands)
{
    const struct policy_source *policy = &config->server.policy;

    config->operands = operands;
    if (config->is_check && config->is_judge) {
        fputs("asockd: --check and --judge cannot be combined\n", stderr);
        return misused();
    }
    if (config->is_check && policy->base != POLICY_DENY) {
        fputs("asockd: --check cannot be combined with --allow-any or --allow-public\n", stderr);
        return misused();
    }
    if (config->is_check && *operands && (policy->file_count > 0 || config->dir)) {
        fprintf(stderr, "asockd: --check takes files or %s, not both\n",
                policy->file_count > 0 ? "--policy" : "--config-dir");
        return misused();
    }
    if (*operands && !config->is_check && !config->is_judge) {
        fprintf(stderr, "asockd: unexpected argument \"%s\"\n", *operands);
        return misused();
    }
    if (policy->base != POLICY_DENY && policy->file_count > 0) {
        fputs("asockd: --policy cannot be combined with --allow-any or --allow-public\n", stderr);
        return misused();
    }
    return set_policy_dirs(config);
}

int config_read_arguments(struct config *config, int argc, char **argv)
{
    static const struct option options[] = {
        {"runtime-dir", required_argument, NULL, OPT_RUNTIME_DIR},
        {"take-over", required_argument, NULL, OPT_TAKE_OVER},
        {"config", required_argument, NULL, OPT_CONFIG},
        {"config-dir", required_argument, NULL, OPT_CONFIG_DIR},
        {"policy", required_argument, NULL, OPT_POLICY},
        {"allow-public", no_argument, NULL, OPT_ALLOW_PUBLIC},
        {"allow-any", no_argument, NULL, OPT_ALLOW_ANY},
        {"check", no_argument, NULL, OPT_CHECK},
        {"judge", no_argument, NULL, OPT_JUDGE},
        {"log-level", required_argument, NULL, OPT_LOG_LEVEL},
#ifdef HAVE_INSTRUMENTS
        {"seccomp", required_argument, NULL, OPT_SECCOMP},
        {"without", required_argument, NULL, OPT_WITHOUT},
#endif
        {"help", no_argument, NULL, OPT_HELP},
        {"version", no_argument, NULL, OPT_VERSION},
        {NULL, 0, NULL, 0},
    };
    int option, r;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        r = apply_option(config, option, optarg);
        if (r != 0)
            return r;
    }
    return take_operands(config, argv + optind);
}
