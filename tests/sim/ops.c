/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Steps that submit, cancel and wait for ops. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/sim/lent.h"
#include "tests/sim/steps.h"

#define SEGMENTS_MAX 400

/* Socket and op of a step; false: there are none, or the op is in flight. */
static bool find(const struct step *step, struct stream **ret_stream, struct model_op **ret_op)
{
    *ret_stream = stream_at(step->a);
    if (!*ret_stream || !(*ret_stream)->client->context)
        return false;
    *ret_op = op_for((*ret_stream)->client, step->b);
    return *ret_op && !model_is_pending(*ret_op);
}

static void set_common(struct submission *s, uint32_t manner)
{
    static const unsigned int timeouts[] = {0, 0, 0, 5, 60, 500, 3000, 20000};

    s->timeout_ms = timeouts[manner % 8];
    SIM_MUST(asock_op_set_timeout(s->op->op, s->timeout_ms) == 0);
    SIM_MUST(asock_op_set_flags(s->op->op, s->flags) == 0);
}

/* ---- buffers ---- */

/* Memory that no other op in flight has, shared or not. */
static uint8_t *take_memory(struct submission *s, uint32_t manner)
{
    struct model_buffer *buffer = manner % 3 == 0 ? buffer_of(s->op->client, manner >> 3) : NULL;

    if (buffer && s->len > 0 && s->len <= buffer->size) {
        if (buffer->uses == 0)
            buffer->used = 0;
        if (buffer->used + s->len <= buffer->size) {
            s->buffer = buffer;
            s->offset = buffer->used;
            buffer->used += s->len;
            buffer->uses++;
            s->shared = buffer->at + s->offset;
            return s->shared;
        }
    }
    s->data = sim_alloc(s->len);
    return s->data;
}

/* In one piece, or in a list of many, with empty ones among them. */
static int set_memory(struct submission *s, uint8_t *at, uint32_t manner)
{
    static struct iovec list[SEGMENTS_MAX];
    size_t count = 0, done = 0, part;

    if (manner % 4 != 1 || s->len == 0)
        return LIB(asock_op_set_buffer(s->op->op, at, s->len));
    part = manner % 8 == 1 ? 1 : 1 + s->len / 3;
    while (done < s->len) {
        size_t n = count + 4 >= SEGMENTS_MAX || part > s->len - done ? s->len - done : part;

        if (sim_chance(20))
            list[count++] = (struct iovec){at + done, 0};
        list[count++] = (struct iovec){at + done, n};
        done += n;
    }
    SIM_MUST(done == s->len);
    return LIB(asock_op_set_buffers(s->op->op, list, count));
}

static int set_payload(struct submission *s, uint32_t manner)
{
    uint8_t *at = take_memory(s, manner);

    sim_pattern(s->number, 0, at, s->len);
    return set_memory(s, at, manner);
}

size_t step_length(uint32_t number)
{
    static const size_t lengths[] = {0, 1, 7, 100, 1000, 5000, 20000, 70000};
    size_t least = number % 64 == 63 ? 300000 : lengths[number % 8];

    return least < 2 ? least : least + (number >> 3) % least;
}

/* ---- connect ---- */

static struct sockaddr_in address_of(uint32_t host, unsigned int intent)
{
    struct sockaddr_in in = {.sin_family = AF_INET};

    in.sin_addr.s_addr = htonl(0x0a000000 | host);
    in.sin_port = htons((uint16_t)(KERNEL_PORT_FIRST + intent));
    return in;
}

struct destination step_destination(uint32_t how, unsigned int intent)
{
    uint32_t host = how % 16 < 10 ? HOST_ACCEPTS : 1 + how % 16 % (HOST_KINDS - 1);
    struct destination ret = {.is_name = how / 16 % 4 == 0};
    struct sockaddr_in in = address_of(host, intent);
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = in.sin_port};

    snprintf(ret.service, sizeof(ret.service), "%u", KERNEL_PORT_FIRST + intent);
    snprintf(ret.name, sizeof(ret.name), "n%u.sim", how / 64 % 24);
    inet_pton(AF_INET6, "2001:db8::", &in6.sin6_addr);
    in6.sin6_addr.s6_addr[15] = (uint8_t)host;
    ret.len = how / 16 % 4 == 1 ? sizeof(in6) : sizeof(in);
    memcpy(&ret.addr, how / 16 % 4 == 1 ? (void *)&in6 : (void *)&in, ret.len);
    return ret;
}

static int set_destination(struct submission *s, uint32_t how)
{
    struct destination to = step_destination(how, s->intent);

    uint32_t others = how >> 16 & 3;
    int r;

    if (to.is_name)
        return LIB(asock_op_set_host(s->op->op, to.name, to.service));
    r = asock_op_set_endpoint(s->op->op, (const struct sockaddr *)&to.addr, to.len);
    /* A list, of both families. */
    for (uint32_t i = 0; r == 0 && others > 1 && i < others; i++) {
        to = step_destination((how + i * 7) | 16, s->intent);
        to = to.is_name ? step_destination((how + i * 7) | 48, s->intent) : to;
        r = LIB(asock_op_add_endpoint(s->op->op, (const struct sockaddr *)&to.addr, to.len));
    }
    return r;
}

bool step_intent(struct submission *s, const struct step *step)
{
    if (model.intent_count == INTENTS)
        return false;
    s->intent = model.intent_count++;
    model.intents[s->intent].submission = s;
    model.intents[s->intent].peer = *step;
    return true;
}

void step_connect(const struct step *step)
{
    struct stream *stream;
    struct model_op *op;
    struct submission *s;
    int r;

    if (!find(step, &stream, &op) || model.intent_count == INTENTS ||
        stream_is_disconnecting(stream))
        return;
    s = submission_new(op, stream, ASOCK_OPERATION_CONNECT);
    step_intent(s, step);
    if (step->d % 3 == 0)
        s->len = step_length(step->d / 3);
    set_common(s, step->c >> 8);
    r = set_payload(s, step->d / 16);
    if (r == 0)
        r = set_destination(s, step->c);
    submission_made(s, r < 0 ? r : LIB(asock_connect(stream->socket, op->op)));
}

/* ---- the others ---- */

void step_send(const struct step *step)
{
    struct stream *stream;
    struct model_op *op;
    struct submission *s;
    int r;

    if (!find(step, &stream, &op))
        return;
    s = submission_new(op, stream, ASOCK_OPERATION_SEND);
    s->len = step_length(step->c);
    s->flags = step->d % 5 == 0 ? ASOCK_ERRORS_ONLY : 0;
    set_common(s, step->d % 7 == 0 ? step->d >> 5 : 0);
    r = set_payload(s, step->d / 8);
    submission_made(s, r < 0 ? r : LIB(asock_send(stream->socket, op->op)));
}

/* ---- a file ---- */

/*
 * Of the client, with these bytes of the submission behind some that are not sent; it may become
 * shorter.
 */
static int make_file(const struct submission *s, size_t from, size_t len, size_t before)
{
    int fd;

    sim.actor = ACTOR_CLIENT;
    fd = memfd_create("file", MFD_CLOEXEC);
    SIM_MUST(fd >= 0 && ftruncate(fd, (off_t)before) == 0);
    SIM_MUST(pwrite(fd, s->data + from, len, (off_t)before) == (ssize_t)len);
    return fd;
}

/* Before, in and behind the file is some of what is sent. */
void step_send_file(const struct step *step)
{
    size_t header, trailer, before = step->b % 3 ? 0 : 100;
    struct stream *stream;
    struct model_op *op;
    struct submission *s;
    int r, fd;

    if (!find(step, &stream, &op))
        return;
    s = submission_new(op, stream, ASOCK_OPERATION_SEND);
    s->len = step_length(step->c) + (step->c % 5 ? 0 : 300000);
    s->flags = step->d % 5 == 0 ? ASOCK_ERRORS_ONLY : 0;
    set_common(s, step->d % 7 == 0 ? step->d >> 5 : 0);
    s->data = sim_alloc(s->len);
    sim_pattern(s->number, 0, s->data, s->len);
    header = step->d / 8 % 3 ? 0 : s->len / (1 + step->d / 24 % 3);
    trailer = step->d / 16 % 3 ? 0 : (s->len - header) / 3;
    fd = make_file(s, header, s->len - header - trailer, before);
    r = LIB(asock_op_set_buffer(op->op, s->data, header));
    if (r == 0)
        r = LIB(asock_send_file(stream->socket, op->op, fd, before, 0, s->data + s->len - trailer,
                                trailer));
    submission_made(s, r);
    /* An op that has ended may have left its memory to the next one already. */
    if (r == 1 && step->d / 32 % 8 == 0) {
        sim_trace("  the file of %u becomes shorter", s->number);
        s->is_cut = true;
        SIM_MUST(ftruncate(fd, (off_t)(before + (s->len - header - trailer) / 2)) == 0);
    }
    SIM_MUST(fd_close(fd) == 0);
    sim.actor = ACTOR_NONE;
}

void step_receive(const struct step *step)
{
    struct stream *stream;
    struct model_op *op;
    struct submission *s;
    uint8_t *at;
    int r;

    if (!find(step, &stream, &op))
        return;
    s = submission_new(op, stream, ASOCK_OPERATION_RECEIVE);
    s->len = step_length(step->c);
    s->flags = step->d % 8 == 1 ? ASOCK_PEEK : step->d % 8 == 2 ? ASOCK_WAIT_ALL : 0;
    set_common(s, step->d >> 5);
    at = take_memory(s, step->d / 8);
    memset(at, 0xee, s->len);
    r = set_memory(s, at, step->d / 8);
    submission_made(s, r < 0 ? r : LIB(asock_receive(stream->socket, op->op)));
}

void step_shutdown(const struct step *step)
{
    struct stream *stream;
    struct model_op *op;
    struct submission *s;

    if (!find(step, &stream, &op))
        return;
    s = submission_new(op, stream, ASOCK_OPERATION_SHUTDOWN);
    s->how = (int)(step->c % 4 == 0 ? 2 : step->c % 4);
    set_common(s, step->c >> 4);
    submission_made(s, LIB(asock_shutdown(stream->socket, op->op, (enum asock_how)s->how)));
}

void step_close(const struct step *step)
{
    static const int lingers[] = {0, 0, 1, 50, 500, 5000, 20000, ASOCK_CLOSE_ABORT};
    struct stream *stream;
    struct model_op *op;
    struct submission *s;

    if (!find(step, &stream, &op))
        return;
    s = submission_new(op, stream, ASOCK_OPERATION_CLOSE);
    s->linger_ms = lingers[step->c % 8];
    set_common(s, 0);
    submission_made(s, LIB(asock_close(stream->socket, op->op, s->linger_ms)));
}

void step_set_option(const struct step *step)
{
    struct stream *stream;
    struct model_op *op;
    struct submission *s;

    if (!find(step, &stream, &op))
        return;
    s = submission_new(op, stream, ASOCK_OPERATION_SET_OPTION);
    s->option = step->c % 16 > 10 ? ASOCK_OPTION_KEEP_ALIVE_COUNT : (int)(1 + step->c % 12);
    s->value = s->option == ASOCK_OPTION_LINGER ? 0 : step->d % 2;
    if (s->option == ASOCK_OPTION_KEEP_ALIVE_COUNT)
        s->value = 1 + step->d % 100;
    s->flags = step->d % 5 == 0 ? ASOCK_ERRORS_ONLY : 0;
    set_common(s, 0);
    submission_made(
        s, LIB(asock_set_option(stream->socket, op->op, (enum asock_option)s->option, s->value)));
}

void step_get_option(const struct step *step)
{
    struct stream *stream;
    struct model_op *op;
    struct submission *s;

    if (!find(step, &stream, &op))
        return;
    s = submission_new(op, stream, ASOCK_OPERATION_GET_OPTION);
    s->option = (int)(1 + step->c % 12);
    set_common(s, 0);
    submission_made(s, LIB(asock_get_option(stream->socket, op->op, (enum asock_option)s->option)));
}

static void submit_socketless(const struct step *step, enum asock_operation operation,
                              int (*submit)(asock_context *context, asock_op *op))
{
    struct client *client = client_at(step->a);
    struct model_op *op = client ? op_for(client, step->b) : NULL;
    struct submission *s;

    if (!op || model_is_pending(op))
        return;
    s = submission_new(op, NULL, operation);
    set_common(s, step->c);
    submission_made(s, LIB(submit(client->context, op->op)));
}

void step_sync(const struct step *step)
{
    submit_socketless(step, ASOCK_OPERATION_SYNC, asock_sync);
}

void step_share(const struct step *step)
{
    submit_socketless(step, ASOCK_OPERATION_SHARE, asock_share);
}

void step_resolve(const struct step *step)
{
    static const int families[] = {AF_UNSPEC, AF_INET, AF_INET6};
    struct client *client = client_at(step->a);
    struct model_op *op = client ? op_for(client, step->b) : NULL;
    struct submission *s;
    char name[16];

    if (!op || model_is_pending(op))
        return;
    s = submission_new(op, NULL, ASOCK_OPERATION_RESOLVE);
    s->value = step->c % 24;
    snprintf(name, sizeof(name), "n%d.sim", (int)s->value);
    set_common(s, step->d);
    submission_made(s,
                    LIB(asock_resolve(client->context, op->op, name, families[step->c / 24 % 3])));
}

void step_hangup(const struct step *step)
{
    struct stream *stream;
    struct model_op *op;
    struct submission *s;

    if (!find(step, &stream, &op))
        return;
    s = submission_new(op, stream, ASOCK_OPERATION_HANGUP);
    set_common(s, step->c);
    submission_made(s, LIB(asock_await_hangup(stream->socket, op->op)));
}

void step_cancel(const struct step *step)
{
    struct model_op *op = model.ops[step->a % OPS];

    if (!op || !op->op || !model_is_pending(op))
        return;
    op->submission->is_cancelled = true;
    LIB(asock_cancel(op->op));
}

void step_wait(const struct step *step)
{
    static const int times[] = {0, 1, 10, 100, 1000, 10000, 30000, 5};
    struct model_op *op = model.ops[step->a % OPS];

    if (!op || !op->op || !op->submission)
        return;
    LIB(asock_op_wait(op->op, times[step->b % 8]));
}

void peer_set_manner(struct tcp *tcp, uint64_t salt)
{
    tcp->manner.salt = sim_mix(salt, tcp->intent);
    tcp->manner.to_write = (uint32_t)(salt % 3 == 0 ? 0 : salt / 8 % (salt % 3 == 1 ? 300 : 60000));
    tcp->manner.is_mute = salt / 1000 % 4 == 0;
    tcp->manner.reads = salt / 5000 % 3 == 0 ? 1 + (uint32_t)(salt / 9000 % 2000) : 0;
    tcp->manner.pace = salt / 77000 % 3 == 0 ? (uint32_t)(salt / 99000 % 500) : 0;
    tcp->manner.stays_open = salt / 1230000 % 4 != 0;
    if (salt / 4560000 % 12 == 0)
        tcp->manner.resets_at = 1 + (uint32_t)(salt / 7890000 % 5000);
}

/* Called by the kernel: who is at the other end of a connection, and how it behaves. */
void peers_assign(struct tcp *tcp)
{
    if (lent_assign(tcp) || tcp->intent >= model.intent_count)
        return;
    oracle_check_connect(tcp);
    peer_set_manner(tcp, sim_mix(model.intents[tcp->intent].peer.salt, 5));
}
