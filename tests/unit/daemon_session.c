/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/daemon_session.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/audit/audit.h"
#include "daemon/verbs/dispatch.h"
#include "daemon/policy/kept.h"
#include "daemon/policy/policy.h"
#include "daemon/names/resolver.h"
#include "daemon/net/apart.h"
#include "daemon/net/hangup.h"
#include "daemon/session/sock.h"
#include "proto/errors.h"
#include "proto/frame.h"

uint64_t core_now = 1000;

static uint64_t read_clock(void)
{
    return core_now;
}

static void on_session_gone(struct session *s)
{
    struct core *core = s->on_gone_data;

    core->session = NULL;
}

static void listen_on_loopback(struct core *core)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);

    core->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(core->listener, (struct sockaddr *)&addr, len), 0);
    ck_assert_int_eq(listen(core->listener, 16), 0);
    ck_assert_int_eq(getsockname(core->listener, (struct sockaddr *)&addr, &len), 0);
    core->port = ntohs(addr.sin_port);
}

static void say_hello(struct core *core)
{
    struct request hello = {.verb = VERB_HELLO};
    struct reply reply;
    const uint8_t *payload;
    size_t len;

    hello.hello.version = 1;
    hello.hello.sockets = 1024;
    hello.hello.ops = 4096;
    hello.hello.send_window = 1024 * 1024;
    hello.hello.queued_max = 16 * 1024 * 1024;
    core_request(core, &hello, NULL, 0);
    core_settle(core);
    ck_assert(core_reply(core, &reply, &payload, &len));
    ck_assert_uint_eq(reply.kind, KIND_WELCOME);
}

struct core *core_new_mute(void)
{
    struct core *core = calloc(1, sizeof(*core));
    struct session_config config = {
        .worker = &core->worker,
        .listener = "default",
        .dispatch = dispatch_frame,
        .on_gone = on_session_gone,
        .on_gone_data = core,
    };
    char why[SESSION_WHY_MAX];
    struct identity identity;
    int pair[2];

    ck_assert_int_eq(worker_init(&core->worker, read_clock), 0);
    core->worker.fds_max = 64;
    core->worker.policy = policy_new(POLICY_ANY);
    ck_assert_ptr_nonnull(core->worker.policy);
    ck_assert_int_eq(resolver_new(core->worker.loop, NULL, &core->worker.resolver), 0);
    ck_assert_int_eq(hangups_new(&core->worker, sock_hung_up, &core->worker.hangups), 0);
    ck_assert_int_eq(apart_new(&core->worker, &core->worker.apart), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(identity_read(pair[0], &identity), 0);
    ck_assert_int_eq(session_new(&config, pair[0], &identity, why, &core->session), 0);
    core->client = pair[1];
    listen_on_loopback(core);
    return core;
}

struct core *core_new(void)
{
    struct core *core = core_new_mute();

    say_hello(core);
    return core;
}

void core_free(struct core *core)
{
    if (core->client >= 0)
        close(core->client);
    core_settle(core);
    core_pass(core, 60000); /* drains and lingers have ended */
    ck_assert_ptr_null(core->session);
    ck_assert_uint_eq(core->worker.fds_used, 0);
    resolver_free(core->worker.resolver);
    hangups_free(core->worker.hangups);
    apart_free(core->worker.apart);
    policy_unref(core->worker.policy);
    audit_free(core->worker.audit);
    op_free_spares(&core->worker);
    worker_deinit(&core->worker);
    for (size_t i = 0; i < sizeof(core->hole) / sizeof(core->hole[0]); i++)
        if (core->hole[i] > 0)
            close(core->hole[i]);
    close(core->listener);
    free(core);
}

/*
 * Loopback delivers within the system call that sends, so what has been caused is there to be seen:
 * a turn in which no counter moved was the last one with work.
 */
void core_settle(struct core *core)
{
    struct worker *w = &core->worker;
    unsigned int quiet = 0;

    while (quiet < 3) {
        struct stats before = w->stats;
        uint64_t bytes = core->session ? core->session->transport.bytes_in +
                                             core->session->transport.bytes_out
                                       : 0;
        bool was_there = core->session != NULL;

        ev_run(w->loop, EVRUN_NOWAIT);
        before.turns = w->stats.turns;
        if (memcmp(&before, &w->stats, sizeof(before)) == 0 && was_there == !!core->session &&
            (!core->session ||
             bytes == core->session->transport.bytes_in + core->session->transport.bytes_out))
            quiet++;
        else
            quiet = 0;
    }
}

void core_pass(struct core *core, uint64_t ms)
{
    uint64_t end = core_now + ms;

    while (core_now < end) {
        core_now += end - core_now < 50 ? end - core_now : 50;
        core_settle(core);
    }
}

static uint64_t hurried_clock(void)
{
    static uint64_t ns;

    return ns += TURN_NS / CORE_HURRIED_STEPS;
}

void core_hurry(struct core *core)
{
    core->worker.shares.clock = hurried_clock;
}

uint64_t core_request(struct core *core, struct request *request, const void *payload, size_t len)
{
    uint8_t head[CODEC_REQUEST_MAX];
    long n;

    if (request->op == 0)
        request->op = ++core->next_token;
    n = asock_codec_encode_request(request, (uint32_t)len, head, sizeof(head));
    ck_assert_int_gt(n, 0);
    ck_assert_int_eq(write(core->client, head, (size_t)n), n);
    for (size_t done = 0; done < len;) {
        ssize_t w = write(core->client, (const char *)payload + done, len - done);

        if (w > 0)
            done += (size_t)w;
        else
            ck_assert_int_eq(errno, EAGAIN);
        ev_run(core->worker.loop, EVRUN_NOWAIT);
    }
    core_settle(core); /* time passes from its arrival on */
    return request->op;
}

uint64_t core_open(struct core *core, uint32_t id)
{
    struct request r = {.verb = VERB_OPEN, .socket = id};

    return core_request(core, &r, NULL, 0);
}

uint64_t core_connect(struct core *core, uint32_t id, uint16_t port)
{
    struct request r = {.verb = VERB_CONNECT, .socket = id};

    r.connect.endpoint.address_len = 4;
    memcpy(r.connect.endpoint.address, "\177\0\0\1", 4);
    r.connect.endpoint.port = port;
    return core_request(core, &r, NULL, 0);
}

uint64_t core_send(struct core *core, uint32_t id, const void *data, size_t len,
                   uint32_t timeout_ms)
{
    struct request r = {.verb = VERB_SEND, .socket = id, .timeout_ms = timeout_ms};

    return core_request(core, &r, data, len);
}

uint64_t core_receive(struct core *core, uint32_t id, uint64_t len, uint32_t flags,
                      uint32_t timeout_ms)
{
    struct request r = {.verb = VERB_RECEIVE, .socket = id, .timeout_ms = timeout_ms};

    r.receive.length = len;
    r.receive.flags = flags;
    return core_request(core, &r, NULL, 0);
}

uint64_t core_close(struct core *core, uint32_t id, uint32_t linger_ms)
{
    struct request r = {.verb = VERB_CLOSE, .socket = id};

    r.close.linger_ms = linger_ms;
    return core_request(core, &r, NULL, 0);
}

static void read_client(struct core *core)
{
    ssize_t n;

    if (core->in_start > sizeof(core->in) / 2 || core->in_start == core->in_end) {
        memmove(core->in, core->in + core->in_start, core->in_end - core->in_start);
        core->in_end -= core->in_start;
        core->in_start = 0;
    }
    n = read(core->client, core->in + core->in_end, sizeof(core->in) - core->in_end);
    if (n > 0)
        core->in_end += (size_t)n;
}

bool core_reply(struct core *core, struct reply *ret, const uint8_t **ret_payload, size_t *ret_len)
{
    struct frame frame;
    const char *why;
    long n;

    read_client(core);
    n = asock_frame_parse(core->in + core->in_start, core->in_end - core->in_start, &frame);
    ck_assert_int_ge(n, 0);
    if (n == 0)
        return false;
    ck_assert_int_eq(asock_codec_decode_reply(frame.head, frame.head_len, ret, &why), 0);
    *ret_payload = frame.payload;
    *ret_len = frame.payload_len;
    core->in_start += (size_t)n;
    return true;
}

bool core_has_reply(struct core *core, uint64_t token, struct reply *ret)
{
    const uint8_t *payload;
    size_t len;

    core_settle(core);
    while (core_reply(core, ret, &payload, &len))
        if (ret->op == token)
            return true;
    return false;
}

struct reply core_completion(struct core *core, uint64_t token)
{
    struct reply reply;
    const uint8_t *payload;
    size_t len;

    core_settle(core);
    while (core_reply(core, &reply, &payload, &len)) {
        if (reply.kind == KIND_COMPLETION && reply.op == token && !(reply.flags & REPLY_MORE))
            return reply;
        core_settle(core);
    }
    ck_abort_msg("no completion of op %llu", (unsigned long long)token);
    return reply;
}

int core_connected(struct core *core, uint32_t id)
{
    uint64_t token;
    int peer;

    core_open(core, id);
    token = core_connect(core, id, core->port);
    ck_assert_uint_eq(core_completion(core, token).error, ERR_SUCCESS);
    peer = accept4(core->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    ck_assert_int_ge(peer, 0);
    return peer;
}

void core_connect_by_name(struct core *core, uint32_t id, uint16_t port)
{
    struct request request = {.verb = VERB_CONNECT, .socket = id};
    char service[8];

    snprintf(service, sizeof(service), "%u", port);
    request.connect.host = "localhost";
    request.connect.service = service;
    core_request(core, &request, NULL, 0);
}

uint32_t core_failed(struct core *core)
{
    uint32_t count = 0;
    struct sock *sock;

    if (core->session)
        session_for_each_sock (core->session, sock)
            count += sock->state == SOCK_FAILED;
    return count;
}

uint16_t core_hole(struct core *core)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);

    core->hole[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(core->hole[0], (struct sockaddr *)&addr, len), 0);
    ck_assert_int_eq(listen(core->hole[0], 0), 0);
    ck_assert_int_eq(getsockname(core->hole[0], (struct sockaddr *)&addr, &len), 0);
    for (size_t i = 1; i < sizeof(core->hole) / sizeof(core->hole[0]); i++) {
        core->hole[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (connect(core->hole[i], (struct sockaddr *)&addr, len) < 0)
            ck_assert_int_eq(errno, EINPROGRESS);
    }
    return ntohs(addr.sin_port);
}

void core_allow_lending(struct core *core)
{
    static const char text[] = "[Rules]\nAllow=tcp 127.0.0.1 * +loopback +lend-given\n";
    const struct policy_kept file = {"lend.policy", text, sizeof(text) - 1, 1};
    const struct policy_source source = {.base = POLICY_DENY};
    struct policy *invalid = policy_new_invalid(&source, "none"), *policy = NULL;
    char error[POLICY_ERROR_MAX];

    ck_assert_int_eq(policy_load_kept(invalid, &file, 1, 1, error, &policy), 0);
    policy_unref(invalid);
    policy_unref(core->worker.policy);
    core->worker.policy = policy;
    policy_view_replace(core->session->view, policy, &core->session->identity, "default");
}

void core_lend(struct core *core)
{
    struct request lend = {.verb = VERB_CONNECT, .socket = 1, .connect = {.lend = LEND_GIVEN}};

    core_allow_lending(core);
    core_open(core, 1);
    core_settle(core);
    lend.connect.endpoint = (struct endpoint){.address_len = 4, .port = core->port};
    memcpy(lend.connect.endpoint.address, "\177\0\0\1", 4);
    core_request(core, &lend, NULL, 0);
    core_settle(core);
    while (session_sock(core->session, 1)->state == SOCK_CONNECTING)
        ev_run(core->worker.loop, EVRUN_ONCE);
    core_settle(core);
    ck_assert_uint_eq(core->session->lent_unread, 1);
}
