/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Listeners that come and go while the daemon runs. Whoever adds one has bound its socket: the
 * daemon has no rights to make one, and unlinks nothing.
 */
#include "daemon/server/admin_listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/core/interrupt.h"
#include "daemon/server/listener.h"
#include "daemon/server/reload.h"

static bool has_option(int fd, int option, int value)
{
    int is = -1;
    socklen_t len = sizeof(is);

    return getsockopt(fd, SOL_SOCKET, option, &is, &len) == 0 && is == value;
}

/* What it does to whoever calls accept(2) there is known of such a socket only. */
static bool is_listener(int fd)
{
    return has_option(fd, SO_DOMAIN, AF_UNIX) && has_option(fd, SO_TYPE, SOCK_STREAM) &&
           has_option(fd, SO_ACCEPTCONN, 1);
}

static const char *problem_of(int r)
{
    switch (r) {
    case -EEXIST:
        return "a listener of that name already exists";
    case -E2BIG:
        return "the maximum number of listeners has been reached";
    default:
        return "the daemon is out of memory";
    }
}

static int take(struct listeners *ls, const char *name, int fd,
                char ret_text[static INSPECT_TEXT_MAX])
{
    int r;

    if (fd < 0 || !is_listener(fd)) {
        snprintf(ret_text, INSPECT_TEXT_MAX, "%s",
                 fd < 0 ? "the request did not include a descriptor"
                        : "the descriptor is not a listening Unix stream socket");
        return -EINVAL;
    }
    if (!listener_name_is_valid(name)) {
        snprintf(ret_text, INSPECT_TEXT_MAX,
                 "a listener's name must have 1 to %u letters, digits, - and _, and must not be "
                 "\"control\"",
                 LISTENER_NAME_MAX);
        return -EINVAL;
    }
    r = fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ? -errno
                                           : listeners_add(ls, LISTENER_CLIENT, name, fd, NULL);
    if (r < 0)
        snprintf(ret_text, INSPECT_TEXT_MAX, "%s", problem_of(r));
    return r == -EEXIST ? -EADDRINUSE : r == -E2BIG ? -ENOBUFS : r;
}

/* NULL: the daemon stops. */
static struct listeners *listeners_of(const struct session *s)
{
    return s->worker->reload ? s->worker->reload->listeners : NULL;
}

int admin_add_listener(struct session *s, const char *name, int fd,
                       char ret_text[static INSPECT_TEXT_MAX])
{
    struct listeners *ls = listeners_of(s);
    int r = ls ? take(ls, name, fd, ret_text) : -EOPNOTSUPP;

    if (r < 0) {
        interrupt_begin();
        if (fd >= 0)
            close(fd);
        interrupt_end();
        return r;
    }
    listeners_mark_added(ls, name);
    log_notice("listener %s has been added", name);
    return 0;
}

int admin_remove_listener(struct session *s, const char *name,
                          char ret_text[static INSPECT_TEXT_MAX])
{
    struct listeners *ls = listeners_of(s);
    int r = ls ? listeners_remove_added(ls, name) : -EOPNOTSUPP;

    if (r == -ESRCH || r == -EPERM)
        snprintf(
            ret_text, INSPECT_TEXT_MAX, "%s",
            r == -ESRCH
                ? "there is no listener of that name"
                : "that listener was not added at run time: it belongs to the service manager or to asockd's configuration");
    if (r == 0)
        log_notice("listener %s has been removed", name);
    return r;
}
