/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Steps that create and release contexts, sockets and ops. */
#include <errno.h>
#include <string.h>

#include "tests/sim/daemon.h"
#include "tests/sim/lent.h"
#include "tests/sim/policies.h"
#include "tests/sim/steps.h"

struct client *client_at(uint32_t number)
{
    struct client *client = &model.clients[number % CONTEXTS];

    return client->context ? client : NULL;
}

bool is_in_callback(const struct client *client)
{
    for (const struct model_op *op = model.all_ops; op; op = op->next)
        if (op->client == client && op->in_callback)
            return true;
    return false;
}

/* Mostly the first one's, so that objects meet. */
struct client *client_of(uint32_t number)
{
    return client_at(number % 4 == 0 ? number / 4 : 0);
}

struct stream *stream_at(uint32_t number)
{
    return model.sockets[number % SOCKETS];
}

struct model_op *op_make(struct client *client)
{
    struct model_op *op = sim_alloc(sizeof(*op));

    op->client = client;
    op->next = model.all_ops;
    model.all_ops = op;
    return op;
}

static struct model_op *op_new(struct client *client, uint32_t number)
{
    struct model_op *op;
    asock_op *raw;

    if (LIB(asock_op_new(client->context, &raw)) < 0)
        return NULL;
    op = op_make(client);
    op->op = raw;
    op->has_callback = number % 4 != 3;
    if (op->has_callback)
        SIM_MUST(asock_op_set_callback(op->op, model_callback, op) == 0);
    model.ops[number % OPS] = op;
    return op;
}

struct model_op *op_for(struct client *client, uint32_t number)
{
    struct model_op *op = model.ops[number % OPS];

    if (op && op->op && op->client == client && !op->is_begun)
        return op;
    if (op && op->op)
        return NULL; /* another client's, or one of asock_begin_...() */
    return op_new(client, number);
}

static bool open_context(struct client *client, const char *path, const struct client *sharer)
{
    if (client->context)
        return false;
    if (LIB(asock_context_new(path, &client->context)) < 0) {
        client->context = NULL;
        return false;
    }
    client->generation++;
    client->is_lost = client->has_given_up = client->may_deny = false;
    client->denies = 0;
    client->share[0] = '\0';
    client->sharer = sharer;
    client->sharer_generation = sharer ? sharer->generation : 0;
    return true;
}

/* By the listener that another one's session has, or had. */
void step_join(const struct step *step)
{
    struct client *client = &model.clients[step->a % CONTEXTS];
    const struct client *sharer = client_at(step->b);

    if (sharer && sharer != client && sharer->share[0] &&
        sharer->share_generation == sharer->generation)
        open_context(client, sharer->share, sharer);
}

void step_context(const struct step *step)
{
    struct client *client = &model.clients[step->a % CONTEXTS];

    if (!open_context(client, DAEMON_SOCKET, NULL))
        return;
    if (step->b)
        SIM_MUST(asock_context_set_limit(client->context, ASOCK_LIMIT_SOCKETS, step->b) == 0);
    if (step->c & 2)
        SIM_MUST(asock_context_set_limit(client->context, ASOCK_LIMIT_OPS, 64) == 0);
    if (step->c & 4)
        SIM_MUST(asock_context_set_limit(client->context, ASOCK_LIMIT_QUEUED, 1 << 20) == 0);
    if (step->c & 1)
        asock_context_set_always_pending(client->context, true);
}

static void forget_objects(struct client *client)
{
    for (unsigned int i = 0; i < OPS; i++)
        if (model.ops[i] && model.ops[i]->client == client)
            model.ops[i] = NULL;
    for (unsigned int i = 0; i < SOCKETS; i++)
        if (model.sockets[i] && model.sockets[i]->client == client)
            model.sockets[i] = NULL;
}

/* With everything that holds it. */
void step_context_unref(const struct step *step)
{
    struct client *client = client_at(step->a);
    asock_context *context;

    if (!client)
        return;
    context = client->context;
    client->context = NULL;
    model_lost(client);
    datagrams_lost(client);
    lent_lost(client);
    for (struct model_op *op = model.all_ops; op; op = op->next)
        if (op->client == client && op->op)
            op->op = LIB(asock_op_unref(op->op));
    for (struct stream *stream = model.streams; stream; stream = stream->next) {
        if (stream->client != client)
            continue;
        if (stream->socket)
            stream->socket = LIB(asock_socket_unref(stream->socket));
        stream->is_closing = true;
    }
    for (unsigned int i = 0; i < POOLS; i++)
        if (model.pools[i].pool && model.pools[i].client == client) {
            LIB(asock_pool_unref(model.pools[i].pool));
            memset(&model.pools[i], 0, sizeof(model.pools[i]));
        }
    for (unsigned int i = 0; i < BUFFERS; i++)
        if (model.buffers[i] && model.buffers[i]->client == client && model.buffers[i]->buffer)
            model.buffers[i]->buffer = LIB(asock_buffer_unref(model.buffers[i]->buffer));
    forget_objects(client);
    client->generation++;
    LIB(asock_context_unref(context));
}

void step_reconnect(const struct step *step)
{
    struct client *client = client_at(step->a);

    if (client && LIB(asock_context_reconnect(client->context)) == 0) {
        client->generation++;
        client->is_lost = client->has_given_up = client->may_deny = false;
        client->denies = 0;
    }
}

struct stream *stream_make(struct client *client, uint32_t number)
{
    struct stream *stream = sim_alloc(sizeof(*stream));

    stream->client = client;
    stream->number = model.stream_count++;
    stream->generation = client->generation;
    stream->was_killed = policies_may_close();
    stream->next = model.streams;
    model.streams = stream;
    model.sockets[number % SOCKETS] = stream;
    sim_trace("  stream %u", stream->number);
    return stream;
}

void step_socket(const struct step *step)
{
    static const int families[] = {AF_UNSPEC, AF_UNSPEC, AF_INET, AF_INET6};
    struct client *client = client_of(step->c);
    asock_socket *socket;
    struct stream *stream;

    if (!client || model.sockets[step->a % SOCKETS])
        return;
    if (LIB(asock_socket_new(client->context, families[step->b % 4], &socket)) < 0)
        return;
    stream = stream_make(client, step->a);
    stream->socket = socket;
    stream->family = families[step->b % 4];
}

/* In one go: more than the least that a session has before its welcome. */
void step_sockets(const struct step *step)
{
    for (uint32_t i = 0; i < 1 + step->b % SOCKETS; i++) {
        struct step one = {.a = step->a + i, .b = step->d >> i % 16, .c = step->c};

        step_socket(&one);
    }
}

void step_socket_unref(const struct step *step)
{
    struct stream *stream = stream_at(step->a);

    if (!stream)
        return;
    model.sockets[step->a % SOCKETS] = NULL;
    stream->socket = LIB(asock_socket_unref(stream->socket));
}

void step_op_unref(const struct step *step)
{
    struct model_op *op = model.ops[step->a % OPS];

    if (!op || !op->op)
        return;
    /* Such an op could not be asked any more whether it has ended. */
    if (!op->has_callback && model_is_pending(op))
        return;
    model.ops[step->a % OPS] = NULL;
    op->op = LIB(asock_op_unref(op->op));
}
