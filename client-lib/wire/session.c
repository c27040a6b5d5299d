/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A session: the connection to the daemon and everything that lives as long as it does.
 *
 * Happy path: dial, start (Hello goes out with the first write), ..., end when the context goes.
 * Failures: the daemon closes, resets, says SESSION_ENDED or breaks the protocol; each leads to
 * asock_session_end(): every op completes once, sockets are dead, the context can be reconnected.
 */
#include "client-lib/wire/session.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/time.h"
#include "client-lib/core/complete.h"
#include "client-lib/core/context.h"
#include "client-lib/core/flow.h"
#include "client-lib/core/grant.h"
#include "client-lib/core/socket.h"
#include "client-lib/shm/buffer.h"
#include "client-lib/wire/output.h"
#include "client-lib/wire/watch.h"

/* A queue of connections that stays full for so long belongs to a daemon that hangs. */
#define DIAL_MS 2000u
/*
 * Asked for; the kernel grants what net.core.wmem_max allows. Large payloads cost fewer wake-ups.
 */
#define SOCKET_BUFFER (1024 * 1024)

static int set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    return 0;
}

/*
 * connect(2) of a Unix socket says EAGAIN when the listener's queue is full, and there is nothing
 * to poll for then: so that one case waits, for a short time.
 */
static int dial_patiently(int fd, const struct sockaddr_un *addr)
{
    uint64_t now = time_now_ms(), until = now + DIAL_MS;
    int r = -EAGAIN;

    /* After a signal it waits again, for what is left. */
    for (; now < until; now = time_now_ms()) {
        struct timeval left = {.tv_sec = (time_t)((until - now) / 1000),
                               .tv_usec = (suseconds_t)((until - now) % 1000 * 1000)};

        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof(left)) < 0)
            return -errno;
        r = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;
        if (r != -EINTR)
            break;
    }
    if (r == -EINTR)
        r = -EAGAIN;
    return r < 0 ? r : set_nonblocking(fd);
}

int asock_session_dial(const char *path, int *ret)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    int fd, r;

    if (len >= sizeof(addr.sun_path))
        return -ENAMETOOLONG;
    memcpy(addr.sun_path, path, len);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    r = set_nonblocking(fd);
    if (r == 0 && connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
        r = -errno;
    if (r == -EAGAIN && fcntl(fd, F_SETFL, 0) == 0)
        r = dial_patiently(fd, &addr);
    if (r < 0) {
        close(fd);
        return r;
    }
    *ret = fd;
    return 0;
}

/* A sandbox may forbid the question: then it has no answer, and no news. */
static bool is_forbidden(int err)
{
    return err == EPERM || err == EACCES || err == ENOSYS;
}

static bool may_be(int fd, int option, int value)
{
    socklen_t len = sizeof(int);
    int got;

    if (getsockopt(fd, SOL_SOCKET, option, &got, &len) < 0)
        return is_forbidden(errno);
    return got == value;
}

/* A connected Unix stream socket: what a launcher hands on, and no file that happens to be open. */
static bool is_connection(int fd)
{
    struct sockaddr_un peer;
    socklen_t len = sizeof(peer);
    struct stat st;

    if (fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode))
        return false;
    if (!may_be(fd, SO_DOMAIN, AF_UNIX) || !may_be(fd, SO_TYPE, SOCK_STREAM))
        return false;
    return getpeername(fd, (struct sockaddr *)&peer, &len) == 0 || is_forbidden(errno);
}

int asock_session_adopt(int fd)
{
    int flags;

    if (!is_connection(fd))
        return -EINVAL;
    flags = fcntl(fd, F_GETFD);
    if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0)
        return -errno;
    return set_nonblocking(fd);
}

/* What came through exec has not the mark close-on-exec; what was taken here has. */
static int take_inherited(int fd)
{
    int flags = fcntl(fd, F_GETFD);

    if (flags < 0)
        return -errno;
    return flags & FD_CLOEXEC ? -EBUSY : asock_session_adopt(fd);
}

/*
 * The process in which a thread takes an inherited descriptor, of which there is one for all
 * threads; 0: none does. The kernel cannot look at the mark and set it in one call. In the child of
 * a fork it may be the parent, whose thread is not there to go on.
 */
static atomic_int taking;

static bool begin_taking(void)
{
    int self = (int)getpid(), who = 0;

    while (!atomic_compare_exchange_strong(&taking, &who, self))
        if (who == self)
            return false;
    return true;
}

int asock_session_inherit(const char *text, int *ret)
{
    char *end;
    long fd = strtol(text, &end, 10);
    int r;

    if (*text < '0' || *text > '9' || *end || fd > INT_MAX)
        return -EINVAL;
    if (!begin_taking())
        return -EBUSY;
    r = take_inherited((int)fd);
    atomic_store(&taking, 0);
    if (r == 0)
        *ret = (int)fd;
    return r;
}

/* Every daemon of version 1 has the others. */
static bool is_later(uint32_t verb)
{
    return verb > VERB_CREDIT && verb < VERB_LIST;
}

bool asock_session_may_use(const asock_context *context, uint32_t verb)
{
    return !is_later(verb) || !context->is_welcome || context->limits.verbs >> verb & 1;
}

static void guess(asock_context *context)
{
    context->limits = (struct welcome){
        .version = PROTOCOL_VERSION,
        .sockets = PROTOCOL_SOCKETS_MIN,
        .ops = PROTOCOL_OPS_MIN,
        .socket_ops = PROTOCOL_SOCKET_OPS_MIN,
        .send_window = PROTOCOL_WINDOW_MIN,
        .queued_max = PROTOCOL_WINDOW_MIN,
        .payload_max = FRAME_PAYLOAD_MAX,
        .head_max = FRAME_HEAD_MAX,
    };
    asock_flow_share(context);
}

void asock_session_start(asock_context *context, int fd)
{
    int size = SOCKET_BUFFER;

    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    context->fd = fd;
    context->is_alive = true;
    context->error = 0;
    context->is_hello_wanted = true;
    context->is_hello_said = context->is_used = context->is_welcome = false;
    context->welcomes_due = 0;
    context->text[0] = '\0';
    guess(context);
    asock_grant_start(context);
    asock_ids_reset(&context->ids, PROTOCOL_SOCKETS_MIN);
    memset(&context->out, 0, offsetof(struct output, heads));
    memset(&context->in, 0, offsetof(struct input, buffer));
    asock_watch_update(context);
}

/* No frame refers to any op from here on. */
static void drop_output(asock_context *context)
{
    struct output *out = &context->out;

    asock_output_drop_fd(context);
    for (unsigned int i = out->frame_at; i < out->frame_count; i++)
        if (out->frames[i].op)
            asock_op_frame_written(out->frames[i].op);
    memset(out, 0, offsetof(struct output, heads));
    out->is_broken = true;
    context->in.op = NULL;
    context->in.in_payload = false;
    context->in.start = context->in.end = 0;
}

static void end_ops(struct list *list)
{
    asock_op *op;

    while ((op = list_first(list, asock_op, flight_node)))
        asock_op_finish(op, ERR_CONNECTION_ABORTED, op->moved);
}

static void end_socket(asock_socket *socket)
{
    asock_socket_hold(socket);
    socket->is_dead = true;
    while (!list_is_empty(&socket->ops)) {
        asock_op *op = list_first(&socket->ops, asock_op, flight_node);

        asock_op_finish(op, ERR_CONNECTION_ABORTED,
                        op->operation == ASOCK_OPERATION_RECEIVE ? op->moved : 0);
    }
    asock_socket_closed(socket);
    asock_socket_unhold(socket);
}

static void drop_fd(asock_context *context)
{
    asock_watch_leave(context);
    if (context->fd >= 0)
        close(context->fd);
    context->fd = -1;
}

/* A text that has not arrived whole is dropped: it was not checked. */
static void drop_text(struct input *in)
{
    if (in->sink != SINK_TEXT || in->payload_left == 0)
        return;
    in->text[0] = '\0';
    if (in->op && in->op->text == in->text) {
        free(in->op->text);
        in->op->text = NULL;
    }
    in->sink = SINK_NONE;
}

/* late: ends with ASOCK_TIMED_OUT; NULL: none does. */
static void end(asock_context *context, uint32_t error, asock_op *late)
{
    asock_socket *socket;

    if (!context->is_alive)
        return;
    context->is_alive = false;
    context->error = error ? error : ERR_CONNECTION_ABORTED;
    context->ids.sync_wanted = context->ids.sync_sent = context->ids.close_since = false;
    /* Before the output, which forgets whose the text is. */
    drop_text(&context->in);
    drop_output(context);
    if (late)
        asock_op_finish(late, ERR_TIMED_OUT, 0);
    while ((socket = list_first(&context->sockets, asock_socket, context_node)))
        end_socket(socket);
    end_ops(&context->socketless);
    asock_memory_end(context);
    drop_fd(context);
    asock_wake(context);
}

void asock_session_end(asock_context *context, uint32_t error)
{
    end(context, error, NULL);
}

void asock_session_give_up(asock_op *op)
{
    asock_output_cut(op->context);
    end(op->context, ERR_TIMED_OUT, op);
}
