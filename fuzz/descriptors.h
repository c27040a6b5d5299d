/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_FUZZ_DESCRIPTORS_H
#define ASOCK_FUZZ_DESCRIPTORS_H

/* Memory as the daemon makes it, and otherwise; and how it goes to a client. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz/fuzz.h"

#define DESCRIPTORS_MAX 8

static inline int make_memory(uint64_t size, bool is_sealed)
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    MUST(fd >= 0 && ftruncate(fd, (off_t)size) == 0);
    if (is_sealed)
        MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
    return fd;
}

/* What does not fit is lost. */
static inline void send_with_descriptors(int to, void *bytes, size_t len, const int *fds,
                                         size_t count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
    } control;
    struct iovec iov = {bytes, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    memset(&control, 0, sizeof(control));
    control.align.cmsg_level = SOL_SOCKET;
    control.align.cmsg_type = SCM_RIGHTS;
    control.align.cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(&control.align), fds, count * sizeof(int));
    if (count > 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
    }
    (void)!sendmsg(to, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

#endif
