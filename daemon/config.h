/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_CONFIG_H
#define ASOCKD_CONFIG_H

/* What the administrator says: command line and asockd.conf(5). */
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/conf.h"
#include "base/log.h"
#include "daemon/server/listener_spec.h"
#include "daemon/server/server.h"

struct config {
    struct server_config server;
    const char *dir;  /* --config-dir; NULL: CONFIG_DIRS */
    const char *file; /* --config; NULL: CONFIG_NAME in the first of the directories that has one */
    enum log_level log_level;
    bool is_log_level_given; /* the command line wins */
    char audit_file[CONF_LINE_MAX + 1];
    bool is_check; /* --check: of operands, and of file if it was given; else of all there is */
    bool is_judge; /* --judge: operands are its question */
    char **operands;
    const char *policy_files[POLICY_FILES_MAX];
    char policy_dir[PATH_MAX]; /* of --config-dir */
    char servers[CONF_LINE_MAX + 1];
    struct listener_spec listeners[LISTENERS_MAX]; /* server.listener_count of them */
};

/* The file once more, on top of the same command line. */
struct config_source {
    const struct config *arguments; /* as the command line left it, before any file */
    struct config next;
};

struct reload_source config_source_init(struct config_source *source,
                                        const struct config *arguments);

#define CONFIG_DIR SYSCONFDIR "/asockd"
#define CONFIG_NAME "asockd.conf"
#define POLICY_NAME "policy.d"

/*
 * The administrator's, those until the next boot, and what came with the package: the first wins.
 */
#define CONFIG_DIRS                                                                                \
    {                                                                                              \
        CONFIG_DIR, "/run/asockd", VENDORDIR "/asockd"                                             \
    }
#define POLICY_DIRS                                                                                \
    {                                                                                              \
        CONFIG_DIR "/" POLICY_NAME, "/run/asockd/" POLICY_NAME, VENDORDIR "/asockd/" POLICY_NAME   \
    }
#define CONFIG_DIR_COUNT POLICY_DIRS_MAX

void config_init(struct config *config);

/* A level by its name: 0 or -EINVAL. */
int config_parse_level(const char *text, enum log_level *ret);

/*
 * 0: go on; 1: all that was asked for has been printed; -EINVAL: misuse, and a message was printed.
 */
int config_read_arguments(struct config *config, int argc, char **argv);

/* 0, or -errno with a message that names the file, and the line if there is one. */
int config_read_file(struct config *config, char ret_error[static CONF_ERROR_MAX]);

#endif
