/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <sys/socket.h>

#include "fuzz/fuzz.h"
#include "fuzz/session_core.h"
#include "proto/errors.h"
#include "proto/frame.h"

/*
 * A client's life as the input tells it: byte by byte a step with its arguments, of the client
 * (three sockets), of the peers behind it, of time. Each request must be answered once, what
 * arrives must be what was sent, a stream may end cleanly only when it is whole, and nothing may be
 * left at the end. The first byte says what kind of client it is (session_core.h).
 */

#define SOCKETS 3
#define BIG 70000

struct script {
    const uint8_t *at, *end;
};

struct client {
    struct core core;
    struct {
        bool is_open;
        uint32_t connection;
        uint64_t chain;      /* token of an unfinished chain; 0: none */
        uint64_t chain_rest; /* bytes */
    } sockets[SOCKETS + 1];
};

static uint8_t next(struct script *s)
{
    return s->at < s->end ? *s->at++ : 0;
}

static uint32_t next_id(struct script *s)
{
    return 1 + next(s) % SOCKETS;
}

/* Small numbers mostly, and some that fill every buffer on the way. */
static uint32_t next_len(struct script *s)
{
    uint8_t n = next(s);

    return n < 128 ? n : (uint32_t)(n - 127) * (BIG / 128);
}

static uint32_t next_timeout(struct script *s)
{
    uint8_t n = next(s);

    return n < 192 ? 0 : (n - 191) * 100u;
}

static struct connection *connection_of(struct client *c, uint32_t id)
{
    return &c->core.connections[c->sockets[id].connection];
}

static struct told *request(struct client *c, struct request *r, const void *payload, uint32_t len)
{
    struct told *op = core_request(&c->core, r, payload, len);

    if (op)
        op->connection = c->sockets[r->socket].connection;
    return op;
}

/* What is sent says which send it is of. */
static struct told *request_with_data(struct client *c, struct request *r, uint32_t len,
                                      uint64_t total)
{
    static uint8_t bytes[BIG + 1];
    struct told *op;

    memset(bytes, (int)(uint8_t)(r->op ? r->op : c->core.tokens + 1), len);
    op = request(c, r, bytes, len);
    if (op && total)
        op->len = total;
    return op;
}

/*
 * ------------------------------------------------------------------------------------------ steps
 */

static void step_open(struct client *c, struct script *s)
{
    struct request r = {.verb = VERB_OPEN, .socket = next_id(s)};

    if (c->sockets[r.socket].is_open || c->core.connection_count == CORE_CONNECTIONS)
        return;
    c->sockets[r.socket].connection = c->core.connection_count;
    r.open.family = next(s) % 3;
    if (!request(c, &r, NULL, 0))
        return;
    c->core.connection_count++;
    c->sockets[r.socket].is_open = true;
    c->sockets[r.socket].chain = 0;
}

static void set_destination(struct request *r, uint8_t choice)
{
    r->connect.endpoint.port = choice & 1 ? core_dead_port : core_port;
    memcpy(r->connect.endpoint.address, "\177\0\0\1", 4);
    r->connect.endpoint.address_len = 4;
    if (choice & 2) {
        static char service[16];

        snprintf(service, sizeof(service), "%u", (unsigned int)r->connect.endpoint.port);
        r->connect.endpoint.address_len = 0;
        r->connect.host = choice & 4 ? "127.0.0.1" : "localhost";
        r->connect.service = service;
    }
}

static void step_connect(struct client *c, struct script *s)
{
    struct request r = {.verb = VERB_CONNECT, .socket = next_id(s)};
    uint32_t len;

    set_destination(&r, next(s));
    len = next_len(s);
    r.timeout_ms = next_timeout(s);
    if (request_with_data(c, &r, len, len))
        connection_of(c, r.socket)->connects++;
}

static void step_send(struct client *c, struct script *s)
{
    struct request r = {.verb = VERB_SEND, .socket = next_id(s)};
    uint32_t len = next_len(s);
    struct told *op;

    r.timeout_ms = next_timeout(s);
    r.flags = next(s) == 255 ? REQUEST_ERRORS_ONLY : 0;
    if (c->sockets[r.socket].chain)
        return;
    op = request_with_data(c, &r, len, len);
    if (op)
        op->is_errors_only = r.flags != 0;
}

static void step_chain(struct client *c, struct script *s)
{
    struct request r = {.verb = VERB_SEND, .socket = next_id(s)};
    uint32_t len = next_len(s), rest = next_len(s) + 1;

    r.timeout_ms = next_timeout(s);
    if (c->sockets[r.socket].chain)
        return;
    r.send.more = true;
    r.send.total_len = len + rest;
    if (!request_with_data(c, &r, len, len + rest))
        return;
    c->sockets[r.socket].chain = r.op;
    c->sockets[r.socket].chain_rest = rest;
}

static void step_piece(struct client *c, struct script *s)
{
    struct request r = {.verb = VERB_SEND, .socket = next_id(s)};
    uint32_t len = next_len(s);
    uint64_t *rest = &c->sockets[r.socket].chain_rest;

    r.op = c->sockets[r.socket].chain;
    if (!r.op)
        return;
    r.send.abandon = next(s) % 8 == 7;
    if (r.send.abandon)
        len = 0;
    else if (len > *rest)
        len = (uint32_t)*rest;
    *rest -= len;
    r.send.more = !r.send.abandon && *rest > 0;
    request_with_data(c, &r, len, 0);
    if (!r.send.more)
        c->sockets[r.socket].chain = 0;
}

static void step_receive(struct client *c, struct script *s)
{
    struct request r = {.verb = VERB_RECEIVE, .socket = next_id(s)};
    struct told *op;

    r.receive.length = next_len(s);
    r.receive.flags = next(s) % 4;
    r.timeout_ms = next_timeout(s);
    op = request(c, &r, NULL, 0);
    if (!op)
        return;
    op->len = r.receive.length;
    op->is_peek = r.receive.flags & RECEIVE_PEEK;
}

/* If its connection has ended by then, the next one is another one for the judge, too. */
static void disconnect(struct client *c, uint32_t id, bool abort, uint32_t timeout_ms)
{
    struct request r = {.verb = VERB_DISCONNECT, .socket = id, .timeout_ms = timeout_ms};
    const struct told *op;

    if (c->core.connection_count == CORE_CONNECTIONS)
        return;
    r.disconnect.abort = abort;
    op = request(c, &r, NULL, 0);
    core_settle(&c->core);
    if (!op || !op->is_done || (op->error && op->error != ERR_CONNECTION_RESET))
        return;
    c->sockets[id].connection = c->core.connection_count++;
    c->sockets[id].chain = 0;
}

static void step_shutdown(struct client *c, struct script *s)
{
    struct request r = {.verb = VERB_SHUTDOWN, .socket = next_id(s)};
    uint8_t how = next(s);

    r.timeout_ms = next_timeout(s);
    if (how >= 240) {
        disconnect(c, r.socket, how % 2, r.timeout_ms);
        return;
    }
    r.shutdown.how = how % 4;
    request(c, &r, NULL, 0);
}

static void close_socket(struct client *c, uint32_t id, uint32_t linger_ms, bool abort)
{
    struct request r = {.verb = VERB_CLOSE, .socket = id};

    r.close.linger_ms = linger_ms;
    r.close.abort = abort;
    if (!request(c, &r, NULL, 0))
        return;
    c->sockets[id].is_open = false;
    c->sockets[id].chain = 0;
}

static void step_close(struct client *c, struct script *s)
{
    uint32_t id = next_id(s), linger = next_timeout(s);

    close_socket(c, id, linger, next(s) > 240);
}

static void step_cancel(struct client *c, struct script *s)
{
    struct request r = {.verb = VERB_CANCEL, .socket = next(s) % (SOCKETS + 1)};
    uint64_t back = next(s);

    if (back >= c->core.tokens)
        return;
    r.cancel.target = c->core.tokens - back;
    if (!request(c, &r, NULL, 0))
        return;
    c->core.ops[r.cancel.target].is_cancelled = true;
    c->core.ops[r.op].target = r.cancel.target;
}

static void step_option(struct client *c, struct script *s)
{
    struct request r = {.socket = next_id(s)};
    uint8_t option = next(s);

    r.verb = option & 1 ? VERB_SET_OPTION : VERB_GET_OPTION;
    r.option.option = option / 2 % 36;
    r.option.value.is_set = option & 1;
    r.option.value.number = (int64_t)next(s) * 100 - 1;
    request(c, &r, NULL, 0);
}

static void step_plain(struct client *c, struct script *s)
{
    static const uint8_t verbs[] = {VERB_SYNC,     VERB_LIST,    VERB_SHOW,    VERB_STATS,
                                    VERB_KILL,     VERB_RELOAD,  VERB_JUDGE,   VERB_LEARNED,
                                    VERB_SESSIONS, VERB_DENIALS, VERB_MONITOR, VERB_LISTENER,
                                    VERB_TAKE_OVER};
    struct request r = {.verb = verbs[next(s) % sizeof(verbs)]};

    if (r.verb == VERB_KILL)
        r.show.id = next(s);
    if (r.verb == VERB_MONITOR)
        r.timeout_ms = 100; /* else it waits as long as the session */
    if (r.verb == VERB_STATS)
        r.stats.metrics = next(s) & 1;
    if (r.verb == VERB_RELOAD)
        r.reload.close = next(s) & 1;
    if (r.verb == VERB_LISTENER)
        r.listener.name = next(s) & 1 ? "web" : NULL, r.listener.remove = next(s) & 1;
    request(c, &r, "q", r.verb == VERB_JUDGE ? next(s) & 1 : 0);
}

/*
 * ----------------------------------------------------------------------------------- shared memory
 */

static void step_register(struct client *c, struct script *s)
{
    struct request r = {.verb = VERB_REGISTER};

    r.reg.length = (uint64_t)next_len(s) * 4;
    core_memory_forget(&c->core);
    if (request(c, &r, NULL, 0))
        core_settle(&c->core);
}

static void step_unregister(struct client *c, struct script *s)
{
    struct core_buffer *buffer = &c->core.buffers[next(s) % CORE_BUFFERS];
    struct request r = {.verb = VERB_UNREGISTER};

    r.unregister.buffer = buffer->id;
    r.timeout_ms = next_timeout(s);
    if (request(c, &r, NULL, 0))
        core_memory_released(&c->core, buffer->id);
}

/* Full of `byte`; one in sixteen is out of its buffer's range. Returns the bytes of all. */
static uint64_t next_segments(struct client *c, struct script *s, uint8_t byte,
                              struct segment out[static CORE_SLICES], struct segments *ret)
{
    uint64_t total = 0;

    *ret = (struct segments){out, 1 + next(s) % CORE_SLICES};
    for (uint32_t i = 0; i < ret->count; i++) {
        uint8_t which = next(s);

        core_memory_take(&c->core, which, next_len(s), byte, &out[i]);
        total += out[i].length;
        if (which >= 240)
            out[i].offset = UINT64_MAX - which;
    }
    return total;
}

static void step_send_segments(struct client *c, struct script *s)
{
    struct request r = {.verb = VERB_SEND, .socket = next_id(s)};
    struct segment at[CORE_SLICES];
    struct told *op;
    uint64_t len;

    r.timeout_ms = next_timeout(s);
    if (c->sockets[r.socket].chain)
        return;
    len = next_segments(c, s, (uint8_t)(c->core.tokens + 1), at, &r.send.segments);
    op = request(c, &r, NULL, 0);
    if (op)
        op->len = len;
}

static void step_receive_segments(struct client *c, struct script *s)
{
    struct request r = {.verb = VERB_RECEIVE, .socket = next_id(s)};
    struct segment at[CORE_SLICES];
    struct told *op;
    uint64_t len;

    r.receive.flags = next(s) % 8;
    r.timeout_ms = next_timeout(s);
    len = next_segments(c, s, 0, at, &r.receive.segments);
    op = request(c, &r, NULL, 0);
    if (!op)
        return;
    op->len = len;
    op->is_peek = r.receive.flags & RECEIVE_PEEK;
    op->is_multishot = r.receive.flags & RECEIVE_MULTISHOT;
    op->slice_count = op->is_multishot ? 0 : r.receive.segments.count;
    memcpy(op->slices, at, sizeof(at));
}

static void step_credit(struct client *c, struct script *s)
{
    struct request r = {.verb = VERB_CREDIT, .socket = next_id(s)};
    struct segment at[CORE_SLICES];
    uint64_t back = next(s), len;

    if (back >= c->core.tokens)
        return;
    r.credit.target = c->core.tokens - back;
    len = next_segments(c, s, 0, at, &r.credit.segments);
    if (request(c, &r, NULL, 0) && c->core.ops[r.credit.target].is_multishot)
        c->core.ops[r.credit.target].len += len;
}

/*
 * --------------------------------------------------------------------------------------- the rest
 */

static void step_restrict(struct client *c, struct script *s)
{
    static const char *const texts[] = {
        "[Rules]\nAllow=tcp 127.0.0.1 *\nAllow=tcp localhost *\n",
        "[Rules]\nDeny=tcp * * \"no\"\n",
        "[Rules]\nAllow=tcp 127.0.0.1 1\n",
        "[Rules]\nAlow=tcp * *\n",
        "[Limits]\n",
    };
    const char *text = texts[next(s) % 5];
    struct request r = {.verb = VERB_RESTRICT};

    request(c, &r, text, (uint32_t)strlen(text));
}

static void step_raw(struct client *c, struct script *s)
{
    size_t len = next(s), left = (size_t)(s->end - s->at);

    if (!c->core.is_hostile)
        return;
    if (len > left)
        len = left;
    core_raw(&c->core, s->at, len);
    s->at += len;
}

static void step_time(struct client *c, struct script *s)
{
    core_pass(&c->core, next(s) * 20u);
}

static void step_settle(struct client *c, struct script *s)
{
    (void)s;
    core_accept(&c->core);
}

static void step_reading(struct client *c, struct script *s)
{
    (void)s;
    c->core.is_not_reading = !c->core.is_not_reading;
}

static void step_peer_read(struct client *c, struct script *s)
{
    uint32_t id = next_id(s);

    core_peer_read(connection_of(c, id), next_len(s));
}

static void step_peer_write(struct client *c, struct script *s)
{
    uint32_t id = next_id(s);

    core_peer_write(connection_of(c, id), next_len(s));
}

static void step_peer_end(struct client *c, struct script *s)
{
    struct connection *connection = connection_of(c, next_id(s));

    if (next(s) > 200)
        core_peer_reset(connection);
    else if (connection->is_accepted && connection->peer >= 0)
        shutdown(connection->peer, SHUT_WR);
}

static void (*const steps[])(struct client *c, struct script *s) = {
    step_open,          step_connect,          step_send,     step_chain,
    step_piece,         step_receive,          step_shutdown, step_close,
    step_cancel,        step_option,           step_plain,    step_raw,
    step_time,          step_settle,           step_reading,  step_peer_read,
    step_peer_write,    step_peer_end,         step_register, step_unregister,
    step_send_segments, step_receive_segments, step_credit,   step_restrict,
};

static void say_hello(struct client *c)
{
    struct request r = {.verb = VERB_HELLO};

    r.hello.version = 1;
    r.hello.sockets = SOCKETS;
    r.hello.ops = CORE_OPS;
    r.hello.send_window = 1024 * 1024;
    r.hello.queued_max = 16 * 1024 * 1024;
    r.op = CORE_OPS - 1; /* no token of the others */
    core_request(&c->core, &r, NULL, 0);
    core_settle(&c->core);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct client c;
    struct script s = {data, data + size};
    uint8_t first = next(&s);

    memset(c.sockets, 0, sizeof(c.sockets));
    core_start(&c.core, first);
    c.core.connection_count = 1; /* [0]: of ops on sockets that were never opened */
    if (!(first & CORE_SILENT))
        say_hello(&c);
    /* A few tokens are left for the end. */
    while (s.at < s.end && c.core.tokens < CORE_OPS - 2 * SOCKETS - 2)
        steps[next(&s) % (sizeof(steps) / sizeof(steps[0]))](&c, &s);
    if (first & CORE_DIES)
        core_hang_up(&c.core);
    for (uint32_t id = 1; id <= SOCKETS; id++)
        close_socket(&c, id, 0, false);
    core_finish(&c.core);
    return 0;
}
