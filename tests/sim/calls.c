/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* System calls on sockets, as the linker hands them to us (--wrap). */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/un.h>
#include <linux/sockios.h>

#include "daemon/wire/client_fd.h"
#include "tests/sim/calls.h"
#include "tests/sim/inbound.h"
#include "tests/sim/kernel.h"
#include "tests/sim/udp.h"
#include "tests/sim/world.h"

/* A call takes time; a run with too many calls is spinning. */
void calls_enter(void)
{
    sim.now_ns += 1000;
    sim.work++;
}

long calls_leave(long result)
{
    if (result >= 0)
        return result;
    errno = (int)-result;
    return -1;
}

static struct kfile *socket_file(int fd, int *ret_error)
{
    struct kfile *file = fd_file(fd);

    calls_enter();
    *ret_error = file ? -ENOTSOCK : -EBADF;
    if (file && (file->kind == FILE_UNIX || file->kind == FILE_TCP || file->kind == FILE_LISTENER ||
                 file->kind == FILE_UDP || file->kind == FILE_PLAIN))
        return file;
    return NULL;
}

int __wrap_socket(int family, int type, int protocol)
{
    struct kfile *file, *pair[2];
    int r;

    (void)protocol;
    calls_enter();
    if (family == AF_UNIX && (type & 0xf) == SOCK_STREAM) {
        unix_pair(pair);
        pair[0]->u.unix_end->peer = NULL;
        pair[1]->u.unix_end->peer = NULL;
        pair[0]->u.unix_end->is_connected = false;
        file_unref(pair[1]);
        file = pair[0];
    } else if ((type & 0xf) == SOCK_STREAM) {
        r = tcp_open(family, &file);
        if (r < 0)
            return (int)calls_leave(r);
    } else if (family == AF_INET || family == AF_INET6) {
        r = udp_open_file(family, &file);
        if (r < 0)
            return (int)calls_leave(r);
    } else {
        file = file_new(FILE_PLAIN);
    }
    file->is_nonblocking = type & SOCK_NONBLOCK;
    return (int)calls_leave(fd_install(file));
}

int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    int r;
    struct kfile *file = socket_file(fd, &r);

    if (file && file->kind == FILE_TCP)
        r = tcp_connect(file->u.tcp, addr, len);
    else if (file && file->kind == FILE_UDP)
        r = udp_connect_file(file->u.udp, addr, len);
    else if (file && file->kind == FILE_UNIX)
        r = unix_connect(file, ((const struct sockaddr_un *)(const void *)addr)->sun_path);
    else if (file)
        r = 0;
    return (int)calls_leave(r);
}

int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    int r;
    struct kfile *file = socket_file(fd, &r), *client;

    if (!file)
        return (int)calls_leave(r);
    if (file->kind == FILE_TCP)
        return (int)calls_leave(inbound_accept(file->u.tcp, addr, len, flags));
    client = unix_accept(file);
    if (!client)
        return (int)calls_leave(-EAGAIN);
    client->is_nonblocking = flags & SOCK_NONBLOCK;
    return (int)calls_leave(fd_install(client));
}

static ssize_t send_some(int fd, const struct iovec *iov, size_t count, const struct passed *passed)
{
    int r;
    struct kfile *file = socket_file(fd, &r);

    if (!file)
        return calls_leave(r);
    if (sim_fault(FAULT_INTERRUPT, 20))
        return calls_leave(-EINTR);
    if (file->kind == FILE_TCP)
        return calls_leave(tcp_send(file->u.tcp, iov, count));
    if (file->kind == FILE_UNIX)
        return calls_leave(unix_send(file, iov, count, passed));
    return calls_leave(-ENOTCONN);
}

ssize_t __wrap_send(int fd, const void *data, size_t len, int flags)
{
    struct iovec iov = {(void *)(uintptr_t)data, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    const struct kfile *file = fd_file(fd);

    if (file && file->kind == FILE_UDP)
        return __wrap_sendmsg(fd, &msg, flags);
    return send_some(fd, &iov, 1, NULL);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    const struct kfile *file = fd_file(fd);
    struct cmsghdr *cmsg = msg->msg_control ? CMSG_FIRSTHDR(msg) : NULL;
    struct passed passed = {.count = 0};
    int fds[PASSED_MAX];

    (void)flags;
    if (file && file->kind == FILE_UDP) {
        calls_enter();
        return calls_send_datagram(file->u.udp, msg);
    }
    if (cmsg && cmsg->cmsg_type == SCM_RIGHTS) {
        passed.count = (unsigned int)((cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        SIM_MUST(passed.count <= PASSED_MAX);
        memcpy(fds, CMSG_DATA(cmsg), passed.count * sizeof(int));
    }
    for (unsigned int i = 0; i < passed.count; i++) {
        passed.files[i] = fd_file(fds[i]);
        SIM_MUST(passed.files[i]);
    }
    return send_some(fd, msg->msg_iov, msg->msg_iovlen, &passed);
}

static ssize_t receive_some(int fd, const struct iovec *iov, size_t count, int flags,
                            struct passed *ret_passed)
{
    int r;
    struct kfile *file = socket_file(fd, &r);

    if (!file)
        return calls_leave(r);
    if (sim_fault(FAULT_INTERRUPT, 20))
        return calls_leave(-EINTR);
    if (file->kind == FILE_TCP)
        return calls_leave(tcp_receive(file->u.tcp, iov, count, flags));
    if (file->kind == FILE_UNIX)
        return calls_leave(unix_receive(file, iov, count, flags, ret_passed));
    return calls_leave(-ENOTCONN);
}

ssize_t __wrap_recv(int fd, void *data, size_t len, int flags)
{
    struct iovec iov = {data, len};

    return receive_some(fd, &iov, 1, flags, NULL);
}

ssize_t __wrap___recv_chk(int fd, void *data, size_t len, size_t cap, int flags)
{
    SIM_MUST(len <= cap);
    return __wrap_recv(fd, data, len, flags);
}

/* The descriptors that came along, as a control message; those without room are dropped. */
static void hand_over(struct msghdr *msg, const struct passed *passed)
{
    struct cmsghdr *cmsg = msg->msg_control ? CMSG_FIRSTHDR(msg) : NULL;
    int fds[PASSED_MAX];
    unsigned int count = 0;

    for (unsigned int i = 0; i < passed->count; i++) {
        int fd = cmsg ? fd_install(passed->files[i]) : -EMFILE;

        if (!cmsg)
            file_unref(passed->files[i]);
        if (fd < 0)
            msg->msg_flags |= MSG_CTRUNC;
        else
            fds[count++] = fd;
    }
    if (count == 0)
        return;
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(cmsg), fds, count * sizeof(int));
    msg->msg_controllen = CMSG_SPACE(count * sizeof(int));
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
    const struct kfile *file = fd_file(fd);
    struct passed passed = {.count = 0};
    size_t room = msg->msg_controllen;
    ssize_t n;

    if (file && file->kind == FILE_UDP) {
        calls_enter();
        return calls_receive_datagram(file->u.udp, msg, flags);
    }
    n = receive_some(fd, msg->msg_iov, msg->msg_iovlen, flags, &passed);
    msg->msg_flags = 0;
    if (room < CMSG_SPACE(PASSED_MAX * sizeof(int)))
        msg->msg_control = NULL;
    hand_over(msg, &passed);
    if (passed.count == 0 || !msg->msg_control)
        msg->msg_controllen = 0;
    return n;
}

int __wrap_shutdown(int fd, int how)
{
    int r;
    struct kfile *file = socket_file(fd, &r);

    if (file && file->kind == FILE_TCP)
        r = tcp_shutdown(file->u.tcp, how);
    else if (file && file->kind == FILE_UNIX) {
        unix_shutdown(file, how);
        r = 0;
    }
    return (int)calls_leave(r);
}

static int copy_address(const struct sockaddr_storage *from, struct sockaddr *addr, socklen_t *len)
{
    socklen_t size = from->ss_family == AF_INET ? sizeof(struct sockaddr_in)
                                                : sizeof(struct sockaddr_in6);

    memcpy(addr, from, *len < size ? *len : size);
    *len = size;
    return 0;
}

/* As it is bound: one that is made for a session, from the directory of its directory. */
static int copy_path(const char *path, struct sockaddr *addr, socklen_t *len)
{
    const char *share = strstr(path, "/share/");
    struct sockaddr_un un = {.sun_family = AF_UNIX};

    path = share ? share + strlen("/share/") : path;
    memcpy(un.sun_path, path, strnlen(path, sizeof(un.sun_path) - 1));
    memcpy(addr, &un, *len < sizeof(un) ? *len : sizeof(un));
    *len = sizeof(un);
    return 0;
}

int __wrap_getsockname(int fd, struct sockaddr *addr, socklen_t *len)
{
    int r;
    struct kfile *file = socket_file(fd, &r);

    if (file && file->kind == FILE_TCP)
        return copy_address(&file->u.tcp->local, addr, len);
    if (file && file->kind == FILE_UDP) {
        struct sockaddr_storage local = file->u.udp->local;

        if (!local.ss_family)
            tcp_source(file->u.udp->family, &local);
        return copy_address(&local, addr, len);
    }
    if (file && file->kind == FILE_LISTENER)
        return copy_path(file->u.listener->path, addr, len);
    return (int)calls_leave(file ? -EOPNOTSUPP : r);
}

int __wrap_getpeername(int fd, struct sockaddr *addr, socklen_t *len)
{
    int r;
    struct kfile *file = socket_file(fd, &r);

    if (file && file->kind == FILE_TCP && file->u.tcp->state == TCP_OPEN)
        return copy_address(&file->u.tcp->remote, addr, len);
    if (file && file->kind == FILE_UDP && file->u.udp->remote.ss_family != AF_UNSPEC)
        return copy_address(&file->u.udp->remote, addr, len);
    if (file && file->kind == FILE_UNIX && file->u.unix_end->is_connected) {
        memset(addr, 0, *len);
        addr->sa_family = AF_UNIX;
        return 0;
    }
    return (int)calls_leave(file ? -ENOTCONN : r);
}

static int tcp_get_option(struct tcp *tcp, int level, int name)
{
    int value = tcp_option(tcp, level, name);

    if (level == SOL_SOCKET && name == SO_ERROR) {
        value = tcp->error;
        tcp->error = 0;
    } else if (level == SOL_SOCKET && name == SO_DOMAIN) {
        value = tcp->family;
    } else if (level == SOL_SOCKET && (name == SO_TYPE || name == SO_PROTOCOL)) {
        value = name == SO_TYPE ? SOCK_STREAM : IPPROTO_TCP;
    } else if (level == SOL_SOCKET && name == SO_ACCEPTCONN) {
        value = tcp->state == TCP_LISTENING;
    }
    return value < 0 ? 0 : value;
}

/* -1: not known here. */
static int udp_get_option(const struct udp *udp, int level, int name)
{
    if (level != SOL_SOCKET)
        return -1;
    switch (name) {
    case SO_DOMAIN:
        return udp->family;
    case SO_TYPE:
        return SOCK_DGRAM;
    case SO_PROTOCOL:
        return IPPROTO_UDP;
    default:
        return -1;
    }
}

/* Which socket it is, or whose. */
static int tell_origin(const struct kfile *file, int name, void *value, socklen_t len)
{
    const uint64_t cookie = (uintptr_t)file;
    const struct ucred cred = {4000, file->kind == FILE_UNIX ? file->u.unix_end->uid : 0, 0};

    SIM_MUST(len >= (name == SO_COOKIE ? sizeof(cookie) : sizeof(cred)));
    memcpy(value, name == SO_COOKIE ? (const void *)&cookie : (const void *)&cred,
           name == SO_COOKIE ? sizeof(cookie) : sizeof(cred));
    return 0;
}

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    int r, number = 0;
    struct kfile *file = socket_file(fd, &r);

    if (!file)
        return (int)calls_leave(r);
    if (level == IPPROTO_TCP && name == TCP_INFO && file->kind == FILE_TCP) {
        tcp_tell_info(file->u.tcp, value, len);
        return 0;
    }
    if (level == SOL_SOCKET && (name == SO_COOKIE || name == SO_PEERCRED))
        return tell_origin(file, name, value, *len);
    if (file->kind == FILE_TCP)
        number = tcp_get_option(file->u.tcp, level, name);
    else if (file->kind == FILE_UDP)
        number = udp_get_option(file->u.udp, level, name);
    else if (level == SOL_SOCKET && name == SO_TYPE)
        number = SOCK_STREAM;
    else if (level == SOL_SOCKET && name == SO_DOMAIN)
        number = AF_UNIX;
    else if (level == SOL_SOCKET && name == SO_PASSRIGHTS)
        number = 0;
    else if (level == SOL_SOCKET && name == SO_ACCEPTCONN)
        number = file->kind == FILE_LISTENER;
    else
        number = -1;
    if (number < 0)
        return (int)calls_leave(-ENOPROTOOPT);
    if (*len > sizeof(number))
        *len = sizeof(number);
    memcpy(value, &number, *len);
    return 0;
}

int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    int r, number = 0;
    struct kfile *file = socket_file(fd, &r);

    if (!file)
        return (int)calls_leave(r);
    if (file->kind == FILE_UDP)
        return (int)calls_leave(groups_set_option(&file->u.udp->groups, level, name, value, len));
    if (file->kind != FILE_TCP)
        return 0;
    if (level == SOL_SOCKET && name == SO_LINGER) {
        const struct linger *linger = value;

        file->u.tcp->is_linger_zero = linger->l_onoff && linger->l_linger == 0;
        return 0;
    }
    memcpy(&number, value, len < sizeof(number) ? len : sizeof(number));
    if (level == SOL_SOCKET && (name == SO_SNDBUF || name == SO_RCVBUF))
        number = number > 1 << 22 ? 1 << 23 : number * 2;
    tcp_set_option(file->u.tcp, level, name, number);
    return 0;
}

/* SIOCOUTQ: what the other end has not taken. */
int __wrap_ioctl(int fd, unsigned long request, ...)
{
    int r, *out;
    struct kfile *file = socket_file(fd, &r);
    va_list args;

    va_start(args, request);
    out = va_arg(args, int *);
    va_end(args);
    if (!file)
        return (int)calls_leave(r);
    SIM_MUST(request == SIOCOUTQ || request == SIOCINQ);
    if (file->kind == FILE_TCP) {
        const struct tcp *tcp = file->u.tcp;

        *out = (int)byte_queue_len(request == SIOCOUTQ ? &tcp->tx : &tcp->rx);
        if (request == SIOCOUTQ && tcp->is_write_shut && !tcp->fin_delivered && *out == 0)
            *out = 1;
        return 0;
    }
    if (request == SIOCOUTQ) {
        const struct kfile *peer = file->u.unix_end->peer;

        *out = peer ? (int)peer->u.unix_end->charged : 0;
    } else {
        *out = (int)byte_queue_len(&file->u.unix_end->rx);
    }
    return 0;
}

static int look(struct pollfd *fds, nfds_t count)
{
    int ready = 0;

    for (nfds_t i = 0; i < count; i++) {
        const struct kfile *file = fd_file(fds[i].fd);

        fds[i].revents = 0;
        if (fds[i].fd < 0)
            continue;
        if (!file)
            fds[i].revents = POLLNVAL;
        else
            fds[i].revents = (short)(file_events(file) & (fds[i].events | POLLHUP | POLLERR));
        ready += fds[i].revents != 0;
    }
    return ready;
}

/* The one place where the library waits: the world goes on meanwhile. */
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
    uint64_t until = timeout < 0 ? UINT64_MAX : sim.now_ns + (uint64_t)timeout * 1000000;
    int ready;

    calls_enter();
    if (sim_fault(FAULT_INTERRUPT, 20))
        return (int)calls_leave(-EINTR);
    while ((ready = look(fds, count)) == 0 && sim.now_ns < until) {
        SIM_MUST(sim.actor == ACTOR_CLIENT);
        if (!world_step(until))
            sim_fail("waits-forever: a call of the library waits, and nothing will happen");
    }
    return ready;
}

int __wrap___poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t cap)
{
    (void)cap;
    return __wrap_poll(fds, count, timeout);
}
