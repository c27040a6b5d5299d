/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shared memory from one process to the next: both map it, and nobody looks into it.
 *
 * Happy path: the descriptors of the buffers and of the status page travel with their session. The
 * new process maps them, and charges them; a buffer that was given back is emptied there. What the
 * client has not got yet goes to it with the rest of the output. The old one unmaps them and leaves
 * their contents alone.
 * Failures: a descriptor is missing, or something else: its session ends. Without its status page
 * the client could not learn that its buffers are emptied: they are not.
 */
#include "daemon/state/shared.h"

#include <errno.h>
#include <unistd.h>

#include "base/alloc.h"
#include "daemon/session/op.h"
#include "daemon/session/session.h"
#include "daemon/session/session_shm_buffer.h"
#include "daemon/verbs/verbs.h"
#include "daemon/wire/shm_buffer.h"
#include "daemon/wire/status_page.h"

/* ---- the old one ---- */

void shared_free_room(struct shared_room *room)
{
    room->parts = mem_free(room->parts);
    room->at = mem_free(room->at);
}

struct buffer_room {
    Asockd__State__Buffer buffer;
    Asockd__State__Travel travel;
};

/* Its descriptor is part of the output. */
static void fill_travel(struct state_writer *out, const struct session *s,
                        const struct fd_pass *pass, struct buffer_room *room)
{
    if (!list_is_linked(&pass->node))
        return;
    state_needs(out, STATE_FORMAT_TRAVEL);
    asockd__state__travel__init(&room->travel);
    room->travel.at = transport_pass_at(&s->transport, pass);
    room->buffer.travel = &room->travel;
    room->buffer.with_status = pass->second_fd >= 0;
}

static void fill_buffer(struct state_writer *out, const struct session *s,
                        const struct session_buffer *buffer, struct buffer_room *room)
{
    const struct shm_buffer *shm = buffer->shm;
    const struct op *op = shm ? buffer->unregister : NULL;
    Asockd__State__Buffer *to = &room->buffer;

    asockd__state__buffer__init(to);
    to->id = buffer->id;
    if (!shm)
        return;
    to->descriptor = state_add_descriptor(out, shm->pass.fd);
    to->length = shm->length;
    to->released = shm->is_released || buffer->goes;
    to->unregister = op ? op->token : 0;
    to->errors_only = op && op->errors_only;
    to->until = op && op->deadline ? op->deadline->deadline.timer.deadline : 0;
    fill_travel(out, s, &shm->pass, room);
}

int shared_save(struct state_writer *out, const struct session *s, struct shared_room *room,
                Asockd__State__Session *to)
{
    struct buffer_room *buffers;
    Asockd__State__Buffer **at;

    if (!s->buffers)
        return 0;
    state_needs(out, STATE_FORMAT_SHARED);
    buffers = room->parts = mem_zalloc(LIMIT_BUFFERS, sizeof(*buffers));
    at = room->at = mem_zalloc(LIMIT_BUFFERS, sizeof(struct _Asockd__State__Buffer *));
    if (!buffers || !at)
        return -ENOMEM;
    to->buffers = at;
    for (uint32_t i = 0; i < LIMIT_BUFFERS; i++) {
        if (s->buffers[i].id == 0)
            continue;
        fill_buffer(out, s, &s->buffers[i], &buffers[to->n_buffers]);
        at[to->n_buffers] = &buffers[to->n_buffers].buffer;
        to->n_buffers++;
    }
    if (s->status)
        to->status = state_add_descriptor(out, s->status->fd);
    to->descriptors_unread = s->descriptors_unread;
    return 0;
}

int shared_save_slices(const struct op *op, struct shared_room *room, Asockd__State__Op *to)
{
    Asockd__State__Slice *slices, **at;

    if (op->is_small || op->slices.count == 0)
        return 0;
    slices = room->parts = mem_zalloc(op->slices.count, sizeof(*slices));
    at = room->at = mem_zalloc(op->slices.count, sizeof(struct _Asockd__State__Slice *));
    if (!slices || !at)
        return -ENOMEM;
    to->slices = at;
    for (const struct slice *slice = op->slices.first; slice; slice = slice->next) {
        at[to->n_slices] = &slices[to->n_slices];
        asockd__state__slice__init(at[to->n_slices]);
        at[to->n_slices]->buffer = slice->shm->id;
        at[to->n_slices]->offset = slice->offset;
        at[to->n_slices++]->length = slice->length;
    }
    return 0;
}

/* ---- the new one ---- */

/* What cannot be had is a reason to end the session, or the whole; fd is not taken then. */
static int lost(struct state_restorer *r, struct session *s, int fd, int e, const char *what)
{
    if (e == -EBADMSG)
        e = restore_miss(r, what);
    if (fd >= 0 && e == -ENODATA)
        state_discard(fd);
    if (e != -ENODATA)
        return e;
    restore_give_up(r, s, r->what);
    return 0;
}

static int restore_unregister(struct state_restorer *r, struct session *s,
                              struct session_buffer *buffer, const Asockd__State__Buffer *from)
{
    if (from->unregister == 0)
        return 0;
    if (session_find_op(s, from->unregister))
        return restore_fail(r, "an op is invalid");
    return unregister_restore(s, buffer, from->unregister, from->until, from->errors_only);
}

static int restore_buffer(struct state_restorer *r, struct session *s,
                          const Asockd__State__Buffer *from)
{
    struct session_buffer *buffer;
    int fd = -1, e = 0;

    if (from->id == 0 || (from->descriptor == 0 && (from->length || from->unregister)) ||
        (from->unregister && !from->released) || from->length > LIMIT_TOTAL_BYTES_MAX)
        return restore_fail(r, "a buffer is invalid");
    if (from->descriptor)
        e = restore_claim(r, from->descriptor, &fd);
    if (e == 0)
        e = session_restore_buffer(s, from->id, fd, from->length);
    if (e < 0)
        return lost(r, s, fd, e, "shared memory does not match the state");
    buffer = session_buffer_at(s, from->id);
    if (!buffer || !buffer->shm)
        return 0;
    buffer->goes = from->released;
    return restore_unregister(r, s, buffer, from);
}

static void keep_contents(struct session *s)
{
    for (uint32_t i = 0; s->buffers && i < LIMIT_BUFFERS; i++)
        if (s->buffers[i].shm)
            s->buffers[i].shm->is_left = true;
}

static int restore_status(struct state_restorer *r, struct session *s, uint32_t descriptor)
{
    int fd = -1, e = restore_claim(r, descriptor, &fd);

    if (e == 0)
        e = session_restore_status(s, fd);
    if (e == 0)
        return 0;
    keep_contents(s);
    return lost(r, s, fd, e, "a status page does not match the state");
}

/* The status page has its descriptor by now. What is lost is not missed: its session ends. */
static int restore_travel(struct state_restorer *r, struct session *s,
                          const Asockd__State__Buffer *from)
{
    struct session_buffer *buffer = session_buffer_at(s, from->id);
    struct shm_buffer *shm = buffer ? buffer->shm : NULL;

    if (!from->travel || s->is_unfit)
        return 0;
    if (!shm || (from->with_status && !s->status))
        return restore_fail(r, "a descriptor that was to be sent is missing");
    if (transport_restore_pass(&s->transport, from->travel->at, &shm->pass) < 0)
        return restore_fail(r, "there is no data to send a queued descriptor with");
    shm->pass.second_fd = from->with_status ? s->status->fd : -1;
    shm_buffer_use(shm);
    return 0;
}

int shared_restore(struct state_restorer *r, struct session *s, const Asockd__State__Session *from)
{
    int e = 0;

    if (from->n_buffers > LIMIT_BUFFERS || from->descriptors_unread > LIMIT_BUFFERS + 1)
        return restore_fail(r, "a session has more shared memory than its limits allow");
    for (size_t i = 0; e == 0 && i < from->n_buffers; i++)
        e = restore_buffer(r, s, from->buffers[i]);
    if (e == 0 && from->status)
        e = restore_status(r, s, from->status);
    for (size_t i = 0; e == 0 && i < from->n_buffers; i++)
        e = restore_travel(r, s, from->buffers[i]);
    s->descriptors_unread = from->descriptors_unread;
    return e;
}

uint64_t shared_slices_total(const Asockd__State__Op *from)
{
    uint64_t total = 0;

    for (size_t i = 0; i < from->n_slices; i++) {
        if (from->slices[i]->length > UINT64_MAX - total)
            return UINT64_MAX;
        total += from->slices[i]->length;
    }
    return total;
}

int shared_restore_slices(struct state_restorer *r, struct op *op, const Asockd__State__Op *from)
{
    struct session *s = op->session;
    int e = 0;

    for (size_t i = 0; e == 0 && i < from->n_slices; i++) {
        const Asockd__State__Slice *slice = from->slices[i];
        struct session_buffer *buffer = session_buffer_at(s, slice->buffer);

        if (buffer && buffer->shm && slice->offset <= buffer->shm->length &&
            slice->length <= buffer->shm->length - slice->offset)
            e = slices_append(s->worker, &op->slices, buffer->shm, slice->offset, slice->length,
                              i > 0);
        else if (!s->is_unfit)
            e = restore_fail(r, "an op refers to memory that does not exist");
    }
    return e;
}
