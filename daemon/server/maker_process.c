/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The process that makes listeners.
 * Happy path: a path comes; it makes PATH/share its directory, says 0. The names come that another
 * daemon's sessions have there; it removes all others, gives up its rights, says 0. Then name by
 * name: mkdir, bind, listen, and the socket goes to the daemon; or unlink, rmdir. The daemon has
 * ended when nothing more comes: what is left is removed, unless the next daemon may need it.
 * Failures: whatever fails at the beginning is reported, and ends it; later the answer has the
 * errno. What it can do at most: system calls of the filter below and, where the kernel has
 * Landlock, only below its directory.
 */
#include "daemon/server/maker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#if __has_include(<linux/landlock.h>)
#include <linux/landlock.h>
#endif

#include "daemon/core/capabilities.h"
#include "daemon/server/listener.h"

#define FOLDER "share"
/* Other users may not list it, but may enter a directory in it whose name they know. */
#define FOLDER_MODE 0711
/*
 * An earlier daemon's process that has not ended yet, in a directory of the same daemon: so many
 * looks.
 */
#define LOCK_TRIES 100
#define LOCK_PAUSE_NS 50000000

/* ---- the directory ---- */

/* Our own leftovers: no client connects by these any more. */
static int remove_one(int dir, const char *name)
{
    char path[MAKER_NAME_DIGITS + 1 + sizeof(LISTENER_SOCKET)];

    snprintf(path, sizeof(path), "%.*s/" LISTENER_SOCKET, (int)MAKER_NAME_DIGITS, name);
    if (unlinkat(dir, path, 0) < 0 && errno != ENOENT)
        return -errno;
    return unlinkat(dir, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* In their order. */
struct kept {
    char (*names)[MAKER_NAME_BYTES];
    size_t count;
};

static int compare(const void *one, const void *other)
{
    return strcmp(one, other);
}

static void remove_others(DIR *dir, const struct kept *kept)
{
    const struct dirent *entry;

    rewinddir(dir);
    while ((entry = readdir(dir))) {
        if (!maker_is_name(entry->d_name))
            continue;
        if (kept->count > 0 &&
            bsearch(entry->d_name, kept->names, kept->count, MAKER_NAME_BYTES, compare))
            continue;
        (void)remove_one(dirfd(dir), entry->d_name);
    }
}

static void remove_all(DIR *dir)
{
    remove_others(dir, &(struct kept){.count = 0});
}

static int add_kept(struct kept *kept, const struct maker_kept *message)
{
    void *names = reallocarray(kept->names, kept->count + message->count + 1, MAKER_NAME_BYTES);

    if (!names)
        return -ENOMEM;
    kept->names = names;
    for (uint32_t i = 0; i < message->count; i++) {
        memcpy(kept->names[kept->count], message->names[i], MAKER_NAME_DIGITS);
        kept->names[kept->count++][MAKER_NAME_DIGITS] = '\0';
    }
    return 0;
}

/* -EPIPE: the daemon has ended. */
static int receive_kept(struct kept *ret)
{
    static struct maker_kept message;
    int r = 0;

    do {
        ssize_t n = recv(MAKER_FD, &message, sizeof(message), 0);
        size_t least = offsetof(struct maker_kept, names);

        if (n < (ssize_t)least || message.count > MAKER_KEPT ||
            (size_t)n != least + message.count * sizeof(message.names[0]))
            return -EPIPE;
        r = add_kept(ret, &message);
    } while (r == 0 && message.count == MAKER_KEPT);
    if (r == 0)
        qsort(ret->names, ret->count, MAKER_NAME_BYTES, compare);
    return r;
}

/* Who may write there could put a socket of its own in place of ours. */
static int check_folder(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH))
        return -EPERM;
    return st.st_mode & (S_IRGRP | S_IROTH) && fchmod(fd, FOLDER_MODE) < 0 ? -errno : 0;
}

static int lock_folder(int fd)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};

    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; i++) {
        if (errno != EWOULDBLOCK || i == LOCK_TRIES)
            return errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
        nanosleep(&pause, NULL);
    }
    return 0;
}

static int open_folder(const char *path, DIR **ret)
{
    int fd, r;

    if (chdir(path) < 0 || (mkdir(FOLDER, FOLDER_MODE) < 0 && errno != EEXIST))
        return -errno;
    fd = open(FOLDER, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    r = check_folder(fd);
    if (r == 0)
        r = lock_folder(fd);
    if (r == 0 && fchdir(fd) < 0)
        r = -errno;
    *ret = r == 0 ? fdopendir(fd) : NULL;
    if (r == 0 && !*ret)
        r = -errno;
    if (r < 0)
        close(fd);
    return r;
}

/* ---- its rights ---- */

#ifdef LANDLOCK_ACCESS_FS_MAKE_SOCK
/* Where the kernel has no Landlock the filter has to do. */
static void stay_below(int dir)
{
    const uint64_t needed = LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                            LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE;
    const struct landlock_ruleset_attr all = {
        .handled_access_fs = LANDLOCK_ACCESS_FS_MAKE_SYM * 2 - 1, /* those of its first version */
    };
    const struct landlock_path_beneath_attr below = {
        .allowed_access = needed | LANDLOCK_ACCESS_FS_READ_DIR,
        .parent_fd = dir,
    };
    int rules = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);

    if (rules < 0)
        return;
    if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &below, 0) == 0)
        (void)syscall(SYS_landlock_restrict_self, rules, 0);
    close(rules);
}
#else
static void stay_below(int dir)
{
    (void)dir;
}
#endif

/* With any argument; names that this machine's architecture lacks are passed over. */
static const int allowed[] = {
    SCMP_SYS(read),         SCMP_SYS(recvfrom), SCMP_SYS(recvmsg),    SCMP_SYS(sendmsg),
    SCMP_SYS(sendto),       SCMP_SYS(mkdir),    SCMP_SYS(mkdirat),    SCMP_SYS(bind),
    SCMP_SYS(listen),       SCMP_SYS(close),    SCMP_SYS(unlink),     SCMP_SYS(unlinkat),
    SCMP_SYS(rmdir),        SCMP_SYS(lseek),    SCMP_SYS(getdents64), SCMP_SYS(restart_syscall),
    SCMP_SYS(rt_sigreturn), SCMP_SYS(exit),     SCMP_SYS(exit_group),
};

static int load_filter(void)
{
    const uint64_t low = 0xffffffffu, flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int r = filter ? 0 : -ENOMEM;

    for (size_t i = 0; r == 0 && i < sizeof(allowed) / sizeof(allowed[0]); i++)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
    if (r == 0)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2,
                             SCMP_A0(SCMP_CMP_MASKED_EQ, low, AF_UNIX),
                             SCMP_A1(SCMP_CMP_MASKED_EQ, low & ~flags, SOCK_STREAM));
    if (r == 0)
        r = seccomp_load(filter);
    seccomp_release(filter);
    return r;
}

static int give_up_rights(int dir, bool without_filter)
{
    int r = capabilities_drop();

    if (r < 0)
        return r;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return -errno;
    if (without_filter)
        return 0;
    stay_below(dir);
    return load_filter();
}

/* ---- jobs ---- */

/* From its directory: the name is short enough for any address, however long the path. */
static int listen_below(const char *name, int fd)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/" LISTENER_SOCKET, name);
    if (bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ||
        listen(fd, LISTENER_BACKLOG) < 0)
        return -errno;
    return 0;
}

static int make_one(int dir, const char *name, int *ret)
{
    int r;

    if (mkdirat(dir, name, 0755) < 0)
        return -errno;
    *ret = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    r = *ret < 0 ? -errno : listen_below(name, *ret);
    if (r == 0)
        return 0;
    if (*ret >= 0)
        close(*ret);
    *ret = -1;
    (void)remove_one(dir, name);
    return r;
}

/* fd goes with it, and is closed; -1: none. */
static void answer(int result, int fd)
{
    struct maker_answer answer = {.result = result};
    struct iovec data = {&answer, sizeof(answer)};
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};

    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = CMSG_LEN(sizeof(fd));
        control.head = (struct cmsghdr){CMSG_LEN(sizeof(fd)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
    }
    /* If the daemon has gone, the next read says so. */
    (void)!sendmsg(MAKER_FD, &message, MSG_NOSIGNAL);
    if (fd >= 0)
        close(fd);
}

static void do_job(int dir, struct maker_request *request)
{
    int fd = -1, r = -EINVAL;

    request->name[MAKER_NAME_DIGITS] = '\0';
    if (maker_is_name(request->name) && request->kind == MAKER_REMOVE)
        r = remove_one(dir, request->name);
    else if (maker_is_name(request->name) && request->kind == MAKER_MAKE)
        r = make_one(dir, request->name, &fd);
    answer(r, fd);
}

/* Until the daemon has ended. */
static void serve(int dir, bool *stays)
{
    struct maker_request request;

    while (recv(MAKER_FD, &request, sizeof(request), 0) == sizeof(request)) {
        if (request.kind == MAKER_STAYS || request.kind == MAKER_GOES)
            *stays = request.kind == MAKER_STAYS;
        else
            do_job(dir, &request);
    }
}

static int begin(DIR **ret)
{
    char path[LISTENER_PATH_BYTES];
    ssize_t n = recv(MAKER_FD, path, sizeof(path) - 1, 0);
    int r;

    if (n <= 0)
        return -EPIPE;
    path[n] = '\0';
    r = open_folder(path, ret);
    answer(r, -1);
    return r;
}

/* *ret_stays: another daemon's are there, which may need them again if this one cannot continue. */
static int clear(DIR *dir, bool without_filter, bool *ret_stays)
{
    struct kept kept = {.names = NULL};
    int r = receive_kept(&kept);

    if (r == -EPIPE)
        return r;
    if (r == 0)
        remove_others(dir, &kept);
    *ret_stays = kept.count > 0;
    free(kept.names);
    if (r == 0)
        r = give_up_rights(dirfd(dir), without_filter);
    answer(r, -1);
    return r;
}

void maker_process(bool without_filter)
{
    static const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGPIPE};
    bool stays = false;
    DIR *dir = NULL;
    int r;

    /* Of the terminal and of the service manager, which mean the daemon: it ends when that has. */
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        signal(ignored[i], SIG_IGN);
    (void)prctl(PR_SET_NAME, "asockd-share", 0, 0, 0);
    umask(0);
    r = begin(&dir);
    if (r == 0)
        r = clear(dir, without_filter, &stays);
    if (r == 0)
        serve(dirfd(dir), &stays);
    if (r == 0 && !stays)
        remove_all(dir);
    _exit(r == 0 ? EXIT_SUCCESS : EXIT_FAILURE);
}
