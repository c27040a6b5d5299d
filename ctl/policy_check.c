/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * policy check: asockd --check in asockctl's place, or, for --json, beside it.
 * Happy path of --json: asockd ends -> its complaints are errors, its output is warnings and,
 * behind them, the counts -> one object.
 * Failures: no asockd, or one that does not check (a message of its own, no object).
 */
#include "ctl/json.h"
#include "ctl/policy.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct checked {
    FILE *out, *err;
    int status;
};

/* ---- asockd ---- */

static FILE *make_file(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC);
    FILE *file = fd >= 0 ? fdopen(fd, "r") : NULL;

    if (!file)
        report_error("memfd_create: %s", strerror(errno));
    if (!file && fd >= 0)
        close(fd);
    return file;
}

/* Has a complaint printed when it returns less than 0. */
static int run_beside(const char *program, char **args, struct checked *c)
{
    posix_spawn_file_actions_t actions;
    int status, r;
    pid_t pid;

    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fileno(c->out), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, fileno(c->err), STDERR_FILENO);
    r = posix_spawn(&pid, program, &actions, NULL, args, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (r != 0) {
        report_error("%s: %s", program, strerror(r));
        return -1;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    c->status = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
    if (!WIFEXITED(status))
        report_error("%s: %s", program, strsignal(WTERMSIG(status)));
    rewind(c->out);
    rewind(c->err);
    return WIFEXITED(status) ? 0 : -1;
}

/* ---- its lines ---- */

/* In "FILE:LINE: TEXT" the first colon; NULL: it is another line. */
static char *find_number(char *line)
{
    for (char *at = strchr(line, ':'); at && *line != '['; at = strchr(at + 1, ':')) {
        size_t digits = strspn(at + 1, "0123456789");

        if (at > line && digits > 0 && digits < 10 && strncmp(at + 1 + digits, ": ", 2) == 0)
            return at;
    }
    return NULL;
}

/* In "FILE: TEXT" the colon, where FILE was named, is below --config-dir, or is absolute. */
static char *find_file(char *line, const struct settings *settings)
{
    const char *const *named = settings->policies;
    size_t dir_len = settings->config_dir ? strlen(settings->config_dir) : 0;
    int count = settings->policy_count;

    if (dir_len > 0 && strncmp(line, settings->config_dir, dir_len) == 0 && line[dir_len] == '/')
        return strstr(line + dir_len, ": ");
    if (count == 0) {
        named = (const char *const *)settings->args + 1;
        count = settings->arg_count - 1;
    }
    for (int i = 0; i < count; i++) {
        size_t len = strlen(named[i]);

        if (strncmp(line, named[i], len) == 0 && strncmp(line + len, ": ", 2) == 0)
            return line + len;
    }
    return *line == '/' ? strstr(line, ": ") : NULL;
}

static void print_finding(const char *kind, char *line, const struct settings *settings)
{
    char *end = find_number(line), *text = line;
    unsigned long number = end ? strtoul(end + 1, &text, 10) : 0;

    if (!end)
        end = find_file(line, settings);
    if (end) {
        text = strchr(text > end ? text : end, ' ') + 1;
        *end = 0;
    }
    printf("{\"kind\": \"%s\", \"file\": ", kind);
    json_print_string(stdout, end ? line : NULL);
    if (number > 0)
        printf(", \"line\": %lu", number);
    else
        fputs(", \"line\": null", stdout);
    fputs(", \"text\": ", stdout);
    json_print_string(stdout, text);
    putchar('}');
}

/* ret: the last line, where it is no finding. Returns how many findings there are. */
static size_t print_findings(FILE *file, const char *kind, const struct settings *settings,
                             size_t before, char **ret)
{
    char *line = NULL, *next = NULL;
    size_t size = 0, count = before;
    ssize_t n;

    while ((n = getline(&line, &size, file)) > 0) {
        if (line[n - 1] == '\n')
            line[n - 1] = 0;
        if (next || !ret) {
            fputs(count++ > 0 ? ", " : "", stdout);
            print_finding(kind, ret ? next : line, settings);
        }
        free(next);
        next = ret ? report_need_memory(strdup(line)) : NULL;
    }
    free(line);
    if (ret)
        *ret = next;
    return count;
}

/* "ok: 1 file, 2 rules", or "1 file, 2 rules, 3 warnings". */
static void print_counts(const char *summary)
{
    unsigned long files, rules;

    if (summary && strncmp(summary, "ok: ", 4) == 0)
        summary += 4;
    if (summary && sscanf(summary, "%lu %*[a-z], %lu", &files, &rules) == 2)
        printf("\"files\": %lu, \"rules\": %lu", files, rules);
    else
        fputs("\"files\": null, \"rules\": null", stdout);
}

static int print_checked(const struct checked *c, const struct settings *settings)
{
    char *summary = NULL;
    size_t count;

    fputs("{\"findings\": [", stdout);
    count = print_findings(c->err, "error", settings, 0, NULL);
    count = print_findings(c->out, "warning", settings, count,
                           c->status == EXIT_SUCCESS ? &summary : NULL);
    printf("], \"ok\": %s, ", count == 0 && c->status == EXIT_SUCCESS ? "true" : "false");
    print_counts(summary);
    puts("}");
    free(summary);
    return report_finish_output() ? EXIT_FAILURE : c->status;
}

/* It does not check: a wrong option. */
static int pass_on(const struct checked *c)
{
    int each;

    while ((each = getc(c->err)) != EOF)
        putc(each, stderr);
    return c->status;
}

static int check_beside(const char *program, char **args, const struct settings *settings)
{
    struct checked c = {.status = EXIT_FAILURE};

    c.out = make_file("out");
    c.err = c.out ? make_file("err") : NULL;
    if (c.err && run_beside(program, args, &c) == 0)
        c.status = c.status > EXIT_FAILURE ? pass_on(&c) : print_checked(&c, settings);
    if (c.out)
        fclose(c.out);
    if (c.err)
        fclose(c.err);
    return c.status;
}

int policy_check(const struct settings *settings)
{
    const char *named = getenv("ASOCKD"), *program = named && *named ? named : SBINDIR "/asockd";
    char **args = report_need_memory(
        calloc((size_t)settings->arg_count + POLICY_FILES_ARGS + 2, sizeof(char *)));
    int status = EXIT_FAILURE;
    size_t count = 2;

    if (settings->arg_count > 1 && (settings->policy_count > 0 || settings->config_dir)) {
        free(args);
        return report_usage("policy check accepts either files, or --policy and --config-dir");
    }

    args[0] = (char *)(uintptr_t) "asockd";
    args[1] = (char *)(uintptr_t) "--check";
    count += policy_add_files(settings, args + count);
    for (int i = 1; i < settings->arg_count; i++)
        args[count++] = settings->args[i];
    if (settings->json) {
        status = check_beside(program, args, settings);
    } else {
        execv(program, args);
        report_error("%s: %s", program, strerror(errno));
    }
    free(args);
    return status;
}
