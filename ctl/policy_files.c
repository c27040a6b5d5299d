/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Files that are not in force are asked by asockd itself, which reads them as it would as a daemon:
 * its answer is records of texts with a NUL behind each (asockd --judge).
 */
#include "ctl/policy.h"
#include "ctl/record.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIELDS_MAX 64

static char *next_text(FILE *file, char **buf, size_t *size)
{
    ssize_t n = getdelim(buf, size, '\0', file);

    return n > 0 && (*buf)[n - 1] == '\0' ? report_need_memory(strdup(*buf)) : NULL;
}

/* 1: a field; 0: the record's end; -1: the output's. */
static int read_field(FILE *file, struct asock_field *ret)
{
    char *buf = NULL, *name, *kind, *value;
    size_t size = 0;

    name = next_text(file, &buf, &size);
    kind = name && *name ? next_text(file, &buf, &size) : NULL;
    value = kind ? next_text(file, &buf, &size) : NULL;
    free(buf);
    *ret = (struct asock_field){.name = name};
    if (value && kind[0] == 'T') {
        ret->text = value;
    } else if (value) {
        ret->number = strtoll(value, NULL, 10);
        free(value);
        value = name;
    }
    free(kind);
    if (value)
        return 1;
    free(name);
    return name && !kind ? 0 : -1;
}

static void read_records(FILE *file, struct records *ret)
{
    struct asock_field fields[FIELDS_MAX];
    size_t count;
    int r;

    do {
        for (count = 0; count < FIELDS_MAX && (r = read_field(file, &fields[count])) > 0;)
            count++;
        if (count > 0)
            records_add(fields, count, ret);
        while (count > 0) {
            count--;
            free((char *)fields[count].name);
            free((char *)fields[count].text);
        }
    } while (r == 0);
}

/* What it says on standard error is the complaint. */
static int run(char **args, struct records *ret)
{
    posix_spawn_file_actions_t actions;
    int fds[2], status, r;
    FILE *file;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0) {
        report_error("pipe: %s", strerror(errno));
        return -1;
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    r = posix_spawn(&pid, args[0], &actions, NULL, args, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    if (r != 0) {
        close(fds[0]);
        report_error("%s: %s", args[0], strerror(r));
        return -1;
    }
    file = report_need_memory(fdopen(fds[0], "r"));
    read_records(file, ret);
    fclose(file);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 && ret->count > 0 ? 0 : -1;
}

size_t policy_add_files(const struct settings *settings, char **args)
{
    size_t count = 0;

    for (int i = 0; i < settings->policy_count; i++) {
        args[count++] = (char *)(uintptr_t) "--policy";
        args[count++] = (char *)(uintptr_t)settings->policies[i];
    }
    if (settings->config_dir) {
        args[count++] = (char *)(uintptr_t) "--config-dir";
        args[count++] = (char *)(uintptr_t)settings->config_dir;
    }
    return count;
}

int policy_judge_files(const struct settings *settings, const struct question *q,
                       struct records *ret)
{
    const char *named = getenv("ASOCKD");
    char **args = report_need_memory(calloc(POLICY_FILES_ARGS + q->count + 3, sizeof(char *)));
    size_t count = 0;
    int r;

    args[count++] = (char *)(uintptr_t)(named && *named ? named : SBINDIR "/asockd");
    args[count++] = (char *)(uintptr_t) "--judge";
    count += policy_add_files(settings, args + count);
    for (size_t i = 0; i < q->count; i++)
        args[count++] = q->args[i];
    r = run(args, ret);
    free(args);
    return r;
}
