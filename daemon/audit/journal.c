/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal, as systemd's "Native Journal Protocol" has it: a datagram per entry.
 * sd_journal_send() would wait while journald is stopped; this does not.
 *
 * Happy path: the entries of a turn leave in one sendmmsg().
 * Failures: the socket's queue is full (a watcher tells when there is room), the journal is
 * restarted and its socket another one (connected again, once at once, then once per
 * AUDIT_RETRY_MS), there is none (entries are refused until there is).
 */
#include <errno.h>
#include <ev.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "daemon/audit/sink.h"

/* Entries of one sendmmsg(). */
#define BATCH 64u

struct journal {
    struct audit_sink sink;
    struct worker *worker;
    struct sockaddr_un addr;
    int fd; /* -1: not connected */
    bool is_absent;
    struct ev_io io;
    struct deadline retry;
    struct list records;
    uint32_t count;
    uint64_t bytes;
    uint64_t stuck_since; /* 0: not */
    uint64_t lost;        /* refused by the kernel, for what they are */
};

static struct journal *journal_of(struct audit_sink *sink)
{
    return container_of(sink, struct journal, sink);
}

static void disconnect(struct journal *j)
{
    if (j->fd < 0)
        return;
    ev_io_stop(j->worker->loop, &j->io);
    close(j->fd);
    j->fd = -1;
}

static int connect_socket(struct journal *j)
{
    int err;

    j->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (j->fd < 0)
        return -errno;
    if (connect(j->fd, (const struct sockaddr *)&j->addr, sizeof(j->addr)) == 0) {
        ev_io_set(&j->io, j->fd, EV_WRITE);
        return 0;
    }
    err = -errno;
    close(j->fd);
    j->fd = -1;
    return err;
}

static void try_again_later(struct journal *j)
{
    if (!wheel_timer_is_set(&j->retry.timer))
        worker_set_deadline(j->worker, &j->retry, AUDIT_RETRY_MS);
}

/* Where there is no journal at all, nothing is kept for it: as on a machine without systemd. */
static bool is_connected(struct journal *j)
{
    int r;

    if (j->fd >= 0)
        return true;
    if (wheel_timer_is_set(&j->retry.timer))
        return false;
    r = connect_socket(j);
    j->is_absent = r == -ENOENT;
    if (r < 0)
        try_again_later(j);
    return r == 0;
}

static void drop_record(struct journal *j, struct audit_record *record)
{
    list_remove(&record->node);
    j->count--;
    j->bytes -= record->cap;
    audit_record_free(record);
}

/* Of the next entries, -errno: of the first one. */
static int send_batch(struct journal *j)
{
    struct mmsghdr messages[BATCH];
    struct iovec parts[BATCH];
    unsigned int n = 0;
    int sent;

    memset(messages, 0, sizeof(messages));
    list_for_each (&j->records, it) {
        struct audit_record *record = container_of(it, struct audit_record, node);

        if (n == BATCH)
            break;
        parts[n] = (struct iovec){record->data, record->len};
        messages[n].msg_hdr.msg_iov = &parts[n];
        messages[n].msg_hdr.msg_iovlen = 1;
        n++;
    }
    sent = sendmmsg(j->fd, messages, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0)
        return -errno;
    for (int i = 0; i < sent; i++)
        drop_record(j, list_first(&j->records, struct audit_record, node));
    return sent;
}

/* What the first entry met. True: the next one may be tried. */
static bool handle_failure(struct journal *j, int err, bool *has_reconnected)
{
    switch (err) {
    case -EINTR:
        return true;
    case -EAGAIN:
        ev_io_start(j->worker->loop, &j->io);
        return false;
    case -ENOMEM:
    case -ENOBUFS:
        try_again_later(j);
        return false;
    case -ECONNREFUSED:
    case -ECONNRESET:
    case -ENOTCONN:
    case -EPIPE:
        disconnect(j);
        if (*has_reconnected) {
            try_again_later(j);
            return false;
        }
        *has_reconnected = true;
        return is_connected(j);
    default: /* this one will never be taken */
        drop_record(j, list_first(&j->records, struct audit_record, node));
        j->lost++;
        return true;
    }
}

static void flush(struct audit_sink *sink)
{
    struct journal *j = journal_of(sink);
    bool has_reconnected = false;
    int r;

    /* The watcher, or the retry, goes on. */
    if (ev_is_active(&j->io))
        return;
    while (!list_is_empty(&j->records) && is_connected(j)) {
        r = send_batch(j);
        if (r > 0)
            j->stuck_since = 0;
        else if (!handle_failure(j, r, &has_reconnected))
            break;
    }
    if (!list_is_empty(&j->records) && j->stuck_since == 0)
        j->stuck_since = j->worker->clock();
    if (list_is_empty(&j->records))
        j->stuck_since = 0;
}

static void on_writable(struct ev_loop *loop, struct ev_io *io, int events)
{
    struct journal *j = io->data;

    (void)events;
    ev_io_stop(loop, io);
    flush(&j->sink);
}

static void on_retry(struct deadline *deadline)
{
    struct journal *j = container_of(deadline, struct journal, retry);

    flush(&j->sink);
}

static void put(struct audit_sink *sink, struct audit_record *record)
{
    struct journal *j = journal_of(sink);

    list_append(&j->records, &record->node);
    j->count++;
    j->bytes += record->cap;
}

static struct audit_sink_state state(struct audit_sink *sink)
{
    struct journal *j = journal_of(sink);
    struct audit_sink_state s = {.count = j->count, .bytes = j->bytes, .lost = j->lost};

    s.is_absent = !is_connected(j) && j->is_absent;
    if (j->stuck_since)
        s.stuck_ms = j->worker->clock() - j->stuck_since;
    return s;
}

static void journal_free(struct audit_sink *sink)
{
    struct journal *j = journal_of(sink);

    while (!list_is_empty(&j->records))
        drop_record(j, list_first(&j->records, struct audit_record, node));
    deadline_deinit(&j->retry);
    disconnect(j);
    mem_free(j);
}

static const struct audit_sink_ops ops = {AUDIT_NATIVE, put, flush, state, journal_free};

int audit_journal_new(struct worker *w, const char *path, struct audit_sink **ret)
{
    struct journal *j;

    if (strlen(path) >= sizeof(j->addr.sun_path))
        return -ENAMETOOLONG;
    j = mem_zalloc(1, sizeof(*j));
    if (!j)
        return -ENOMEM;
    j->sink.ops = &ops;
    j->worker = w;
    j->addr.sun_family = AF_UNIX;
    strcpy(j->addr.sun_path, path);
    j->fd = -1;
    list_init(&j->records);
    ev_io_init(&j->io, on_writable, -1, EV_WRITE);
    j->io.data = j;
    deadline_init(&j->retry, on_retry);
    is_connected(j);
    *ret = &j->sink;
    return 0;
}
