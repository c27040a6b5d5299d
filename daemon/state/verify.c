/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Failures: the descriptor is not what the state says (-EBADMSG), or the kernel does not say what
 * it is (-errno).
 */
#include "daemon/state/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "proto/endpoint.h"

static int option(int fd, int name)
{
    int value = 0;
    socklen_t len = sizeof(value);

    return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? -1 : value;
}

/*
 * The kernel gives each socket one, and none twice; 0: the one that handed it over could not tell.
 */
static bool has_cookie(int fd, uint64_t cookie)
{
    uint64_t value = 0;
    socklen_t len = sizeof(value);

    return cookie == 0 ||
           (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &value, &len) == 0 && value == cookie);
}

static bool is_unix(int fd, uint64_t cookie, int listens)
{
    return option(fd, SO_DOMAIN) == AF_UNIX && option(fd, SO_TYPE) == SOCK_STREAM &&
           option(fd, SO_ACCEPTCONN) == listens && has_cookie(fd, cookie);
}

static int set_non_blocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0)
        return -errno;
    if (flags & O_NONBLOCK)
        return 0;
    return fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int verify_listener(int fd, uint64_t cookie, const char *path)
{
    struct sockaddr_un addr;
    socklen_t len = sizeof(addr);

    memset(&addr, 0, sizeof(addr));
    if (!is_unix(fd, cookie, 1) || getsockname(fd, (struct sockaddr *)&addr, &len) < 0 ||
        strncmp(addr.sun_path, path, sizeof(addr.sun_path)) != 0)
        return -EBADMSG;
    return set_non_blocking(fd);
}

int verify_client(int fd, uint64_t cookie, const struct identity *identity)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (!is_unix(fd, cookie, 0) || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return -EBADMSG;
    if ((identity->pid != 0 && cred.pid != identity->pid) ||
        (identity->uid != IDENTITY_ID_UNKNOWN && cred.uid != identity->uid))
        return -EBADMSG;
    return set_non_blocking(fd);
}

static bool is_tcp(int fd, uint64_t cookie, int listens)
{
    int domain = option(fd, SO_DOMAIN);

    return (domain == AF_INET || domain == AF_INET6) && option(fd, SO_TYPE) == SOCK_STREAM &&
           option(fd, SO_PROTOCOL) == IPPROTO_TCP && option(fd, SO_ACCEPTCONN) == listens &&
           has_cookie(fd, cookie);
}

int verify_lent(int fd, uint64_t cookie)
{
    return is_tcp(fd, cookie, 0) || is_tcp(fd, cookie, 1) ? 0 : -EBADMSG;
}

static bool is_at(const struct sockaddr_storage *addr, socklen_t len,
                  const struct endpoint *expected)
{
    struct endpoint found = {0};

    return asock_endpoint_from((const struct sockaddr *)addr, len, &found) == 0 &&
           found.address_len == expected->address_len && found.port == expected->port &&
           memcmp(found.address, expected->address, found.address_len) == 0;
}

int verify_bound(int fd, uint64_t cookie, const struct endpoint *local, bool listens)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);

    if (!is_tcp(fd, cookie, listens) || getsockname(fd, (struct sockaddr *)&addr, &len) < 0 ||
        !is_at(&addr, len, local))
        return -EBADMSG;
    return set_non_blocking(fd);
}

/*
 * Of thousands of connections, while their clients wait: no call is made whose answer another one
 * gives. One that has a peer is of its family, and does not listen; SO_TYPE tells TCP apart from
 * raw sockets, which nobody has that cookie of.
 */
int verify_connection(int fd, uint64_t cookie, const struct endpoint *remote)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);

    if (getpeername(fd, (struct sockaddr *)&addr, &len) < 0)
        return errno == ENOTCONN && is_tcp(fd, cookie, 0) ? set_non_blocking(fd) : -EBADMSG;
    if (!is_at(&addr, len, remote) || option(fd, SO_PROTOCOL) != IPPROTO_TCP ||
        !has_cookie(fd, cookie) || (cookie == 0 && option(fd, SO_TYPE) != SOCK_STREAM))
        return -EBADMSG;
    return set_non_blocking(fd);
}

int verify_datagrams(int fd, uint64_t cookie, int family, const struct endpoint *local,
                     const struct endpoint *peer)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);

    if (option(fd, SO_DOMAIN) != family || option(fd, SO_TYPE) != SOCK_DGRAM ||
        option(fd, SO_PROTOCOL) != IPPROTO_UDP || !has_cookie(fd, cookie))
        return -EBADMSG;
    if (local && (getsockname(fd, (struct sockaddr *)&addr, &len) < 0 || !is_at(&addr, len, local)))
        return -EBADMSG;
    len = sizeof(addr);
    if (getpeername(fd, (struct sockaddr *)&addr, &len) < 0)
        return errno == ENOTCONN ? set_non_blocking(fd) : -EBADMSG;
    if (!peer || !is_at(&addr, len, peer))
        return -EBADMSG;
    return set_non_blocking(fd);
}

/* Where /proc does not tell of our own descriptors: no socket, and no memory. */
static bool is_nothing_else(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && !S_ISSOCK(st.st_mode) && fcntl(fd, F_GET_SEALS) < 0;
}

int verify_process(int fd, pid_t pid)
{
    char path[64], line[128];
    int found = 0;
    bool is_pidfd = false;
    FILE *info;

    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    info = fopen(path, "re");
    if (!info)
        return is_nothing_else(fd) ? 0 : -EBADMSG;
    while (fgets(line, sizeof(line), info))
        is_pidfd |= sscanf(line, "Pid: %d", &found) == 1;
    fclose(info);
    /* -1: it has ended, and been waited for. */
    return is_pidfd && (found == pid || found == -1) ? 0 : -EBADMSG;
}

int verify_lock(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    return S_ISREG(st.st_mode) && st.st_size == 0 ? 0 : -EBADMSG;
}
