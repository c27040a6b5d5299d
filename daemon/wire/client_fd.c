/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/wire/client_fd.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/core/interrupt.h"

void client_fd_refuse_descriptors(int fd)
{
    const int off = 0;

    (void)!setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
}

bool client_fd_refuses_descriptors(int fd)
{
    int passes = 1;
    socklen_t len = sizeof(passes);

    return getsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &passes, &len) == 0 && passes == 0;
}

/* There is no control buffer: the kernel drops the descriptors. */
ssize_t client_fd_recv(int fd, void *to, size_t len, bool refuses)
{
    ssize_t n;

    if (refuses)
        return recv(fd, to, len, MSG_DONTWAIT);
    interrupt_begin();
    n = recv(fd, to, len, MSG_DONTWAIT);
    interrupt_end();
    return n;
}

/* Of more than one in a message the kernel drops the others. */
ssize_t client_fd_recv_taking(int fd, void *to, size_t len, int *ret_taken)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec data = {to, len};
    struct msghdr msg = {.msg_iov = &data,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = CMSG_LEN(sizeof(int))};
    const struct cmsghdr *head;
    ssize_t n;

    interrupt_begin();
    n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    interrupt_end();
    head = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);
    if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS &&
        head->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(ret_taken, CMSG_DATA(head), sizeof(int));
    return n;
}

void client_fd_close(int fd)
{
    bool refuses = client_fd_refuses_descriptors(fd);

    if (!refuses)
        interrupt_begin();
    close(fd);
    if (!refuses)
        interrupt_end();
}
