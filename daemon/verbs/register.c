/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * REGISTER, UNREGISTER.
 * Happy path: REGISTER creates the memory and sends its descriptor with the completion. After
 * UNREGISTER new ops cannot use the buffer; UNREGISTER completes when the last op that uses it has
 * ended and its contents are erased.
 * Failures: a length of 0, over a limit, no memory or descriptor; no such buffer.
 */
#include <errno.h>

#include "daemon/session/complete.h"
#include "daemon/session/session.h"
#include "daemon/wire/shm_buffer.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

/* The reply could not be sent: release the buffer, as no client has its descriptor. */
static void register_cleanup(struct op *op)
{
    if (op->passes_buffer)
        shm_buffer_unuse(op->passes_buffer);
    op->passes_buffer = NULL;
}

static void register_fill(struct op *op, struct reply *reply, const void **payload,
                          uint32_t *payload_len)
{
    const struct shm_buffer *shm = op->passes_buffer;

    (void)payload;
    (void)payload_len;
    if (!shm)
        return;
    reply->descriptors = shm->pass.second_fd < 0 ? 1 : 2;
    reply->body = BODY_SEGMENT;
    reply->segment = (struct segment){.buffer = shm->id, .length = shm->length};
}

static struct fd_pass *register_take_fd_pass(struct op *op)
{
    struct fd_pass *pass = &op->passes_buffer->pass;

    op->passes_buffer = NULL;
    return pass;
}

static const struct op_class register_class = {
    .name = "register",
    .cleanup = register_cleanup,
    .fill = register_fill,
    .take_fd_pass = register_take_fd_pass,
};

int verb_register(struct op *op, const struct call *call)
{
    const struct request *request = call->request;
    struct shm_buffer *shm;
    int r;

    if (request->socket != 0 || request->reg.length == 0)
        return ERR_INVALID_ARGUMENT;
    r = session_add_buffer(op->session, request->reg.length, request->reg.status, &shm);
    if (r == -EDQUOT)
        op->text = "the shared memory limit has been reached";
    if (r == -EMFILE)
        op->text = "the limit on shared memory buffers has been reached";
    if (r < 0)
        return ERR_NO_BUFFER_SPACE;
    op->class = &register_class;
    op->passes_buffer = shm;
    shm_buffer_use(shm);
    complete(op, ERR_SUCCESS);
    return 0;
}

/* A CANCEL also ends the op; the buffer is released all the same. */
static void unregister_stop(struct op *op)
{
    op->unregister->unregister = NULL;
}

static const struct op_class unregister_class = {.name = "unregister", .stop = unregister_stop};

static void queue_unregister(struct op *op, struct session_buffer *buffer)
{
    op->class = &unregister_class;
    op->unregister = buffer;
    buffer->unregister = op;
    op_move(op, OP_QUEUED);
    session_hash_op(op->session, op);
}

int unregister_restore(struct session *s, struct session_buffer *buffer, uint64_t token,
                       uint64_t until, bool errors_only)
{
    struct op *op = op_reserve_deadline(s->worker) ? op_new(s->worker) : NULL;
    uint64_t now = s->worker->clock();
    uint64_t ms = until > now ? until - now : 1;

    if (!op)
        return -ENOMEM;
    op->session = s;
    op->token = token;
    op->verb = VERB_UNREGISTER;
    op->errors_only = errors_only;
    queue_unregister(op, buffer);
    if (until > 0)
        op_set_deadline(s->worker, op, ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX,
                        complete_timed_out);
    return 0;
}

int verb_unregister(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    struct session *s = op->session;
    struct session_buffer *buffer = session_buffer(s, r->unregister.buffer);

    if (r->socket != 0 || !buffer)
        return ERR_INVALID_ARGUMENT;
    queue_unregister(op, buffer);
    if (r->timeout_ms > 0)
        op_set_deadline(s->worker, op, r->timeout_ms, complete_timed_out);
    shm_buffer_release(buffer->shm);
    return 0;
}
