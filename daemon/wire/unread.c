/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: the kernel charges the writer for messages that the other end has not read. They are
 * the last ones. If it charges no more than what was written behind a mark, everything in front of
 * the mark has been read, and the mark moves to the end.
 * Failures: the kernel does not say; then everything may be unread.
 */
#include "daemon/wire/unread.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "daemon/wire/transport.h"

/*
 * A message occupies its bytes, what describes them and their buffer (struct sk_buff, struct
 * skb_shared_info), and is rounded up: on a 64-bit kernel it is 768 bytes or more.
 */
#define CHARGED_BESIDE (72 * sizeof(void *))
#define CHARGED_MIN (96 * sizeof(void *))

static uint64_t charged(int fd)
{
    int bytes = 0;

    return ioctl(fd, SIOCOUTQ, &bytes) < 0 ? UINT64_MAX : (uint64_t)bytes;
}

bool unread_is_nothing(int fd)
{
    return charged(fd) == 0;
}

uint32_t unread_charge(size_t len)
{
    size_t bytes = len + CHARGED_BESIDE;

    return (uint32_t)(bytes > CHARGED_MIN ? bytes : CHARGED_MIN);
}

static uint32_t less(uint32_t a, uint32_t b)
{
    return a > b ? a - b : 0;
}

uint32_t unread_most(const struct transport *t, struct unread_mark *mark, uint32_t count,
                     uint32_t each)
{
    uint64_t unread = charged(t->fd), most = unread / CHARGED_MIN * each;

    if (unread <= t->charged - mark->at) {
        count = less(count, mark->before);
        *mark = (struct unread_mark){.at = t->charged, .before = count};
    }
    if (count <= most)
        return count;
    mark->before = less(mark->before, count - (uint32_t)most);
    return (uint32_t)most;
}
