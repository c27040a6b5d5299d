/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * listener: one for clients comes or goes while the daemon runs.
 * Happy path: a socket is bound, with its group and mode, and listens -> the daemon takes it.
 * Failures: somebody listens at the path, something else is there, no such group, the daemon does
 * not want it: a message, and what was made is removed again, unless the daemon has not said
 * whether it takes it.
 */
#include "ctl/ctl.h"
#include "ctl/json.h"
#include "ctl/outcome.h"
#include "ctl/record.h"
#include "ctl/session.h"
#include "ctl/text.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define DIRECTORY "/run/asockd"
#define SOCKET_NAME "asock.sock"
#define GROUP "asock"
/* The kernel caps it at net.core.somaxconn. */
#define BACKLOG 4096

struct place {
    struct sockaddr_un address;
    gid_t group;
    mode_t mode;
};

static int fail(const char *path, const char *why)
{
    fputs("asockctl: listener: ", stderr);
    text_print_escaped(stderr, path, 0);
    fprintf(stderr, ": %s\n", why);
    return -1;
}

static bool is_name(const char *name)
{
    size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_");

    return len > 0 && !name[len];
}

/* 0, or an exit status. */
static int read_path(const struct settings *settings, struct sockaddr_un *ret)
{
    const char *name = settings->args[1];
    int n;

    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (!is_name(name))
        return report_usage(
            "listener: \"%s\" is not a valid name: use only letters, digits, - and _", name);
    if (settings->path && settings->path[0] != '/')
        return report_usage("listener: --path must begin with /");
    if (settings->path)
        n = snprintf(ret->sun_path, sizeof(ret->sun_path), "%s", settings->path);
    else
        n = snprintf(ret->sun_path, sizeof(ret->sun_path), DIRECTORY "/%s/" SOCKET_NAME, name);
    if (n < 0 || (size_t)n >= sizeof(ret->sun_path))
        return report_usage("listener: the path is longer than %zu bytes, the limit for a socket",
                            sizeof(ret->sun_path) - 1);
    return 0;
}

/* 0, or an exit status. */
static int read_place(const struct settings *settings, struct place *ret)
{
    const char *name = settings->client.group_count > 0 ? settings->client.groups[0] : GROUP;
    const char *mode = settings->mode ? settings->mode : "0660";
    const struct group *group;
    char *end;
    int r = read_path(settings, &ret->address);

    if (r)
        return r;
    if (settings->client.group_count > 1)
        return report_usage("listener: --group can be given only once");
    ret->mode = (mode_t)strtoul(mode, &end, 8);
    if (strspn(mode, "01234567") != strlen(mode) || end == mode || ret->mode > 0777)
        return report_usage("listener: --mode must be an octal number up to 0777");
    group = getgrnam(name);
    if (!group) {
        fputs("asockctl: listener: there is no group ", stderr);
        text_print_escaped(stderr, name, 0);
        fputs("; use --group to specify another one\n", stderr);
        return EXIT_FAILURE;
    }
    ret->group = group->gr_gid;
    return 0;
}

/* 1: a socket at which no program listens; 0: nothing; -1, after a message: anything else. */
static int look_at(const struct sockaddr_un *address)
{
    const char *path = address->sun_path;
    struct stat st;
    int fd, err;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : fail(path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return fail(path, "the path exists and is not a socket");
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(path, strerror(errno));
    err = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? errno : 0;
    close(fd);
    return err == ECONNREFUSED ? 1 : fail(path, "another program is listening there");
}

/* Its directory, if it is all that is missing; clients of any group have to enter it. */
static int make_directory(const char *path)
{
    char *directory = report_need_memory(strdup(path)), *slash = strrchr(directory, '/');
    mode_t mask = umask(022);
    int r = 0;

    *slash = 0;
    if (slash != directory && mkdir(directory, 0755) < 0 && errno != EEXIST)
        r = fail(directory, strerror(errno));
    umask(mask);
    free(directory);
    return r;
}

/*
 * Before listen(2) every connect(2) ends ECONNREFUSED, so the mode can be that of bind(2). A later
 * chmod(2) would follow a link that the owner of the directory puts in the socket's place.
 */
static int bind_at(int fd, const struct place *place)
{
    const char *path = place->address.sun_path;
    mode_t mask = umask(0777 & ~place->mode);
    int r = bind(fd, (const struct sockaddr *)&place->address, sizeof(place->address));

    umask(mask);
    if (r < 0)
        return fail(path, strerror(errno));
    if (lchown(path, (uid_t)-1, place->group) == 0 && listen(fd, BACKLOG) == 0)
        return 0;
    r = fail(path, strerror(errno));
    unlink(path);
    return r;
}

/* Returns its descriptor, or -1 after a message. */
static int make_socket(const struct place *place)
{
    const char *path = place->address.sun_path;
    int fd, there;

    if (make_directory(path) < 0)
        return -1;
    there = look_at(&place->address);
    if (there < 0)
        return -1;
    if (there > 0 && unlink(path) < 0)
        return fail(path, strerror(errno));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail(path, strerror(errno));
    if (bind_at(fd, place) == 0)
        return fd;
    close(fd);
    return -1;
}

static int command(struct session *session, const struct settings *settings, int fd)
{
    char number[16];
    const char *const args[] = {settings->args[0], settings->args[1], fd < 0 ? NULL : number, NULL};
    struct records records = {0};
    int r;

    snprintf(number, sizeof(number), "%d", fd);
    r = session_command(session, settings, "listener", args, &records);
    records_free(&records);
    return -r;
}

/*
 * Whether the daemon serves the socket is not known: the request may still be before it. Without a
 * name nobody could reach or remove what it serves; with one, the next "add" replaces what it does
 * not.
 */
static void complain_unknown(const struct settings *settings, const char *path)
{
    fail(path, "the socket was not removed, because asockd may still accept it");
    fprintf(
        stderr,
        "asockctl: when asockd answers again, you can remove it with: asockctl listener remove %s%s",
        settings->args[1], settings->path ? " --path " : "\n");
    if (settings->path) {
        text_print_escaped(stderr, settings->path, 0);
        fputc('\n', stderr);
    }
}

static int tell(const struct settings *settings, const char *path)
{
    if (settings->json) {
        fputs("{\"name\": ", stdout);
        json_print_string(stdout, settings->args[1]);
        fputs(", \"path\": ", stdout);
        json_print_string(stdout, path);
        fputs("}\n", stdout);
    } else {
        printf("%s\n", path);
    }
    return report_finish_output();
}

static int add(const struct settings *settings)
{
    struct place place;
    struct session session;
    int status = read_place(settings, &place), fd;

    if (status)
        return status;
    status = -session_open_control(settings, &session);
    if (status)
        return status;
    fd = make_socket(&place);
    status = fd < 0 ? EXIT_FAILURE : command(&session, settings, fd);
    if (fd >= 0 && status == EXIT_NO_DAEMON)
        complain_unknown(settings, place.address.sun_path);
    else if (fd >= 0 && status)
        unlink(place.address.sun_path);
    if (fd >= 0)
        close(fd);
    session_close(&session);
    return status ? status : tell(settings, place.address.sun_path);
}

static int remove_it(const struct settings *settings)
{
    struct sockaddr_un address;
    struct session session;
    int status = read_path(settings, &address);

    if (status)
        return status;
    status = -session_open_control(settings, &session);
    if (status)
        return status;
    status = command(&session, settings, -1);
    session_close(&session);
    if (status == 0 && look_at(&address) == 1 && unlink(address.sun_path) < 0)
        fail(address.sun_path, strerror(errno));
    return status || !settings->json ? status : tell(settings, address.sun_path);
}

enum {
    REMOVE_OPTIONS = TAKES_CONTROL | TAKES_JSON | TAKES_TIMEOUT | TAKES_PATH,
    ADD_OPTIONS = REMOVE_OPTIONS | TAKES_GROUP | TAKES_MODE,
};

static const struct subcommand subcommands[] = {
    {"add", ADD_OPTIONS, add},
    {"remove", REMOVE_OPTIONS, remove_it},
    {0},
};

const struct command command_listener = {
    .name = "listener",
    .arguments = "add|remove NAME",
    .summary = "add or remove a socket for clients while asockd is running",
    .help =
        "\"add\" creates a socket, passes it to asockd and prints its path. asockd serves clients there until it\n"
        "exits. Policy files match these clients with Listener=NAME. \"remove\" removes the socket; existing\n"
        "sessions continue. Both commands require root and use the control socket.\n\n"
        "  asockctl listener add web --group www-data\n"
        "  systemctl enable --now asockd-listener@web.service    adds it whenever asockd starts\n",
    .options = ADD_OPTIONS,
    .min_args = 2,
    .max_args = 2,
    .subcommands = subcommands,
};
