/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where the kernel finds no connection it looks for a listener at that port, and of a socket that
 * no process has any more it says that it is user 0's. So an answer counts only for exactly the
 * socket that was asked for, and only while that has an inode.
 */
#include "gateway/diag.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_MAX 2048
/* Answers to earlier questions, which were not read. */
#define STALE_MAX 16
/* With it the kernel also finds sockets that are bound to this device. */
#define LOOPBACK_INDEX 1

struct question {
    struct nlmsghdr head;
    struct inet_diag_req_v2 body;
};

int diag_open(struct diag *ret)
{
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

    *ret = (struct diag){.fd = fd};
    return fd < 0 ? -errno : 0;
}

void diag_close(struct diag *diag)
{
    if (diag->fd >= 0)
        close(diag->fd);
    diag->fd = -1;
}

static void put_address(const struct sockaddr_storage *address, __be32 ret[static 4],
                        __be16 *ret_port)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;

    *ret_port = in->sin_port; /* of both families */
    if (address->ss_family == AF_INET)
        memcpy(ret, &in->sin_addr, sizeof(in->sin_addr));
    else
        memcpy(ret, &in6->sin6_addr, sizeof(in6->sin6_addr));
}

static int ask(struct diag *diag, uint8_t protocol, const struct sockaddr_storage *own,
               const struct sockaddr_storage *peer)
{
    struct question question = {
        .head = {.nlmsg_len = sizeof(question),
                 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                 .nlmsg_flags = NLM_F_REQUEST,
                 .nlmsg_seq = ++diag->number},
        .body = {.sdiag_family = (uint8_t)own->ss_family,
                 .sdiag_protocol = protocol,
                 .idiag_states = ~0u,
                 .id = {.idiag_if = LOOPBACK_INDEX,
                        .idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}}},
    };
    struct inet_diag_sockid *id = &question.body.id;

    /* For datagrams the kernel has the two ends the other way round. */
    put_address(protocol == IPPROTO_UDP ? peer : own, id->idiag_src, &id->idiag_sport);
    put_address(protocol == IPPROTO_UDP ? own : peer, id->idiag_dst, &id->idiag_dport);
    return send(diag->fd, &question, sizeof(question), MSG_DONTWAIT) < 0 ? -errno : 0;
}

/* In ret; returns its length. Only the kernel's counts. */
static ssize_t read_answer(const struct diag *diag, void *ret, size_t size)
{
    const struct nlmsghdr *head = ret;

    for (int i = 0; i < STALE_MAX; i++) {
        struct sockaddr_nl from = {0};
        socklen_t len = sizeof(from);
        ssize_t n = recvfrom(diag->fd, ret, size, MSG_DONTWAIT, (struct sockaddr *)&from, &len);

        if (n < 0)
            return -errno;
        if (from.nl_pid == 0 && (size_t)n >= sizeof(*head) && head->nlmsg_seq == diag->number)
            return n;
    }
    return -EAGAIN;
}

/* A socket of IPv6 has the address of IPv4 as ::ffff:a.b.c.d. */
static bool is_end(int family, const __be32 address[static 4], __be16 port,
                   const struct sockaddr_storage *expected)
{
    __be32 wanted[4] = {0};
    __be16 wanted_port;

    put_address(expected, wanted, &wanted_port);
    if (family == AF_INET6 && expected->ss_family == AF_INET) {
        wanted[3] = wanted[0];
        wanted[2] = htonl(0xffff);
        wanted[0] = 0;
    } else if (family != expected->ss_family) {
        return false;
    }
    return port == wanted_port && memcmp(address, wanted, family == AF_INET ? 4 : 16) == 0;
}

/* Not one that still connects: its connection is not the one that was accepted. */
static bool is_connected(const struct inet_diag_msg *found, const struct sockaddr_storage *own,
                         const struct sockaddr_storage *peer)
{
    const unsigned int states = 1u << TCP_ESTABLISHED | 1u << TCP_FIN_WAIT1 | 1u << TCP_FIN_WAIT2 |
                                1u << TCP_CLOSE_WAIT | 1u << TCP_LAST_ACK | 1u << TCP_CLOSING;

    return found->idiag_state < 32 && states & 1u << found->idiag_state &&
           is_end(found->idiag_family, found->id.idiag_src, found->id.idiag_sport, own) &&
           is_end(found->idiag_family, found->id.idiag_dst, found->id.idiag_dport, peer);
}

/* Its address may be any. */
static bool has_port(const struct inet_diag_msg *found, const struct sockaddr_storage *own)
{
    return found->id.idiag_sport == ((const struct sockaddr_in *)own)->sin_port;
}

int diag_user(struct diag *diag, uint8_t protocol, const struct sockaddr_storage *own,
              const struct sockaddr_storage *peer, uid_t *ret)
{
    _Alignas(struct nlmsghdr) char answer[ANSWER_MAX];
    const struct nlmsghdr *head = (const struct nlmsghdr *)answer;
    const struct inet_diag_msg *found = NLMSG_DATA(head);
    const struct nlmsgerr *error = NLMSG_DATA(head);
    ssize_t n;
    int r = ask(diag, protocol, own, peer);

    if (r < 0)
        return r;
    n = read_answer(diag, answer, sizeof(answer));
    if (n < 0)
        return (int)n;
    if (head->nlmsg_type == NLMSG_ERROR && (size_t)n >= NLMSG_LENGTH(sizeof(*error)))
        return error->error < 0 ? error->error : -EPROTO;
    if (head->nlmsg_type != SOCK_DIAG_BY_FAMILY || (size_t)n < NLMSG_LENGTH(sizeof(*found)))
        return -EPROTO;
    if (found->idiag_inode == 0 ||
        !(protocol == IPPROTO_UDP ? has_port(found, own) : is_connected(found, own, peer)))
        return -ENOENT;
    *ret = found->idiag_uid;
    return 0;
}
