/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "proto/endpoint.h"
#include "tests/sim/daemon.h"
#include "tests/sim/inbound.h"
#include "tests/sim/kernel.h"
#include "tests/sim/lent.h"
#include "tests/sim/policies.h"
#include "tests/sim/raw_state.h"
#include "tests/sim/steps.h"
#include "tests/sim/watch.h"

#define DATA_MAX 4000u

static struct raw *raw_at(const struct step *step)
{
    struct raw *raw = &raws[step->a % RAW_CLIENTS];

    return raw->is_there && !raw->has_ended ? raw : NULL;
}

static struct raw_op *free_op(struct raw *raw)
{
    for (unsigned int i = 0; i < RAW_OPS; i++)
        if (!raw->ops[i].token)
            return &raw->ops[i];
    return NULL;
}

struct raw_op *raw_request(struct raw *raw, struct request *r, const void *payload, size_t len)
{
    struct raw_op *op = free_op(raw);
    uint8_t head[CODEC_REQUEST_MAX];
    long n;

    SIM_MUST(op);
    r->op = ++raw->token;
    *op = (struct raw_op){.token = r->op, .verb = r->verb, .id = r->socket, .len = len};
    if (r->timeout_ms)
        op->due = sim_now_ms() + r->timeout_ms;
    n = asock_codec_encode_request(r, (uint32_t)len, head, sizeof(head));
    SIM_MUST(n > 0);
    byte_queue_append(&raw->out, head, (size_t)n);
    byte_queue_append(&raw->out, payload, len);
    raw->live++;
    sim_trace("raw %u: verb %u of id %u, op %llu", (unsigned int)(raw - raws), r->verb, r->socket,
              (unsigned long long)r->op);
    return op;
}

static void join(struct raw *raw, uint32_t sockets)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct request hello = {.verb = VERB_HELLO,
                            .hello = {.version = 1, .sockets = sockets, .ops = 512, .name = "raw"}};
    bool is_control = raw == &raws[RAW_CLIENTS - 1];
    enum actor before = sim.actor;
    uint8_t head[CODEC_REQUEST_MAX];
    long n = asock_codec_encode_request(&hello, 0, head, sizeof(head));

    if (raw->is_there && raw->has_ended)
        raw_forget(raw);
    if (raw->is_there)
        return;
    strcpy(addr.sun_path, is_control ? DAEMON_CONTROL : DAEMON_SOCKET);
    sim.actor = ACTOR_CLIENT;
    raw->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    SIM_MUST(raw->fd >= 0);
    raw->is_there = true;
    raw->is_control = is_control;
    raw->may_end = policies_may_close();
    if (connect(raw->fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
        raw->has_ended = true;
    sim.actor = before;
    byte_queue_append(&raw->out, head, (size_t)n);
}

void step_raw_join(const struct step *step)
{
    join(&raws[step->a % RAW_CLIENTS], RAW_IDS - 1);
}

/* There is room for some more ops. */
static bool is_ready(const struct raw *raw)
{
    return raw && !raw->is_control && raw->is_welcome && raw->live + 8 < RAW_OPS &&
           !raw->has_broken;
}

static uint32_t free_ids(const struct raw *raw, uint32_t most, uint32_t *ret_first)
{
    uint32_t count = 0;

    for (uint32_t id = 1; id < RAW_IDS && id <= raw->sockets; id++) {
        bool is_free = raw->ids[id].state == ID_FREE && !raw->ids[id].has_closed;

        if (!is_free && count > 0)
            break;
        if (is_free && count++ == 0)
            *ret_first = id;
        if (count == most)
            break;
    }
    return count;
}

static uint32_t some_id(const struct raw *raw, enum id_state state, uint32_t number)
{
    uint32_t found[RAW_IDS], count = 0;

    for (uint32_t id = 1; id < RAW_IDS; id++)
        if (raw->ids[id].state == state && !raw->ids[id].has_closed)
            found[count++] = id;
    return count ? found[number % count] : 0;
}

static struct raw_op *request_of(struct raw *raw, struct request *r, const void *payload,
                                 size_t len)
{
    if (raw_is_counted(r->verb))
        raw->ids[r->socket].counted++;
    return raw_request(raw, r, payload, len);
}

void step_raw_listen(const struct step *step)
{
    static const uint32_t backlogs[] = {0, 1, 3, 100};
    struct raw *raw = raw_at(step);
    struct request open = {.verb = VERB_OPEN}, bind = {.verb = VERB_BIND};
    struct request listen = {.verb = VERB_LISTEN};
    struct sockaddr_storage local;
    socklen_t len;
    uint32_t id = 0;

    if (!is_ready(raw) || free_ids(raw, 1, &id) == 0)
        return;
    raw->ids[id] = (struct raw_id){.state = ID_OPEN};
    len = inbound_local(step->c % LOCAL_FOREIGN,
                        step->d % 4 ? 0 : (uint16_t)(INBOUND_PORT + step->d / 4 % 2), &local);
    open.socket = bind.socket = listen.socket = id;
    asock_endpoint_from((const struct sockaddr *)&local, len, &bind.bind.endpoint);
    listen.listen.backlog = backlogs[step->b % 4];
    request_of(raw, &open, NULL, 0);
    request_of(raw, &bind, NULL, 0);
    request_of(raw, &listen, NULL, 0);
}

/* Of one that listens, or will perhaps. */
void step_raw_accept(const struct step *step)
{
    static const uint32_t times[] = {0, 0, 0, 0, 5, 300, 3000, 20000};
    struct raw *raw = raw_at(step);
    struct request accept = {.verb = VERB_ACCEPT, .timeout_ms = times[step->d % 8]};
    struct raw_op *op;
    uint32_t count, first = 0;

    if (!is_ready(raw))
        return;
    accept.socket = some_id(raw, ID_LISTENING, step->c);
    if (!accept.socket)
        accept.socket = some_id(raw, ID_OPEN, step->c);
    count = free_ids(raw, 1 + step->b % 6, &first);
    if (!accept.socket || count == 0)
        return;
    accept.accept.first = first;
    accept.accept.count = count == 1 && step->b % 2 ? 0 : count;
    op = request_of(raw, &accept, NULL, 0);
    op->next = first;
    op->end = first + count;
    for (uint32_t id = first; id < op->end; id++)
        raw->ids[id] = (struct raw_id){.state = ID_KEPT};
}

/* An id that is kept is no socket yet. */
void step_raw_use(const struct step *step)
{
    struct raw *raw = raw_at(step);
    struct request r = {.verb = step->b % 3 == 0 ? VERB_SEND : VERB_RECEIVE};
    uint8_t data[DATA_MAX] = {0};
    size_t len = 0;

    if (!is_ready(raw))
        return;
    r.socket = some_id(raw, ID_ACCEPTED, step->c);
    if (!r.socket)
        return;
    if (r.verb == VERB_RECEIVE) {
        r.receive.length = 1 + step->d % DATA_MAX;
    } else {
        len = step->d % DATA_MAX;
        sim_pattern(step->salt, 0, data, len);
    }
    request_of(raw, &r, data, len);
}

/* Its id may be used again at once, behind it. */
void step_raw_close(const struct step *step)
{
    struct raw *raw = raw_at(step);
    struct request close = {.verb = VERB_CLOSE};
    enum id_state state = step->c % 3 == 0 ? ID_LISTENING : ID_ACCEPTED;

    if (!is_ready(raw))
        return;
    close.socket = some_id(raw, state, step->c / 3);
    if (!close.socket)
        return;
    close.close.abort = step->d % 4 == 0;
    request_of(raw, &close, NULL, 0);
    raw->ids[close.socket].has_closed = true;
    if (step->d % 2 && !raw->before[close.socket].has_closed) {
        raw->before[close.socket] = raw->ids[close.socket];
        raw->ids[close.socket] = (struct raw_id){.state = ID_FREE};
    }
}

static void lend(struct raw *raw, uint32_t how)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(LENT_PORT_RAW)};
    struct request open = {.verb = VERB_OPEN}, connect = {.verb = VERB_CONNECT};
    uint32_t id = 0;

    if (!is_ready(raw) || free_ids(raw, 1, &id) == 0)
        return;
    to.sin_addr.s_addr = htonl(0x0a000000 | HOST_ACCEPTS);
    raw->ids[id] = (struct raw_id){.state = ID_LENT};
    open.socket = connect.socket = id;
    asock_endpoint_from((const struct sockaddr *)&to, sizeof(to), &connect.connect.endpoint);
    connect.connect.lend = how % 3 ? LEND_GIVEN : LEND_HELD;
    connect.timeout_ms = how / 3 % 4 ? 0 : 50;
    request_of(raw, &open, NULL, 0);
    request_of(raw, &connect, NULL, 0);
}

/* Whether the descriptor has come or not. */
static void close_lent(struct raw *raw, uint32_t number)
{
    struct request close = {.verb = VERB_CLOSE};
    uint32_t id = some_id(raw, ID_LENT, number);

    if (!is_ready(raw) || !id || raw->before[id].has_closed)
        return;
    close.socket = id;
    request_of(raw, &close, NULL, 0);
    raw->before[id] = raw->ids[id];
    raw->before[id].has_closed = true;
    raw->ids[id] = (struct raw_id){.state = ID_FREE};
}

/* With few sockets it meets what it may have on the way to it. */
void step_raw_lend(const struct step *step)
{
    struct raw *raw = &raws[step->a % (RAW_CLIENTS - 1)];

    if (!raw->is_there)
        join(raw, 3);
    for (uint32_t i = 0; i < step->b % 4; i++)
        close_lent(raw, step->c + i);
    for (uint32_t i = 0; i < 1 + step->b / 4 % 3; i++)
        lend(raw, step->d + i);
}

static bool may_cancel(const struct raw_op *op)
{
    return op->token && (op->verb == VERB_ACCEPT || watch_is_ask(op->verb));
}

void step_raw_cancel(const struct step *step)
{
    struct raw *raw = raw_at(step);
    struct request cancel = {.verb = VERB_CANCEL};
    struct raw_op *op;

    if (!raw || !raw->is_welcome || raw->live + 8 > RAW_OPS || raw->has_broken)
        return;
    op = &raw->ops[step->c % RAW_OPS];
    for (unsigned int i = 0; i < RAW_OPS && !may_cancel(op); i++)
        op = &raw->ops[(step->c + i) % RAW_OPS];
    if (!may_cancel(op))
        return;
    op->is_cancelled = true;
    cancel.socket = op->id;
    cancel.cancel.target = op->token;
    raw_request(raw, &cancel, NULL, 0);
}

/*
 * The daemon is patient for half a second with a client that does not read why its session has
 * ended.
 */
static void has_missed_the_end(struct raw *raw)
{
    raw->may_end |= raw->is_mute && raw->has_broken;
}

void step_raw_mute(const struct step *step)
{
    struct raw *raw = raw_at(step);

    if (!raw)
        return;
    raw->is_mute = !raw->is_mute;
    has_missed_the_end(raw);
}

/* An id that is in use, or kept for a connection: the session ends. */
void step_raw_break(const struct step *step)
{
    struct raw *raw = raw_at(step);
    struct request r = {.verb = step->b % 2 ? VERB_OPEN : VERB_ACCEPT};
    uint32_t id;

    if (!is_ready(raw))
        return;
    id = some_id(raw, step->b / 2 % 2 ? ID_KEPT : ID_LISTENING, step->c);
    r.socket = r.verb == VERB_OPEN ? id : some_id(raw, ID_LISTENING, step->d);
    if (!id || !r.socket)
        return;
    r.accept.first = r.verb == VERB_ACCEPT ? id : 0;
    raw_request(raw, &r, NULL, 0);
    raw->has_broken = true;
    has_missed_the_end(raw);
    /* A reserved id may be free by now, and a listener may have ended. */
    raw->must_end = r.verb == VERB_OPEN && raw->ids[id].state == ID_LISTENING;
}

void step_raw_leave(const struct step *step)
{
    struct raw *raw = &raws[step->a % RAW_CLIENTS];

    if (raw->is_there)
        raw_forget(raw);
}

/* ---- the end ---- */

void raw_calm_down(void)
{
    for (unsigned int i = 0; i < RAW_CLIENTS; i++)
        raws[i].is_mute = false;
}

static bool is_done(const struct raw_op *op, const struct raw_id *id)
{
    if (!op->token)
        return true;
    /* It waits for what may never come. */
    return ((op->verb == VERB_ACCEPT || op->verb == VERB_MONITOR) && !op->due) ||
           op->verb == VERB_RECEIVE || id->tcp;
}

void raw_judge_ends(void)
{
    for (unsigned int i = 0; i < RAW_CLIENTS; i++) {
        const struct raw *raw = &raws[i];

        if (!raw->is_there || raw->has_ended)
            continue;
        watch_judge(&raws[i]);
        if (raw->must_end)
            sim_fail("not-refused: a raw client that has broken a rule");
        for (unsigned int k = 0; k < RAW_OPS; k++)
            if (!is_done(&raw->ops[k], &raw->ids[raw->ops[k].id]))
                sim_fail("never-done: op %llu of a raw client",
                         (unsigned long long)raw->ops[k].token);
        for (unsigned int k = 0; k < kernel.tcp_count && !raw->may_end && !raw->has_broken; k++)
            if (kernel.tcps[k]->in.is_taken && !kernel.tcps[k]->in.is_told &&
                kernel.tcps[k]->in.admission == 1 &&
                raw_listens(raw, inbound_port(&kernel.tcps[k]->in.listener->local)))
                sim_fail("lost-connection: %u of a raw client's", kernel.tcps[k]->in.place);
        for (unsigned int k = 0; k < kernel.tcp_count; k++)
            for (unsigned int n = 0; n < RAW_OPS; n++)
                if (kernel.tcps[k]->in.is_waiting && raw->ops[n].token &&
                    raw->ops[n].verb == VERB_ACCEPT && !raw->may_end &&
                    raw->ids[raw->ops[n].id].state == ID_LISTENING &&
                    !raw->ids[raw->ops[n].id].has_closed &&
                    raw->ids[raw->ops[n].id].port < INBOUND_PORT &&
                    raw->ids[raw->ops[n].id].port ==
                        inbound_port(&kernel.tcps[k]->in.listener->local))
                    sim_fail("never-accepted: op %llu of a raw client",
                             (unsigned long long)raw->ops[n].token);
    }
}

void raw_leave_all(void)
{
    for (unsigned int i = 0; i < RAW_CLIENTS; i++)
        if (raws[i].is_there)
            raw_forget(&raws[i]);
}
