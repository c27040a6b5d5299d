/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* --sandbox: the command line of bubblewrap that most want. */
#include "ctl/ctl.h"
#include "ctl/inside.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What stands in front of the paths. */
static const char *const first[] = {"bwrap",
                                    "--unshare-user",
                                    "--unshare-pid",
                                    "--unshare-ipc",
                                    "--unshare-uts",
                                    "--die-with-parent",
                                    "--ro-bind",
                                    "/",
                                    "/",
                                    "--dev",
                                    "/dev",
                                    "--proc",
                                    "/proc",
                                    "--tmpfs",
                                    "/tmp",
                                    "--tmpfs",
                                    "/var/tmp",
                                    "--tmpfs",
                                    "/run"};
#define FIRST_COUNT (sizeof(first) / sizeof(first[0]))
#define MORE_MAX 9 /* below, with the NULL at the end */

static char *copy(const char *text)
{
    return report_need_memory(strdup(text));
}

static size_t put_bind(char **ret, size_t at, const char *how, const char *path)
{
    ret[at++] = copy(how);
    ret[at++] = copy(path);
    ret[at++] = copy(path);
    return at;
}

char **sandbox_arguments(char **args)
{
    char path[PATH_MAX], **ret;
    size_t count = 0, at = 0;

    while (args[count])
        count++;
    ret = report_need_memory(calloc(FIRST_COUNT + MORE_MAX + count, sizeof(*ret)));
    for (size_t i = 0; i < FIRST_COUNT; i++)
        ret[at++] = copy(first[i]);
    /* It may be a link to below /run, which is empty in there. */
    if (realpath("/etc/resolv.conf", path) && strncmp(path, "/run/", 5) == 0)
        at = put_bind(ret, at, "--ro-bind", path);
    if (getcwd(path, sizeof(path)) && path[0] == '/' && path[1])
        at = put_bind(ret, at, "--bind", path);
    ret[at++] = copy("--");
    /* Of a command that cannot be run env(1) says it by its exit status; bwrap does not. */
    ret[at++] = copy("env");
    for (size_t i = 0; i < count; i++)
        ret[at++] = args[i];
    return ret;
}
