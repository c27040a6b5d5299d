/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/check.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "daemon/config.h"
#include "daemon/policy/check.h"

/* ---- listeners ---- */

/*
 * Those of the configuration, or, without any, "default"; and what the service manager listens at.
 */
static bool has_listener(void *data, const char *name)
{
    const struct config *config = data;
    char path[PATH_MAX];

    for (unsigned int i = 0; i < config->server.listener_count; i++)
        if (strcmp(config->listeners[i].name, name) == 0)
            return true;
    if (config->server.listener_count == 0 && strcmp(name, "default") == 0)
        return true;
    snprintf(path, sizeof(path), "%s/%s/" LISTENER_SOCKET, config->server.runtime_dir, name);
    return access(path, F_OK) == 0;
}

/* ---- the unit's hardening ---- */

/* Below it the shipped unit may write: LogsDirectory=. */
#define LOGS "/var/log/asockd"

static bool is_below(const char *path, const char *dir)
{
    size_t len = strlen(dir);

    while (len > 1 && dir[len - 1] == '/')
        len--;
    return strncmp(path, dir, len) == 0 && (path[len] == '/' || len == 1);
}

/* A line "ReadWritePaths=-/a /b" that has the path. */
static bool line_allows(char *line, const char *path)
{
    char *save = NULL, *dir;

    if (strncmp(line, "ReadWritePaths=", 15) != 0)
        return false;
    for (dir = strtok_r(line + 15, " \t\n", &save); dir; dir = strtok_r(NULL, " \t\n", &save)) {
        dir += strspn(dir, "-+");
        if (*dir && (is_below(path, dir) || strcmp(path, dir) == 0))
            return true;
    }
    return false;
}

static bool file_allows(const char *dir, const char *name, const char *path)
{
    char file_path[PATH_MAX], line[1024];
    bool allows = false;
    FILE *file;

    snprintf(file_path, sizeof(file_path), "%s/%s", dir, name);
    file = fopen(file_path, "re");
    while (file && !allows && fgets(line, sizeof(line), file))
        allows = line_allows(line, path);
    if (file)
        fclose(file);
    return allows;
}

static bool drop_ins_allow(const char *path)
{
    static const char *const dirs[] = {"/etc/systemd/system/asockd.service.d",
                                       "/run/systemd/system/asockd.service.d"};
    bool allows = false;

    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]) && !allows; i++) {
        DIR *dir = opendir(dirs[i]);
        const struct dirent *entry;

        while (dir && !allows && (entry = readdir(dir)))
            allows = file_allows(dirs[i], entry->d_name, path);
        if (dir)
            closedir(dir);
    }
    return allows;
}

static void check_audit(const struct config *config, struct policy_check *check)
{
    const char *path = config->server.audit.file;

    if (!path || is_below(path, LOGS) || drop_ins_allow(path))
        return;
    check->warnings++;
    fprintf(check->out,
            "[Audit] File=%s: asockd.service can write only below " LOGS
            "; set ReadWritePaths= in a drop-in (systemctl edit asockd)\n",
            path);
}

/* ---- all ---- */

static void print_count(FILE *out, size_t count, const char *what)
{
    fprintf(out, "%zu %s%s", count, what, text_plural(count));
}

static void print_summary(const struct policy_check *check)
{
    fputs(check->warnings ? "" : "ok: ", check->out);
    print_count(check->out, check->files, "file");
    fputs(", ", check->out);
    print_count(check->out, check->rules, "rule");
    if (check->warnings) {
        fputs(", ", check->out);
        print_count(check->out, check->warnings, "warning");
    }
    fputc('\n', check->out);
}

int check_config(const struct config *arguments, FILE *out, FILE *err)
{
    bool is_all = !arguments->file && !*arguments->operands;
    struct config config = *arguments;
    struct policy_check check = {.out = out, .err = err, .data = &config};
    int status = EXIT_SUCCESS, r;
    char error[CONF_ERROR_MAX];

    if (config.file || is_all) {
        if (config_read_file(&config, error) == 0) {
            check.has_listener = is_all ? has_listener : NULL;
            if (!config.dir)
                check_audit(&config, &check);
        } else {
            fprintf(err, "%s\n", error);
            status = EXIT_FAILURE;
        }
    }
    r = is_all ? policy_check_source(&check, &config.server.policy)
               : policy_check_files(&check, config.operands);
    if (r < 0)
        status = EXIT_FAILURE;
    if (status == EXIT_SUCCESS)
        print_summary(&check);
    if (fflush(out) == 0 && !ferror(out))
        return status;
    fprintf(err, "asockd: standard output: %s\n", strerror(errno));
    return EXIT_FAILURE;
}
