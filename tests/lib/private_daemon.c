/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "tests/lib/private_daemon.h"
#include "tests/lib/wait.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* nobody: another user than the test's, where root runs the tests. */
#define DAEMON_UID 65534
#define ARGS_MAX 32

const char *test_builddir(void)
{
    const char *dir = getenv("ASOCK_TEST_BUILDDIR");

    return dir ? dir : ".";
}

const char *test_srcdir(void)
{
    const char *dir = getenv("ASOCK_TEST_SRCDIR");

    return dir ? dir : ".";
}

bool test_sanitized(void)
{
    const char *list = getenv("ASOCK_TEST_SANITIZERS");

    return list && *list && strcmp(list, "no") != 0;
}

size_t count_fds(pid_t pid)
{
    char path[64];
    struct dirent *entry;
    size_t count = 0;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    dir = opendir(path);
    if (!dir && errno == EACCES && pid != getpid())
        return 0;
    ck_assert_msg(dir != NULL, "%s: errno %d", path, errno);
    while ((entry = readdir(dir)))
        count += entry->d_name[0] != '.';
    closedir(dir);
    return pid == getpid() ? count - 1 : count;
}

/* ------------------------------------------------------------------------------------ the guard */

static void copy_log(const char *dir)
{
    char path[128], buf[4096];
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "%s/log", dir);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    while ((n = read(fd, buf, sizeof(buf))) > 0) {
        /* As comments: the test's output is TAP. */
        for (char *line = buf, *next; line < buf + n; line = next) {
            char *end = memchr(line, '\n', (size_t)(buf + n - line));

            next = end ? end + 1 : buf + n;
            dprintf(STDERR_FILENO, "# asockd: %.*s%s", (int)(next - line), line, end ? "" : "\n");
        }
    }
    close(fd);
}

static void remove_dir(const char *dir)
{
    pid_t pid = fork();

    if (pid == 0) {
        execlp("rm", "rm", "-rf", "--", dir, (char *)NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
}

/* In a session of its own: libcheck kills the test's process group when a test has failed. */
static void run_guard(int fd, const char *dir, bool remove)
{
    struct {
        pid_t pid;
        int clean;
    } message = {0}, next;

    setsid();
    /* The log may find no reader any more; the directory still has to go. */
    signal(SIGPIPE, SIG_IGN);
    for (;;) {
        ssize_t n = read(fd, &next, sizeof(next));

        if (n < 0 && errno == EINTR)
            continue;
        if (n != (ssize_t)sizeof(next))
            break;
        message = next;
    }
    if (!message.clean) {
        if (message.pid > 0)
            kill(message.pid, SIGKILL);
        copy_log(dir);
    }
    if (remove)
        remove_dir(dir);
    _exit(0);
}

static int start_guard(const char *dir, bool remove)
{
    int fds[2];
    pid_t pid;

    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        /* The other end, and whatever else the test has open, is not the guard's. */
        dup2(fds[0], 3);
        syscall(SYS_close_range, 4U, ~0U, 0U);
        run_guard(3, dir, remove);
    }
    close(fds[0]);
    return fds[1];
}

static void tell_guard(struct private_daemon *daemon, pid_t pid, int clean)
{
    struct {
        pid_t pid;
        int clean;
    } message = {pid, clean};

    ck_assert_int_eq(write(daemon->guard, &message, sizeof(message)), (int)sizeof(message));
}

/* ----------------------------------------------------------------------------------- the daemon */

static uid_t daemon_uid(void)
{
    /* Coverage data is written beside the objects, where only their owner may write. */
    return geteuid() == 0 && !getenv("ASOCK_TEST_SAME_USER") ? DAEMON_UID : geteuid();
}

static int become_user(void)
{
    if (daemon_uid() == geteuid())
        return 0;
    if (setgroups(0, NULL) < 0 || setgid(DAEMON_UID) < 0)
        return -1;
    return setuid(DAEMON_UID);
}

static void become_daemon(const char *const *argv, const struct private_daemon_options *options,
                          int log, pid_t parent)
{
    char path[4096];
    int binary;

    if (options->nofile) {
        struct rlimit limit = {options->nofile, options->nofile};

        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
            _exit(126);
    }
    /* Opened before the user changes: the build directory may be closed to others. */
    snprintf(path, sizeof(path), "%s/asockd", test_builddir());
    binary = open(path, O_RDONLY | O_CLOEXEC);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    if (become_user() < 0)
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(126);
    execv(path, (char *const *)argv);
    if (errno == EACCES)
        fexecve(binary, (char *const *)argv, environ);
    dprintf(log, "%s: errno %d\n", path, errno);
    _exit(127);
}

static void fill_args(const char **argv, const char *dir, const char *const *args)
{
    static const char *const usual[] = {"--allow-any", NULL};
    const char *instruments = getenv("ASOCK_TEST_INSTRUMENTS");
    size_t n = 0;

    argv[n++] = "asockd";
    argv[n++] = "--runtime-dir";
    argv[n++] = dir;
    /* What looks into a process, like a sanitizer, does system calls that the filter kills for. */
    if (instruments && strcmp(instruments, "no") != 0)
        argv[n++] = "--seccomp=off";
    for (args = args ? args : usual; *args; args++) {
        ck_assert_uint_lt(n, ARGS_MAX - 1);
        argv[n++] = *args;
    }
    argv[n] = NULL;
}

static int make_notify_socket(struct private_daemon *daemon)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%.64s/notify", daemon->dir);
    unlink(addr.sun_path);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(chmod(addr.sun_path, 0666), 0);
    setenv("NOTIFY_SOCKET", addr.sun_path, 1);
    return fd;
}

static bool connectable(void *userdata)
{
    struct private_daemon *daemon = userdata;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct pollfd gone = {.fd = daemon->pidfd, .events = POLLIN};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r;

    ck_assert_msg(poll(&gone, 1, 0) == 0, "asockd ended instead of starting");
    memcpy(addr.sun_path, daemon->client, sizeof(addr.sun_path));
    r = connect(fd, (struct sockaddr *)&addr, sizeof(addr));
    close(fd);
    return r == 0;
}

static void wait_ready(struct private_daemon *daemon, int notify)
{
    const char *systemd = getenv("ASOCK_TEST_SYSTEMD");
    long long deadline = now_ms() + LIVENESS_MS;
    char message[512];

    if (systemd && strcmp(systemd, "no") == 0) {
        ck_assert_msg(wait_condition(connectable, daemon), "asockd did not listen");
        return;
    }
    for (;;) {
        struct pollfd fds[2] = {{.fd = notify, .events = POLLIN},
                                {.fd = daemon->pidfd, .events = POLLIN}};
        ssize_t n;

        poll(fds, 2, LIVENESS_MS);
        ck_assert_msg(!fds[1].revents, "asockd ended instead of starting");
        ck_assert_msg(now_ms() < deadline, "asockd did not say READY=1");
        n = recv(notify, message, sizeof(message) - 1, MSG_DONTWAIT);
        if (n <= 0)
            continue;
        message[n] = '\0';
        if (strstr(message, "READY=1"))
            return;
    }
}

static void make_dir(struct private_daemon *daemon, const char *dir)
{
    const char *tmp = getenv("TMPDIR");

    if (dir) {
        snprintf(daemon->dir, sizeof(daemon->dir), "%s", dir);
    } else {
        snprintf(daemon->dir, sizeof(daemon->dir), "%.40s/asockd-test.XXXXXX", tmp ? tmp : "/tmp");
        ck_assert_msg(mkdtemp(daemon->dir) != NULL, "mkdtemp: errno %d", errno);
        ck_assert_int_eq(chown(daemon->dir, daemon->uid, (gid_t)-1), 0);
        ck_assert_int_eq(chmod(daemon->dir, 0755), 0);
    }
    snprintf(daemon->client, sizeof(daemon->client), "%s/default/asock.sock", daemon->dir);
    snprintf(daemon->control, sizeof(daemon->control), "%s/control.sock", daemon->dir);
}

static int open_log(const char *dir)
{
    char path[128];
    int fd;

    snprintf(path, sizeof(path), "%s/log", dir);
    fd = open(path, O_CREAT | O_RDWR | O_APPEND | O_CLOEXEC, 0644);
    ck_assert_msg(fd >= 0, "%s: errno %d", path, errno);
    return fd;
}

struct private_daemon *private_daemon_start(const struct private_daemon_options *options)
{
    static const struct private_daemon_options none;
    struct private_daemon *daemon = calloc(1, sizeof(*daemon));
    const char *argv[ARGS_MAX];
    pid_t parent = getpid();
    int log, notify;

    options = options ? options : &none;
    daemon->uid = daemon_uid();
    make_dir(daemon, options->dir);
    fill_args(argv, daemon->dir, options->args);
    daemon->guard = start_guard(daemon->dir, options->dir == NULL);
    log = open_log(daemon->dir);
    notify = make_notify_socket(daemon);
    daemon->pid = fork();
    ck_assert_int_ge(daemon->pid, 0);
    if (daemon->pid == 0)
        become_daemon(argv, options, log, parent);
    unsetenv("NOTIFY_SOCKET");
    tell_guard(daemon, daemon->pid, 0);
    daemon->pidfd = (int)syscall(SYS_pidfd_open, daemon->pid, 0);
    fcntl(daemon->pidfd, F_SETFD, FD_CLOEXEC);
    wait_ready(daemon, notify);
    close(log);
    close(notify);
    return daemon;
}

int private_daemon_wait(struct private_daemon *daemon)
{
    struct pollfd gone = {.fd = daemon->pidfd, .events = POLLIN};
    int status = -1;

    ck_assert_msg(poll(&gone, 1, LIVENESS_MS) == 1, "asockd did not end");
    ck_assert_int_eq(waitpid(daemon->pid, &status, 0), daemon->pid);
    tell_guard(daemon, 0, 0);
    daemon->pid = 0;
    return status;
}

struct private_daemon *private_daemon_release(struct private_daemon *daemon)
{
    tell_guard(daemon, 0, 1);
    close(daemon->guard);
    close(daemon->pidfd);
    free(daemon);
    return NULL;
}

struct private_daemon *private_daemon_stop(struct private_daemon *daemon)
{
    int status;

    private_daemon_wait_fds(daemon, daemon->baseline);
    ck_assert_int_eq(kill(daemon->pid, SIGTERM), 0);
    status = private_daemon_wait(daemon);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
                  "asockd ended with wait status 0x%x", (unsigned int)status);
    return private_daemon_release(daemon);
}

int private_daemon_run(const char *const *args, char *output, size_t size)
{
    static const struct private_daemon_options none;
    const char *argv[ARGS_MAX] = {"asockd"};
    pid_t parent = getpid(), pid;
    size_t len = 0;
    int fds[2], status;
    ssize_t n;

    for (size_t i = 0; args[i]; i++)
        argv[i + 1] = args[i];
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0)
        become_daemon(argv, &none, fds[1], parent);
    close(fds[1]);
    while (len + 1 < size) {
        wait_fd(fds[0], POLLIN);
        n = read(fds[0], output + len, size - len - 1);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    output[len] = '\0';
    close(fds[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status), "asockd ended with wait status 0x%x: %s", (unsigned int)status,
                  output);
    return WEXITSTATUS(status);
}

/* --------------------------------------------------------------------------- looking at it */

size_t private_daemon_log(struct private_daemon *daemon, char *buf, size_t size)
{
    int fd = open_log(daemon->dir);
    ssize_t n = pread(fd, buf, size - 1, 0);

    close(fd);
    ck_assert_int_ge(n, 0);
    buf[n] = '\0';
    return (size_t)n;
}

size_t private_daemon_fds(struct private_daemon *daemon)
{
    return count_fds(daemon->pid);
}

struct fds_wanted {
    struct private_daemon *daemon;
    size_t count;
};

static bool has_fds(void *userdata)
{
    struct fds_wanted *wanted = userdata;

    return private_daemon_fds(wanted->daemon) == wanted->count;
}

void private_daemon_wait_fds(struct private_daemon *daemon, size_t count)
{
    struct fds_wanted wanted = {daemon, count};

    ck_assert_msg(wait_condition(has_fds, &wanted), "asockd has %zu descriptors instead of %zu",
                  private_daemon_fds(daemon), count);
}

void private_daemon_limit_fds(struct private_daemon *daemon, rlim_t limit)
{
    struct rlimit rlimit = {limit, limit};
    int status;
    pid_t pid = fork();

    /* As the daemon's own user: root may be without the capability for another's limits. */
    if (pid == 0) {
        if (become_user() < 0)
            _exit(1);
        _exit(prlimit(daemon->pid, RLIMIT_NOFILE, &rlimit, NULL) < 0 ? 2 : 0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}

long private_daemon_memory(struct private_daemon *daemon, const char *field)
{
    char path[64], line[256];
    long value = -1;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/status", daemon->pid);
    file = fopen(path, "re");
    ck_assert_msg(file != NULL, "%s: errno %d", path, errno);
    while (value < 0 && fgets(line, sizeof(line), file)) {
        if (strncmp(line, field, strlen(field)) == 0 && line[strlen(field)] == ':')
            value = strtol(line + strlen(field) + 1, NULL, 10);
    }
    fclose(file);
    ck_assert_msg(value >= 0, "no %s in %s", field, path);
    return value;
}

void private_daemon_freeze(struct private_daemon *daemon)
{
    int status = 0;

    ck_assert_int_eq(kill(daemon->pid, SIGSTOP), 0);
    ck_assert_int_eq(waitpid(daemon->pid, &status, WUNTRACED), daemon->pid);
    ck_assert_msg(WIFSTOPPED(status), "asockd ended with wait status 0x%x", (unsigned int)status);
}

void private_daemon_thaw(struct private_daemon *daemon)
{
    ck_assert_int_eq(kill(daemon->pid, SIGCONT), 0);
}
