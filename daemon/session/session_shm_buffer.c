/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A session's buffers: shared memory by id.
 *
 * Happy path: charged, made, sent with the reply; released by the client or with the session,
 * emptied when no op uses it, and only then not charged any more. Before the buffers of a session
 * are taken from a client that may still have to read what is in them, its status page says so.
 * Failures: over the session's limits, no memory. The client leaves its descriptors unread: its
 * requests are not read from the next REGISTER on.
 */
#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include "base/alloc.h"
#include "daemon/session/complete.h"
#include "daemon/core/quota.h"
#include "daemon/session/session.h"
#include "daemon/wire/shm_buffer.h"
#include "daemon/wire/status_page.h"
#include "proto/errors.h"

static int charge(struct session *s, uint64_t bytes)
{
    if (quota_charge(s->quota, QUOTA_BUFFERS, 1) < 0)
        return -EMFILE;
    if (quota_charge(s->quota, QUOTA_SHARED, bytes) < 0) {
        quota_uncharge(s->quota, QUOTA_BUFFERS, 1);
        return -EDQUOT;
    }
    return 0;
}

static void uncharge(struct session *s, uint64_t bytes)
{
    quota_uncharge(s->quota, QUOTA_BUFFERS, 1);
    quota_uncharge(s->quota, QUOTA_SHARED, bytes);
}

/*
 * An id is a place, and how often that has been used: a request that still means the buffer that
 * was there before finds none.
 */
struct session_buffer *session_buffer_at(struct session *s, uint32_t id)
{
    struct session_buffer *buffer;

    if (!s->buffers || id == 0)
        return NULL;
    buffer = &s->buffers[(id - 1) % LIMIT_BUFFERS];
    return buffer->id == id ? buffer : NULL;
}

static void next_id(struct session *s, struct session_buffer *buffer)
{
    uint32_t place = (uint32_t)(buffer - s->buffers) + 1;

    if (buffer->id == 0 || buffer->id > UINT32_MAX - LIMIT_BUFFERS)
        buffer->id = place;
    else
        buffer->id += LIMIT_BUFFERS;
}

struct session_buffer *session_buffer(struct session *s, uint32_t id)
{
    struct session_buffer *buffer = session_buffer_at(s, id);

    return buffer && buffer->shm && !buffer->shm->is_released ? buffer : NULL;
}

static void on_buffer_gone(struct shm_buffer *shm)
{
    struct session *s = shm->owner;
    struct session_buffer *buffer = session_buffer_at(s, shm->id);
    struct op *op = buffer->unregister;

    uncharge(s, shm->length);
    s->buffer_count--;
    s->shared -= shm->length;
    s->worker->buffer_count--;
    buffer->shm = NULL;
    if (op)
        complete(op, ERR_SUCCESS);
    session_part_left(s);
}

static void on_buffer_unused(struct shm_buffer *shm)
{
    struct session *s = shm->owner;

    list_append(&s->emptying, &shm->node);
    share_wake(&s->share);
}

void session_empty_step(struct session *s)
{
    shm_buffer_empty_step(list_first(&s->emptying, struct shm_buffer, node));
}

static bool has_places(struct session *s)
{
    if (!s->buffers)
        s->buffers = mem_zalloc(LIMIT_BUFFERS, sizeof(*s->buffers));
    return s->buffers != NULL;
}

static struct session_buffer *free_buffer(struct session *s)
{
    for (uint32_t i = 0; has_places(s) && i < LIMIT_BUFFERS; i++)
        if (!s->buffers[i].shm)
            return &s->buffers[i];
    return NULL;
}

/*
 * The kernel counts descriptors in flight for all sessions together: those that a client does not
 * fetch must not use up what others need.
 */
bool session_may_pass_buffer(struct session *s, bool with_status)
{
    uint32_t count = with_status ? 2 : 1, most = LIMIT_BUFFERS;

    if (list_is_empty(&s->transport.passes))
        s->descriptors_unread = unread_most(&s->transport, &s->descriptors_mark,
                                            s->descriptors_unread, 2);
    /* The page is one more beside the buffers, once. */
    if (with_status || s->status)
        most++;
    return s->transport.out_lost || s->descriptors_unread + count <= most;
}

static int make_status(struct session *s, int fd)
{
    int r = fd >= 0 || s->worker->fds_used < s->worker->fds_max ? 0 : -EMFILE;

    if (r == 0)
        r = fd < 0 ? status_page_new(&s->status) : status_page_adopt(fd, &s->status);
    if (r < 0)
        return r;
    s->worker->fds_used++;
    s->worker->status_count++;
    return 0;
}

/*
 * Its page and its descriptor are charged to all above the session, beyond what the welcome states.
 * fd: of one that another process had; -1: a new one.
 */
static int add_status(struct session *s, int fd)
{
    int r;

    if (s->status)
        return 0;
    quota_limit(s->quota, QUOTA_BUFFERS, s->limits.buffers + 1);
    quota_limit(s->quota, QUOTA_SHARED, s->limits.shared_max + STATUS_PAGE_LENGTH);
    r = charge(s, STATUS_PAGE_LENGTH);
    if (r == 0) {
        r = make_status(s, fd);
        if (r == 0)
            return 0;
        uncharge(s, STATUS_PAGE_LENGTH);
    }
    quota_limit(s->quota, QUOTA_BUFFERS, s->limits.buffers);
    quota_limit(s->quota, QUOTA_SHARED, s->limits.shared_max);
    return r;
}

void session_drop_status(struct session *s)
{
    if (!s->status)
        return;
    if (s->worker->emptier)
        emptier_forget(&s->status->mark, s->worker->emptier);
    s->status = status_page_free(s->status);
    s->worker->fds_used--;
    s->worker->status_count--;
    uncharge(s, STATUS_PAGE_LENGTH);
}

static int make_buffer(struct session *s, uint64_t bytes, struct session_buffer **ret)
{
    *ret = free_buffer(s);
    return *ret ? shm_buffer_new(s->worker, bytes, &(*ret)->shm) : -ENOMEM;
}

/* Its memory and its id are there. */
static void own(struct session *s, struct session_buffer *buffer)
{
    struct shm_buffer *shm = buffer->shm;

    s->buffer_count++;
    s->shared += shm->length;
    s->worker->buffer_count++;
    buffer->unregister = NULL;
    buffer->goes = false;
    shm->id = buffer->id;
    shm->owner = s;
    shm->quota = s->quota;
    shm->on_unused = on_buffer_unused;
    shm->on_gone = on_buffer_gone;
}

int session_add_buffer(struct session *s, uint64_t length, bool with_status,
                       struct shm_buffer **ret)
{
    uint64_t bytes = shm_buffer_rounded(length);
    struct session_buffer *buffer;
    int r;

    if (bytes == 0)
        return -EDQUOT;
    r = with_status ? add_status(s, -1) : 0;
    if (r == 0)
        r = charge(s, bytes);
    if (r < 0)
        return r;
    r = make_buffer(s, bytes, &buffer);
    if (r < 0) {
        uncharge(s, bytes);
        return r;
    }
    next_id(s, buffer);
    own(s, buffer);
    s->descriptors_unread += with_status ? 2 : 1;
    if (with_status)
        buffer->shm->pass.second_fd = s->status->fd;
    *ret = buffer->shm;
    return 0;
}

/* ---- from one process to the next ---- */

void session_leave_buffers(struct session *s)
{
    for (uint32_t i = 0; s->buffers && i < LIMIT_BUFFERS; i++)
        if (s->buffers[i].shm)
            s->buffers[i].shm->is_left = true;
    session_drop_status(s);
    s->descriptors_unread = s->lent_unread = 0;
}

int session_restore_status(struct session *s, int fd)
{
    return add_status(s, fd);
}

int session_restore_buffer(struct session *s, uint32_t id, int fd, uint64_t length)
{
    struct session_buffer *buffer;
    int r;

    if (!has_places(s))
        return -ENOMEM;
    buffer = &s->buffers[(id - 1) % LIMIT_BUFFERS];
    if (id == 0 || buffer->id != 0)
        return -EBADMSG;
    if (fd >= 0) {
        r = charge(s, length);
        if (r < 0)
            return r;
        r = shm_buffer_adopt(s->worker, fd, length, &buffer->shm);
        if (r < 0) {
            uncharge(s, length);
            return r;
        }
    }
    buffer->id = id;
    if (fd >= 0)
        own(s, buffer);
    return 0;
}

void session_resume_buffers(struct session *s)
{
    for (uint32_t i = 0; s->buffers && i < LIMIT_BUFFERS; i++) {
        struct session_buffer *buffer = &s->buffers[i];

        if (buffer->shm && buffer->goes && !buffer->shm->is_released)
            shm_buffer_release(buffer->shm);
        buffer->goes = false;
    }
}

/* ---- their end, and their use ---- */

static void release_all(struct session *s)
{
    for (uint32_t i = 0; s->buffers && i < LIMIT_BUFFERS; i++) {
        struct shm_buffer *shm = s->buffers[i].shm;

        if (shm && !shm->is_released)
            shm_buffer_release(shm);
    }
}

static void on_marked(struct emptier_job *job, int r)
{
    struct status_page *page = container_of(job, struct status_page, mark);

    if (r < 0)
        status_page_mark(page);
    release_all(page->owner);
    session_part_left(page->owner);
}

bool session_is_marking(const struct session *s)
{
    return s->status && s->status->mark.is_asked;
}

void session_release_buffers(struct session *s)
{
    struct emptier *emptier = s->worker->emptier;

    if (!s->status || !emptier_is_there(emptier)) {
        if (s->status)
            status_page_mark(s->status);
        release_all(s);
        return;
    }
    if (s->status->mark.is_asked)
        return;
    s->status->owner = s;
    s->status->mark = (struct emptier_job){
        .whom = quota_person(s->quota), .fd = s->status->fd, .done = on_marked};
    emptier_ask(emptier, &s->status->mark);
}

static int take_slice(struct session *s, const struct segment *segment, struct slices *to,
                      bool is_charged)
{
    struct session_buffer *buffer = session_buffer(s, segment->buffer);

    if (!buffer || segment->offset > buffer->shm->length ||
        segment->length > buffer->shm->length - segment->offset)
        return ERR_INVALID_ARGUMENT;
    return slices_append(s->worker, to, buffer->shm, segment->offset, segment->length, is_charged) <
                   0
               ? ERR_NO_BUFFER_SPACE
               : 0;
}

int session_take_slices(struct session *s, const struct segments *segments, bool is_credit,
                        struct slices *ret)
{
    int err = 0;

    for (uint32_t i = 0; i < segments->count && err == 0; i++)
        err = take_slice(s, &segments->at[i], ret, is_credit || i > 0);
    if (err != 0)
        slices_drop(s->worker, ret);
    return err;
}
