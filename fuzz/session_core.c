/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz/session_core.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/audit/monitor.h"
#include "daemon/audit/audit.h"
#include "daemon/verbs/dispatch.h"
#include "daemon/session/inspect.h"
#include "daemon/policy/policy.h"
#include "daemon/session/sock.h"
#include "fuzz/fuzz.h"
#include "proto/errors.h"
#include "proto/frame.h"

int core_listener = -1;
uint16_t core_port, core_dead_port;

static uint64_t now = 1000;

static uint64_t read_clock(void)
{
    return now;
}

/*
 * ------------------------------------------------------------------------------ what stands around
 */

static int bind_loopback(uint16_t *ret_port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    MUST(fd >= 0 && bind(fd, (struct sockaddr *)&addr, len) == 0);
    MUST(getsockname(fd, (struct sockaddr *)&addr, &len) == 0);
    *ret_port = ntohs(addr.sin_port);
    return fd;
}

/* Once per process: a port with a listener, and one without. */
static void make_ports(void)
{
    int room = 4096;

    if (core_listener >= 0)
        return;
    bind_loopback(&core_dead_port);
    core_listener = bind_loopback(&core_port);
    /* Little room on the way, so that little is needed to fill it. */
    MUST(setsockopt(core_listener, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)) == 0);
    MUST(listen(core_listener, 64) == 0);
}

static void begin_list(struct session *s, struct inspect_cursor *cursor)
{
    *cursor = (struct inspect_cursor){.session = s->id};
    walk_begin(&cursor->walk, &s->worker->session_walks, &s->worker->sessions);
}

static void end_list(struct inspect_cursor *cursor)
{
    walk_end(&cursor->walk);
}

static void advance(struct inspect_cursor *cursor)
{
    cursor->place++;
}

static long list_row(struct session *s, struct inspect_cursor *cursor, uint8_t *out, size_t cap)
{
    struct field field = {.name = "place", .number = (int64_t)cursor->place};

    (void)s;
    return cursor->place < 3 ? asock_codec_encode_record(&field, 1, out, cap) : 0;
}

static long show_row(struct session *s, uint64_t id, uint8_t *out, size_t cap)
{
    struct field field = {.name = "id", .number = (int64_t)s->id};

    return id == 0 || id == s->id ? asock_codec_encode_record(&field, 1, out, cap) : -ESRCH;
}

static long stats_row(struct session *s, uint8_t *out, size_t cap)
{
    return show_row(s, 0, out, cap);
}

static int kill_session(struct session *s, uint64_t id)
{
    if (id != s->id)
        return -ESRCH;
    session_end(s, ERR_CONNECTION_ABORTED, "ended by the administrator");
    return 0;
}

static int reload(struct op *op __attribute__((unused)), bool is_closing)
{
    return is_closing ? 0 : -EINVAL;
}

static long judge_question(struct session *s, const uint8_t *question, size_t len, uint8_t *out,
                           size_t cap, char ret_text[static INSPECT_TEXT_MAX])
{
    (void)question;
    if (len > 0)
        return show_row(s, 0, out, cap);
    strcpy(ret_text, "file:1: nothing");
    return -EINVAL;
}

static const struct inspect_ops inspect = {
    .begin = begin_list,
    .end = end_list,
    .advance = advance,
    .list = list_row,
    .show = show_row,
    .stats = stats_row,
    .kill = kill_session,
    .reload = reload,
    .judge = judge_question,
    .learned = list_row,
    .sessions = list_row,
    .denials = list_row,
    .metrics = list_row,
};

static void on_session_gone(struct session *s)
{
    ((struct core *)s->on_gone_data)->session = NULL;
}

static void start_audit(struct core *core, bool is_required)
{
    struct audit_config config = {
        .mode = is_required ? POLICY_AUDIT_REQUIRED : POLICY_AUDIT_YES,
        .journal = "/nonexistent/journal",
    };

    MUST(audit_new(&core->worker, &config, &core->worker.audit) == 0);
}

void core_start(struct core *core, uint8_t manner)
{
    struct session_config config = {
        .worker = &core->worker,
        .kind = manner & CORE_CONTROL ? LISTENER_CONTROL : LISTENER_CLIENT,
        .listener = "default",
        .dispatch = dispatch_frame,
        .on_gone = on_session_gone,
        .on_gone_data = core,
    };
    char why[SESSION_WHY_MAX];
    struct identity identity;
    int pair[2];

    make_ports();
    asock_log_setup(LOG_LEVEL_ERROR);
    memset(core, 0, sizeof(*core));
    MUST(worker_init(&core->worker, read_clock) == 0);
    core->worker.fds_max = 8;
    core->worker.policy = policy_new(manner & CORE_HOSTILE ? POLICY_DENY : POLICY_ANY);
    MUST(core->worker.policy);
    if (manner & CORE_AUDITED)
        start_audit(core, manner & CORE_REQUIRED);
    core->worker.monitor = monitor_new(&core->worker);
    MUST(core->worker.monitor);
    netsock_buffer_limits(&core->worker.buffers);
    core->worker.inspect = &inspect;
    core->worker.limits.ops = 64;
    core->worker.limits.socket_ops = 16;
    MUST(resolver_new(core->worker.loop, NULL, &core->worker.resolver) == 0);
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    MUST(identity_read(pair[0], &identity) == 0);
    MUST(session_new(&config, pair[0], &identity, why, &core->session) == 0);
    core->client = pair[1];
    core->is_hostile = manner & (CORE_HOSTILE | CORE_SILENT);
}

/*
 * ---------------------------------------------------------------------------------------- replies
 */

/* What was received is the next of what the peer wrote; what was peeked at, too. */
static void judge_bytes(struct core *core, const struct told *op, const struct reply *reply,
                        const struct frame *frame)
{
    struct connection *c = &core->connections[op->connection];
    uint64_t bytes = reply->bytes;

    if (reply->body == BODY_SEGMENT)
        core_memory_judge(core, &reply->segment, 1, bytes, c->delivered);
    else if (op->slice_count > 0)
        core_memory_judge(core, op->slices, op->slice_count, bytes, c->delivered);
    else
        bytes = frame->payload_len;
    for (uint32_t i = 0; i < frame->payload_len; i++)
        MUST(frame->payload[i] == (uint8_t)((c->delivered + i) % 251));
    if (!op->is_peek)
        c->delivered += bytes;
    MUST(c->delivered <= c->written);
}

/* Per direction the first in is the first out. */
static void judge_order(const struct core *core, uint64_t token)
{
    const struct told *op = &core->ops[token];

    if ((op->verb != VERB_SEND && op->verb != VERB_RECEIVE) || op->error || op->len == 0)
        return;
    for (uint64_t i = 1; i < token; i++)
        MUST(core->ops[i].verb != op->verb || core->ops[i].connection != op->connection ||
             core->ops[i].is_done || core->ops[i].is_errors_only);
}

static void judge_end(struct core *core, struct told *op, const struct reply *reply)
{
    struct connection *c = &core->connections[op->connection];

    MUST(!op->is_done);
    op->is_done = true;
    op->error = reply->error;
    op->bytes = reply->bytes;
    MUST(reply->bytes <= op->len);
    MUST(op->verb != VERB_SEND || reply->error || reply->bytes == op->len);
    judge_order(core, reply->op);
    if (op->verb == VERB_CANCEL && !(reply->flags & REPLY_FOUND))
        op->target = 0;
    if (op->verb == VERB_CONNECT && reply->body == BODY_CONNECTED && reply->connected.local.port)
        c->local_port = reply->connected.local.port;
}

static void judge(struct core *core, const struct reply *reply, const struct frame *frame)
{
    struct told *op;

    if (reply->kind == KIND_EVENT && reply->event == EVENT_SESSION_ENDED)
        core->is_ended = true;
    if (reply->kind != KIND_COMPLETION || core->is_hostile)
        return;
    MUST(reply->op >= 1 && reply->op <= core->tokens);
    op = &core->ops[reply->op];
    if (op->verb == VERB_RECEIVE && (!reply->error || op->slice_count > 0))
        judge_bytes(core, op, reply, frame);
    if (op->verb == VERB_REGISTER && !reply->error)
        core_memory_made(core, &reply->segment);
    if (!(reply->flags & REPLY_MORE))
        judge_end(core, op, reply);
    else
        MUST(!op->is_done);
}

static void take_replies(struct core *core)
{
    size_t used = 0;
    struct frame frame;
    struct reply reply;
    const char *why;
    long n;

    while ((n = asock_frame_parse(core->in + used, core->in_len - used, &frame)) > 0) {
        MUST(asock_codec_decode_reply(frame.head, frame.head_len, &reply, &why) == 0);
        MUST(!core->is_ended); /* it said that this was its last frame */
        judge(core, &reply, &frame);
        used += (size_t)n;
    }
    MUST(n == 0);
    core->in_len -= used;
    memmove(core->in, core->in + used, core->in_len);
}

static bool read_replies(struct core *core)
{
    const size_t step = 65536;
    ssize_t n;

    if (core->client < 0 || core->is_not_reading)
        return false;
    core->in = realloc(core->in, core->in_len + step);
    MUST(core->in);
    n = core_memory_recv(core, core->in + core->in_len, step);
    if (n == 0)
        core->is_ended = true;
    if (n <= 0)
        return false;
    core->in_len += (size_t)n;
    take_replies(core);
    return true;
}

/*
 * --------------------------------------------------------------------------------------- requests
 */

static bool write_requests(struct core *core)
{
    ssize_t n;

    if (core->client < 0 || core->out_done == core->out_len)
        return false;
    n = send(core->client, core->out + core->out_done, core->out_len - core->out_done,
             MSG_NOSIGNAL);
    if (n > 0)
        core->out_done += (size_t)n;
    return n > 0;
}

void core_raw(struct core *core, const void *data, size_t len)
{
    if (len == 0)
        return;
    core->out = realloc(core->out, core->out_len + len);
    MUST(core->out);
    memcpy(core->out + core->out_len, data, len);
    core->out_len += len;
}

struct told *core_request(struct core *core, struct request *request, const void *payload,
                          uint32_t len)
{
    uint8_t head[CODEC_REQUEST_MAX];
    struct told *op;
    long n;

    if (request->op == 0) {
        if (core->tokens + 1 == CORE_OPS)
            return NULL;
        request->op = ++core->tokens;
        core->ops[request->op].verb = request->verb;
    }
    op = &core->ops[request->op];
    n = asock_codec_encode_request(request, len, head, sizeof(head));
    MUST(n > 0);
    core_raw(core, head, (size_t)n);
    core_raw(core, payload, len);
    return op;
}

/*
 * ------------------------------------------------------------------------------------------- time
 */

/* What this op's end means for those behind it. */
static bool ends_later(const struct core *core, const struct told *op, uint32_t verb)
{
    if (!op->is_done || !op->error)
        return false;
    if (op->verb == VERB_SEND) /* after a failed send nothing is sent (S28) */
        return verb == VERB_SEND &&
               (op->error == ERR_TIMED_OUT || op->error == ERR_CONNECTION_RESET);
    if (op->verb == VERB_CONNECT) /* what waits for a failed connect ends (S23) */
        return core->connections[op->connection].connects == 1 && op->len == 0 &&
               (verb == VERB_SEND || verb == VERB_RECEIVE);
    return false;
}

static void judge_later(const struct core *core, uint64_t token)
{
    for (uint64_t i = token + 1; i <= core->tokens; i++)
        if (core->ops[i].connection == core->ops[token].connection &&
            ends_later(core, &core->ops[token], core->ops[i].verb))
            MUST(core->ops[i].is_done || core->ops[i].is_errors_only);
}

/* Everything has been reported to the client: what should have ended by now has. */
static void judge_now(const struct core *core)
{
    if (core->is_hostile || core->is_ended || core->is_not_reading || core->client < 0 ||
        core->out_done < core->out_len)
        return;
    for (uint64_t token = 1; token <= core->tokens; token++) {
        const struct told *op = &core->ops[token];

        if (op->verb == VERB_CANCEL && op->target && op->is_done)
            MUST(core->ops[op->target].is_done);
        judge_later(core, token);
    }
}

void core_settle(struct core *core)
{
    unsigned int quiet = 0;

    while (quiet < 3) {
        struct stats before = core->worker.stats;
        bool was_there = core->session != NULL, moved = write_requests(core);

        ev_run(core->worker.loop, EVRUN_NOWAIT);
        moved |= read_replies(core) || was_there != (core->session != NULL);
        before.turns = core->worker.stats.turns;
        moved |= memcmp(&before, &core->worker.stats, sizeof(before)) != 0;
        quiet = moved ? 0 : quiet + 1;
    }
    judge_now(core);
}

void core_pass(struct core *core, uint64_t ms)
{
    now += ms;
    core_settle(core);
}

/*
 * ------------------------------------------------------------------------------------------ peers
 */

static struct connection *connection_of_port(struct core *core, uint16_t port)
{
    for (uint32_t i = core->connection_count; i > 0; i--)
        if (core->connections[i - 1].local_port == port && !core->connections[i - 1].is_accepted)
            return &core->connections[i - 1];
    return NULL;
}

static void close_with_reset(int fd)
{
    struct linger rst = {.l_onoff = 1};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &rst, sizeof(rst));
    close(fd);
}

void core_accept(struct core *core)
{
    struct sockaddr_in addr;
    socklen_t len = sizeof(addr);
    int fd;

    core_settle(core);
    while ((fd = accept4(core_listener, (struct sockaddr *)&addr, &len,
                         SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        struct connection *c = connection_of_port(core, ntohs(addr.sin_port));

        if (c) {
            c->is_accepted = true;
            c->peer = fd;
        } else {
            close_with_reset(fd);
        }
    }
}

/* An error is reported once; what follows would look like the end of the stream. */
static void peer_failed(struct connection *c)
{
    if (errno != EAGAIN)
        c->is_broken = true;
}

static bool is_usable(const struct connection *c)
{
    return c->is_accepted && c->peer >= 0 && !c->is_broken;
}

void core_peer_read(struct connection *c, size_t len)
{
    ssize_t n;

    if (!is_usable(c) || c->got_len + len > CORE_STREAM)
        return;
    c->got = realloc(c->got, c->got_len + len + 1);
    MUST(c->got);
    n = read(c->peer, c->got + c->got_len, len + 1);
    if (n > 0)
        c->got_len += (size_t)n;
    else if (n == 0)
        c->peer_saw_end = true;
    else
        peer_failed(c);
}

void core_peer_write(struct connection *c, size_t len)
{
    static uint8_t bytes[65536];
    ssize_t n;

    if (!is_usable(c))
        return;
    for (size_t i = 0; i < len && i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)((c->written + i) % 251);
    n = send(c->peer, bytes, len < sizeof(bytes) ? len : sizeof(bytes), MSG_NOSIGNAL);
    if (n > 0)
        c->written += (uint64_t)n;
    else if (n < 0)
        peer_failed(c);
}

void core_peer_reset(struct connection *c)
{
    if (!c->is_accepted || c->peer < 0)
        return;
    c->is_broken = true;
    close_with_reset(c->peer);
    c->peer = -1;
}

/*
 * ---------------------------------------------------------------------------------------- the end
 */

static bool carries_data(const struct told *op)
{
    return op->verb == VERB_SEND || op->verb == VERB_CONNECT;
}

/*
 * Half a stream never looks like a whole one (S42): behind a clean end no send was cut, and none
 * that was accepted was dropped. (After several connects it is hard to say which of them a send was
 * for.)
 */
static void judge_clean_end(const struct connection *c, const struct told *op)
{
    if (!c->peer_saw_end || op->verb != VERB_SEND || op->len == 0)
        return;
    MUST(op->error == 0 || op->bytes == 0);
    MUST(op->error != ERR_OPERATION_ABORTED || op->is_cancelled || c->connects > 1);
}

/* What the peer got is the sends in their order, each whole but the last. */
static void judge_stream(struct core *core, uint32_t index)
{
    struct connection *c = &core->connections[index];
    uint64_t total = 0;
    size_t at = 0;

    for (uint64_t token = 1; token <= core->tokens; token++) {
        const struct told *op = &core->ops[token];

        if (op->connection != index || !carries_data(op))
            continue;
        if (!op->is_done)
            return; /* how much went is implied, and not remembered here */
        judge_clean_end(c, op);
        total += op->bytes;
        for (uint64_t i = 0; i < op->bytes && at < c->got_len; i++)
            MUST(c->got[at++] == (uint8_t)token);
    }
    MUST(at == c->got_len);
    MUST(!c->peer_saw_end || total == c->got_len || c->connects > 1);
}

static void read_rest(struct connection *c)
{
    for (size_t before = SIZE_MAX; c->got_len != before;) {
        before = c->got_len;
        core_peer_read(c, 65536);
    }
}

static void judge_all(struct core *core)
{
    for (uint64_t token = 1; token <= core->tokens; token++)
        MUST(core->ops[token].is_done || core->ops[token].is_errors_only);
    for (uint32_t i = 0; i < core->connection_count; i++)
        judge_stream(core, i);
}

void core_hang_up(struct core *core)
{
    if (core->client >= 0)
        close(core->client);
    core->client = -1;
}

static void free_connections(struct core *core)
{
    for (uint32_t i = 0; i < core->connection_count; i++) {
        core_peer_reset(&core->connections[i]);
        free(core->connections[i].got);
    }
}

void core_finish(struct core *core)
{
    bool is_judged;

    core->is_not_reading = false;
    core_accept(core);
    for (int round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < core->connection_count; i++)
            read_rest(&core->connections[i]);
        core_pass(core, 20000);
    }
    is_judged = core->client >= 0 && !core->is_hostile && !core->is_ended;
    MUST(!is_judged || core->out_done == core->out_len);
    if (is_judged)
        judge_all(core);
    core_hang_up(core);
    for (int round = 0; round < 4; round++)
        core_pass(core, 60000);
    MUST(!core->session && core->worker.fds_used == 0);
    core->worker.resolver = resolver_free(core->worker.resolver);
    core->worker.policy = policy_unref(core->worker.policy);
    core->worker.audit = audit_free(core->worker.audit);
    core->worker.monitor = monitor_free(core->worker.monitor);
    op_free_spares(&core->worker);
    worker_deinit(&core->worker);
    core_memory_free(core);
    free_connections(core);
    for (int fd; (fd = accept(core_listener, NULL, NULL)) >= 0;)
        close_with_reset(fd);
    free(core->out);
    free(core->in);
}
