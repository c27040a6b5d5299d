/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/child.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int listen_abstract(struct sockaddr_un *addr, socklen_t *len)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    *len = sizeof(addr->sun_family);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)addr, *len), 0); /* autobind */
    *len = sizeof(*addr);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)addr, len), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    return fd;
}

static void run_child(const struct sockaddr_un *addr, socklen_t len, int wait_fd,
                      const struct plan *plan)
{
    int fd;
    char c;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (plan && plan->before)
        plan->before(plan->data);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (const struct sockaddr *)addr, len) < 0)
        _exit(1);
    if (plan && plan->after)
        plan->after(plan->data, fd);
    if (write(fd, "", 1) != 1) /* it is done */
        _exit(1);
    _exit(read(wait_fd, &c, 1) == 0 ? 0 : 1);
}

void child_start(struct child *child, const struct plan *plan)
{
    struct sockaddr_un addr;
    socklen_t len;
    char c;
    int lfd = listen_abstract(&addr, &len), gate[2];

    ck_assert_int_eq(pipe2(gate, O_CLOEXEC), 0);
    child->pid = fork();
    ck_assert_int_ge(child->pid, 0);
    if (child->pid == 0) {
        close(gate[1]);
        run_child(&addr, len, gate[0], plan);
    }
    close(gate[0]);
    child->release = gate[1];
    child->fd = accept4(lfd, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(child->fd, 0);
    ck_assert_int_eq(read(child->fd, &c, 1), 1);
    close(lfd);
}

void child_finish(const struct child *child)
{
    siginfo_t info;

    close(child->release);
    ck_assert_int_eq(waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOWAIT), 0);
    ck_assert_int_eq(info.si_code, CLD_EXITED);
    ck_assert_int_eq(info.si_status, 0);
}

void child_end(struct child *child)
{
    child_finish(child);
    ck_assert_int_eq(waitpid(child->pid, NULL, 0), child->pid);
}

/* ---- control groups ---- */

static bool find_mount(char mount[512])
{
    char type[64];
    FILE *f = fopen("/proc/self/mounts", "re");
    bool found = false;

    while (f && !found && fscanf(f, "%*s %511s %63s %*[^\n]", mount, type) == 2)
        found = strcmp(type, "cgroup2") == 0;
    if (f)
        fclose(f);
    return found;
}

static bool find_own(char own[512])
{
    char line[1024];
    FILE *f = fopen("/proc/self/cgroup", "re");
    bool found = false;

    while (f && !found && fgets(line, sizeof(line), f))
        found = sscanf(line, "0::%511s", own) == 1;
    if (f)
        fclose(f);
    return found;
}

bool cgroup_make(struct cgroup *group, const char *name)
{
    char mount[512], own[512];

    if (!find_mount(mount) || !find_own(own))
        return false;
    if (strcmp(own, "/") == 0)
        own[0] = '\0';
    snprintf(group->dir, sizeof(group->dir), "%s%s/%s", mount, own, name);
    snprintf(group->path, sizeof(group->path), "%s/%s", own, name);
    return mkdir(group->dir, 0755) == 0;
}

void cgroup_deepen(struct cgroup *group, const char *name)
{
    size_t len = strlen(group->dir), path_len = strlen(group->path);

    snprintf(group->dir + len, sizeof(group->dir) - len, "/%s", name);
    snprintf(group->path + path_len, sizeof(group->path) - path_len, "/%s", name);
    ck_assert_int_eq(mkdir(group->dir, 0755), 0);
}

void cgroup_remove(struct cgroup *group, unsigned int levels)
{
    for (; levels > 0; levels--) {
        ck_assert_int_eq(rmdir(group->dir), 0);
        *strrchr(group->dir, '/') = '\0';
    }
}

void cgroup_enter(void *data)
{
    const struct cgroup *group = data;
    char path[2100];
    int fd;

    snprintf(path, sizeof(path), "%s/cgroup.procs", group->dir);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1)
        _exit(9);
    close(fd);
}
