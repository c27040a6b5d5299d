/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A file of JSON lines. A write to a disk that hangs cannot be made not to wait: O_NONBLOCK means
 * nothing to a regular file. So a thread writes. It shares the queue with the loop and nothing
 * else, never holds the lock while it writes, and takes no signals.
 *
 * Happy path: the entries of a turn wake the thread once; it writes them with one writev().
 * Failures: the disk is full (the rest of the batch is tried again every AUDIT_RETRY_MS, no line is
 * left half written), the write does not return (the queue fills, audit.c drops and counts).
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/time.h"
#include "daemon/core/capabilities.h"
#include "daemon/audit/sink.h"

/* Lines of one writev(). */
#define BATCH 64
/* So long half a line must stay as it is, at the start, to be one that nobody ends. */
#define HALF_MS 50

struct file {
    struct audit_sink sink;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int fd;
    bool has_half; /* the file ends in the middle of a line: a daemon or a machine ended there */
    /* Under the lock. */
    struct list records;
    struct list written; /* the loop frees them: it has charged them */
    uint32_t count;      /* those being written included */
    uint64_t bytes;
    uint64_t
        busy_since; /* milliseconds: since when nothing has gone on; 0: there is nothing to do */
    bool ends;
    bool has_begun; /* the thread runs code of ours */
    bool has_ended; /* or nearly so */
};

static struct file *file_of(struct audit_sink *sink)
{
    return container_of(sink, struct file, sink);
}

/* ---- the thread ---- */

static int fill_batch(const struct file *f, struct list *batch,
                      struct iovec parts[static BATCH + 1])
{
    int n = 0;

    if (f->has_half)
        parts[n++] = (struct iovec){(char *)"\n", 1};
    list_for_each (batch, it) {
        struct audit_record *record = container_of(it, struct audit_record, node);

        parts[n++] = (struct iovec){record->data, record->len};
    }
    return n;
}

/* Behind the first n bytes. */
static int advance(struct iovec *parts, int count, size_t n)
{
    int first = 0;

    while (first < count && n >= parts[first].iov_len)
        n -= parts[first++].iov_len;
    count -= first;
    memmove(parts, parts + first, (size_t)count * sizeof(*parts));
    if (count > 0) {
        parts[0].iov_base = (char *)parts[0].iov_base + n;
        parts[0].iov_len -= n;
    }
    return count;
}

static void set(struct file *f, bool *flag)
{
    pthread_mutex_lock(&f->lock);
    *flag = true;
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

/* Waits for *flag, ms at most. */
static bool await(struct file *f, const bool *flag, unsigned int ms)
{
    struct timespec until;
    bool is_set;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    pthread_mutex_lock(&f->lock);
    while (!*flag && pthread_cond_timedwait(&f->changed, &f->lock, &until) == 0)
        ;
    is_set = *flag;
    pthread_mutex_unlock(&f->lock);
    return is_set;
}

static void write_batch(struct file *f, struct list *batch)
{
    struct iovec parts[BATCH + 1];
    int count = fill_batch(f, batch, parts);
    ssize_t n;

    while (count > 0) {
        n = writev(f->fd, parts, count);
        if (n >= 0)
            count = advance(parts, count, (size_t)n);
        else if (errno != EINTR && await(f, &f->ends, AUDIT_RETRY_MS))
            return;
    }
    f->has_half = false;
}

/* Waits for some; false: none will come. */
static bool take_batch(struct file *f, struct list *batch)
{
    int n = 0;

    pthread_mutex_lock(&f->lock);
    while (list_is_empty(&f->records) && !f->ends)
        pthread_cond_wait(&f->changed, &f->lock);
    for (; n < BATCH && !list_is_empty(&f->records); n++) {
        struct list *node = f->records.next;

        list_remove(node);
        list_append(batch, node);
    }
    if (n > 0)
        f->busy_since = time_now_ms();
    pthread_mutex_unlock(&f->lock);
    return n > 0;
}

static void give_batch(struct file *f, struct list *batch)
{
    pthread_mutex_lock(&f->lock);
    list_for_each (batch, it) {
        f->count--;
        f->bytes -= container_of(it, struct audit_record, node)->cap;
    }
    list_splice(&f->written, batch);
    f->busy_since = f->count > 0 ? time_now_ms() : 0;
    pthread_mutex_unlock(&f->lock);
}

static void *run(void *data)
{
    struct file *f = data;
    struct list batch;

    list_init(&batch);
    capabilities_drop(); /* the file is open */
    set(f, &f->has_begun);
    while (take_batch(f, &batch)) {
        write_batch(f, &batch);
        give_batch(f, &batch);
    }
    set(f, &f->has_ended);
    return NULL;
}

/* ---- the loop ---- */

static void put(struct audit_sink *sink, struct audit_record *record)
{
    struct file *f = file_of(sink);

    pthread_mutex_lock(&f->lock);
    list_append(&f->records, &record->node);
    if (f->count++ == 0)
        f->busy_since = time_now_ms(); /* wherever the thread hangs from now on */
    f->bytes += record->cap;
    pthread_mutex_unlock(&f->lock);
}

static void flush(struct audit_sink *sink)
{
    pthread_cond_signal(&file_of(sink)->changed);
}

static struct audit_sink_state state(struct audit_sink *sink)
{
    struct file *f = file_of(sink);
    struct audit_sink_state s = {0};
    struct list written;

    list_init(&written);
    pthread_mutex_lock(&f->lock);
    list_splice(&written, &f->written);
    s.count = f->count;
    s.bytes = f->bytes;
    if (f->busy_since)
        s.stuck_ms = time_now_ms() - f->busy_since;
    pthread_mutex_unlock(&f->lock);
    audit_records_free(&written);
    return s;
}

static void release(struct file *f)
{
    audit_records_free(&f->records);
    audit_records_free(&f->written);
    if (f->fd >= 0)
        close(f->fd);
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
    mem_free(f);
}

/* The thread ends when all is written, or at its next failure. */
static void file_free(struct audit_sink *sink)
{
    struct file *f = file_of(sink);

    set(f, &f->ends);
    if (await(f, &f->has_ended, AUDIT_STOP_MS)) {
        pthread_join(f->thread, NULL);
        release(f);
    } else {
        pthread_detach(f->thread); /* hangs in a write: what it holds goes with the process */
    }
}

static const struct audit_sink_ops ops = {AUDIT_JSON, put, flush, state, file_free};

/* Who may write there could change what was recorded. */
static const char *fault_of(const struct stat *st)
{
    if (!S_ISREG(st->st_mode))
        return "not a regular file";
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return "it belongs to another user; change its owner to the daemon's user or to root "
               "(chown)";
    if (st->st_mode & (S_IWGRP | S_IWOTH))
        return "other users can write to it; change its mode (chmod go-w)";
    return NULL;
}

static bool ends_in_half(const struct file *f, off_t *ret_size)
{
    struct stat st;
    char last;

    if (fstat(f->fd, &st) < 0)
        return false;
    *ret_size = st.st_size;
    return st.st_size > 0 && pread(f->fd, &last, 1, st.st_size - 1) == 1 && last != '\n';
}

/* A process that is taken over may be in the middle of a write: it goes on meanwhile. */
static bool stays_half(const struct file *f)
{
    off_t before = 0, after = 0;

    if (!ends_in_half(f, &before))
        return false;
    poll(NULL, 0, HALF_MS);
    return ends_in_half(f, &after) && before == after;
}

/* O_NONBLOCK: opening a device does not wait. */
static int open_file(struct file *f, const char *path, const char **ret_why)
{
    struct stat st;

    f->fd = open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    if (f->fd < 0 || fstat(f->fd, &st) < 0) {
        *ret_why = strerror(errno);
        return -errno;
    }
    *ret_why = fault_of(&st);
    if (*ret_why)
        return -EPERM;
    f->has_half = stays_half(f);
    if (f->has_half)
        log_warning("audit: %s ends in the middle of a line; the next entry begins a new one",
                    path);
    return 0;
}

/* Signals are the loop's. */
static int start_thread(struct file *f)
{
    sigset_t all, before;
    int err;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    err = pthread_create(&f->thread, NULL, run, f);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    /* What glibc does at a thread's start (rseq, set_robust_list) the filter does not allow. */
    while (err == 0 && !await(f, &f->has_begun, AUDIT_STOP_MS))
        ;
    return -err;
}

static void init_locks(struct file *f)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&f->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&f->lock, NULL);
}

int audit_file_new(const char *path, struct audit_sink **ret, const char **ret_why)
{
    struct file *f = mem_zalloc(1, sizeof(*f));
    int r;

    *ret_why = strerror(ENOMEM);
    if (!f)
        return -ENOMEM;
    f->sink.ops = &ops;
    list_init(&f->records);
    list_init(&f->written);
    init_locks(f);
    r = open_file(f, path, ret_why);
    if (r == 0) {
        r = start_thread(f);
        *ret_why = strerror(-r);
    }
    if (r < 0) {
        release(f);
        return r;
    }
    *ret = &f->sink;
    return 0;
}
