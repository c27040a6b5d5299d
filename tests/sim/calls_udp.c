/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* sendmsg(), recvmsg() and the like of a UDP socket, with their control messages. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <time.h>

#include <linux/errqueue.h> /* needs <time.h> */

#include "tests/sim/calls.h"
#include "tests/sim/udp.h"

/* What a datagram is sent with. */
static void take_control(const struct msghdr *msg, struct udp_message *ret)
{
    struct msghdr copy = *msg;

    if (!msg->msg_control || msg->msg_controllen == 0)
        return;
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&copy); cmsg; cmsg = CMSG_NXTHDR(&copy, cmsg)) {
        int value;

        if (cmsg->cmsg_level == IPPROTO_UDP && cmsg->cmsg_type == UDP_SEGMENT)
            memcpy(&ret->segment, CMSG_DATA(cmsg), sizeof(ret->segment));
        if (cmsg->cmsg_level != IPPROTO_IP || cmsg->cmsg_type != IP_TOS)
            continue;
        memcpy(&value, CMSG_DATA(cmsg), sizeof(value));
        ret->traffic_class = (uint8_t)value;
    }
}

ssize_t calls_send_datagram(struct udp *udp, const struct msghdr *msg)
{
    struct sockaddr_storage to = {.ss_family = AF_UNSPEC};
    struct udp_message with = {.len = 0};

    if (sim_fault(FAULT_INTERRUPT, 20))
        return calls_leave(-EINTR);
    if (msg->msg_name)
        memcpy(&to, msg->msg_name, msg->msg_namelen);
    take_control(msg, &with);
    return calls_leave(
        udp_send_file(udp, msg->msg_iov, msg->msg_iovlen, msg->msg_name ? &to : NULL, &with));
}

static void put(struct msghdr *msg, int level, int type, const void *data, size_t len)
{
    struct cmsghdr *cmsg = (void *)((char *)msg->msg_control + msg->msg_controllen);

    cmsg->cmsg_level = level;
    cmsg->cmsg_type = type;
    cmsg->cmsg_len = CMSG_LEN(len);
    memcpy(CMSG_DATA(cmsg), data, len);
    msg->msg_controllen += CMSG_SPACE(len);
}

/* How many were dropped before, and its traffic class. */
static void put_control(const struct udp *udp, struct msghdr *msg,
                        const struct udp_message *message)
{
    size_t room = msg->msg_controllen;
    int value = message->traffic_class;

    msg->msg_controllen = 0;
    if (!msg->msg_control)
        return;
    SIM_MUST(room >= CMSG_SPACE(sizeof(message->dropped)) + CMSG_SPACE(sizeof(value)));
    put(msg, SOL_SOCKET, SO_RXQ_OVFL, &message->dropped, sizeof(message->dropped));
    if (udp->family == AF_INET6)
        put(msg, IPPROTO_IPV6, IPV6_TCLASS, &value, sizeof(value));
    else
        put(msg, IPPROTO_IP, IP_TOS, &message->traffic_class, 1);
}

/*
 * What a router said, without the datagram that it was about. Once it is read, no call fails with
 * it.
 */
static ssize_t receive_report(struct udp *udp, struct msghdr *msg)
{
    struct sock_extended_err report = {.ee_errno = 0};
    bool has_room = msg->msg_controllen >= CMSG_SPACE(sizeof(report));

    udp_look_for_error(udp);
    report.ee_errno = (uint32_t)udp->reported;
    msg->msg_controllen = 0;
    if (!udp->reported)
        return calls_leave(-EAGAIN);
    if (has_room && udp->family == AF_INET6)
        put(msg, IPPROTO_IPV6, IPV6_RECVERR, &report, sizeof(report));
    else if (has_room)
        put(msg, IPPROTO_IP, IP_RECVERR, &report, sizeof(report));
    udp->reported = udp->error = 0;
    return 0;
}

/* Who sent it, and what the kernel says of it. */
ssize_t calls_receive_datagram(struct udp *udp, struct msghdr *msg, int flags)
{
    struct udp_message message = {.len = 0};
    socklen_t room = msg->msg_namelen;
    ssize_t n;

    if (flags & MSG_ERRQUEUE)
        return receive_report(udp, msg);
    if (sim_fault(FAULT_INTERRUPT, 20))
        return calls_leave(-EINTR);
    n = udp_receive_file(udp, msg->msg_iov, msg->msg_iovlen, flags, &message);
    if (n < 0) {
        msg->msg_controllen = 0;
        return calls_leave(n);
    }
    if (msg->msg_name)
        memcpy(msg->msg_name, &message.from,
               room < sizeof(message.from) ? room : sizeof(message.from));
    put_control(udp, msg, &message);
    return n;
}

static struct udp *udp_of(int fd)
{
    const struct kfile *file = fd_file(fd);

    SIM_MUST(file && file->kind == FILE_UDP);
    calls_enter();
    return file->u.udp;
}

/* Up to the first that fails. Its error is lost, if it is not the first of all. */
int __wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
    struct udp *udp = udp_of(fd);
    unsigned int i;

    (void)flags;
    for (i = 0; i < count; i++) {
        ssize_t n = calls_send_datagram(udp, &messages[i].msg_hdr);

        if (n < 0)
            break;
        messages[i].msg_len = (unsigned int)n;
    }
    return i > 0 ? (int)i : -1;
}

/* Here the next call fails with that error. */
int __wrap_recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags,
                    struct timespec *timeout)
{
    struct udp *udp = udp_of(fd);
    unsigned int i;

    SIM_MUST(!timeout);
    for (i = 0; i < count; i++) {
        ssize_t n = calls_receive_datagram(udp, &messages[i].msg_hdr, flags);

        if (n < 0)
            break;
        messages[i].msg_len = (unsigned int)n;
    }
    if (i > 0 && i < count && errno != EAGAIN && errno != EINTR)
        udp->error = errno;
    return i > 0 ? (int)i : -1;
}
