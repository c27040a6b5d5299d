/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Daemon and library in one process, and one call that fails: the N-th allocation, the N-th system
 * call, for every N that a scenario reaches on either side. Whatever fails, each op that was
 * accepted completes exactly once, nothing leaks, no descriptor stays open, and the next client is
 * served.
 */
#include <arpa/inet.h>
#include <asock/asock.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/server/admin.h"
#include "daemon/verbs/dispatch.h"
#include "daemon/core/loop.h"
#include "daemon/session/op.h"
#include "daemon/policy/policy.h"
#include "daemon/names/resolver.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "tests/lib/suite.h"
#include "tests/unit/fault.h"

#define TURNS 400 /* more than any scenario takes */
#define OPS 8

struct stage {
    struct worker worker;
    struct policy *policy;
    bool has_session;
    asock_context *context;
    asock_socket *socket;
    asock_op *ops[OPS];
    int op_count;
    int pending;  /* accepted and not completed */
    int failures; /* ops that ended in an error, calls that were refused */
    int listener, peer;
    struct sockaddr_in addr;
    char service[8];
};

static uint64_t now = 1000; /* stands still unless the stage waits */
static char big[3 * 1024 * 1024];
static char buffer[512 * 1024];

static uint64_t read_clock(void)
{
    return now;
}

static void on_session_gone(struct session *s)
{
    struct stage *stage = s->on_gone_data;

    stage->has_session = false;
}

/* ---- the daemon's side ---- */

static void turn_daemon(struct stage *stage)
{
    enum fault_side before = fault_enter(FAULT_DAEMON);

    ev_run(stage->worker.loop, EVRUN_NOWAIT);
    fault_enter(before);
}

static void start_session(struct stage *stage, int fd)
{
    struct session_config config = {
        .worker = &stage->worker,
        .listener = "default",
        .dispatch = dispatch_frame,
        .on_gone = on_session_gone,
        .on_gone_data = stage,
    };
    enum fault_side before;
    char why[SESSION_WHY_MAX];
    struct session *session;
    struct identity identity;
    int r;

    ck_assert_int_eq(identity_read(fd, &identity), 0);
    before = fault_enter(FAULT_DAEMON);
    r = session_new(&config, fd, &identity, why, &session);
    fault_enter(before);
    stage->has_session = r == 0;
    if (r < 0) {
        /* As the listener does it. */
        identity_deinit(&identity);
        close(fd);
    }
}

static void stage_listen(struct stage *stage)
{
    socklen_t len = sizeof(stage->addr);

    stage->addr = (struct sockaddr_in){.sin_family = AF_INET,
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    stage->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(bind(stage->listener, (struct sockaddr *)&stage->addr, len), 0);
    ck_assert_int_eq(listen(stage->listener, 16), 0);
    ck_assert_int_eq(getsockname(stage->listener, (struct sockaddr *)&stage->addr, &len), 0);
    snprintf(stage->service, sizeof(stage->service), "%u", ntohs(stage->addr.sin_port));
}

static void stage_begin(struct stage *stage)
{
    memset(stage, 0, sizeof(*stage));
    stage->peer = -1;
    stage->policy = policy_new(POLICY_ANY);
    ck_assert_ptr_nonnull(stage->policy);
    ck_assert_int_eq(worker_init(&stage->worker, read_clock), 0);
    stage->worker.fds_max = 64;
    stage->worker.policy = stage->policy;
    stage->worker.inspect = &admin_inspect_ops;
    ck_assert_int_eq(resolver_new(stage->worker.loop, NULL, &stage->worker.resolver), 0);
    stage_listen(stage);
}

/* ---- the library's side ---- */

static void on_complete(asock_op *op, void *userdata)
{
    struct stage *stage = userdata;
    enum fault_side before = fault_enter(FAULT_NOBODY);

    stage->pending -= !(asock_op_get_result_flags(op) & ASOCK_MORE);
    ck_assert_int_ge(stage->pending, 0); /* exactly once */
    fault_enter(before);
    if (asock_op_get_error(op) != ASOCK_SUCCESS)
        stage->failures++;
}

/* The peer echoes what it gets and ends when its input ends. */
static void turn_peer(struct stage *stage)
{
    static char echo[256 * 1024];
    ssize_t n;

    if (stage->peer < 0)
        stage->peer = accept4(stage->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (stage->peer < 0)
        return;
    while ((n = read(stage->peer, echo, sizeof(echo))) > 0)
        if (send(stage->peer, echo, (size_t)n, MSG_NOSIGNAL) < 0)
            return;
    if (n == 0)
        shutdown(stage->peer, SHUT_WR);
}

static void turn(struct stage *stage)
{
    enum fault_side before;

    if (stage->context) {
        before = fault_enter(FAULT_LIBRARY);
        asock_context_process(stage->context);
        fault_enter(before);
    }
    turn_daemon(stage);
    turn_peer(stage);
}

static void settle(struct stage *stage)
{
    for (int i = 0; i < TURNS && stage->pending > 0; i++) {
        turn(stage);
        now += 10; /* a retry's delay is short */
    }
}

static asock_op *new_op(struct stage *stage)
{
    asock_op *op = NULL;

    if (asock_op_new(stage->context, &op) < 0) {
        stage->failures++;
        return NULL;
    }
    stage->ops[stage->op_count++] = op;
    asock_op_set_callback(op, on_complete, stage);
    return op;
}

/* What a submission returned. */
static void submitted(struct stage *stage, asock_op *op, int r)
{
    if (r == 1)
        stage->pending++;
    else if (r < 0 || asock_op_get_error(op) != ASOCK_SUCCESS)
        stage->failures++;
}

typedef void (*scenario_fn)(struct stage *stage);

static void do_connect(struct stage *stage)
{
    asock_op *op = new_op(stage);

    if (!op || asock_op_set_endpoint(op, (struct sockaddr *)&stage->addr, sizeof(stage->addr)) < 0)
        return;
    submitted(stage, op, asock_connect(stage->socket, op));
}

static void do_connect_by_name(struct stage *stage)
{
    asock_op *op = new_op(stage);

    if (!op || asock_op_set_host(op, "localhost", stage->service) < 0)
        return;
    submitted(stage, op, asock_connect(stage->socket, op));
}

static void do_connect_with_data(struct stage *stage)
{
    asock_op *op = new_op(stage);

    if (!op || asock_op_set_endpoint(op, (struct sockaddr *)&stage->addr, sizeof(stage->addr)) < 0)
        return;
    asock_op_set_buffer(op, big, 1000);
    submitted(stage, op, asock_connect(stage->socket, op));
}

static void do_send(struct stage *stage, size_t len)
{
    asock_op *op = new_op(stage);

    if (!op)
        return;
    asock_op_set_buffer(op, big, len);
    submitted(stage, op, asock_send(stage->socket, op));
}

static void do_receive(struct stage *stage, size_t len, unsigned int flags)
{
    asock_op *op = new_op(stage);

    if (!op)
        return;
    asock_op_set_buffer(op, buffer, len);
    asock_op_set_flags(op, flags);
    submitted(stage, op, asock_receive(stage->socket, op));
}

static void do_shutdown(struct stage *stage)
{
    asock_op *op = new_op(stage);

    if (op)
        submitted(stage, op, asock_shutdown(stage->socket, op, ASOCK_SHUTDOWN_SEND));
}

/* A program that must close tries again: one call fails, not two. */
static void do_close(struct stage *stage, int linger_ms)
{
    asock_op *op = new_op(stage);

    if (!op)
        op = new_op(stage);
    if (op)
        submitted(stage, op, asock_close(stage->socket, op, linger_ms));
}

static void settle_but_one(struct stage *stage)
{
    for (int i = 0; i < TURNS && stage->pending > 1; i++)
        turn(stage);
}

/* ---- scenarios ---- */

static void exchange(struct stage *stage)
{
    do_connect(stage);
    do_send(stage, 100);
    do_receive(stage, sizeof(buffer), 0);
    settle(stage);
    do_shutdown(stage);
    do_receive(stage, sizeof(buffer), 0);
}

static void by_name(struct stage *stage)
{
    do_connect_by_name(stage);
    do_receive(stage, 0, 0);
    do_send(stage, 1);
}

static void with_data(struct stage *stage)
{
    do_connect_with_data(stage);
    do_receive(stage, 1000, ASOCK_WAIT_ALL);
}

static void chain(struct stage *stage)
{
    do_connect(stage);
    do_send(stage, sizeof(big));
    do_receive(stage, sizeof(buffer), ASOCK_WAIT_ALL);
}

static void lingering(struct stage *stage)
{
    do_connect(stage);
    do_send(stage, sizeof(big));
    do_close(stage, 5000);
}

static void options(struct stage *stage)
{
    asock_op *op = new_op(stage);

    if (op)
        submitted(stage, op, asock_set_option(stage->socket, op, ASOCK_OPTION_KEEP_ALIVE_TIME, 60));
    op = new_op(stage);
    if (op)
        submitted(stage, op, asock_get_option(stage->socket, op, ASOCK_OPTION_KEEP_ALIVE_TIME));
    do_connect(stage);
    op = new_op(stage);
    if (op)
        submitted(stage, op, asock_get_option(stage->socket, op, ASOCK_OPTION_HOP_LIMIT));
}

static void cancelled(struct stage *stage)
{
    do_connect(stage);
    do_receive(stage, 10, 0);
    settle_but_one(stage);
    if (stage->op_count > 0)
        asock_cancel(stage->ops[stage->op_count - 1]);
}

static void synced(struct stage *stage)
{
    asock_op *op = new_op(stage);

    if (op)
        submitted(stage, op, asock_sync(stage->context, op));
}

/* The answers are not waited for: daemon and library have one thread here. */
static void restricted(struct stage *stage)
{
    static const char *const rules[] = {
        "[Rules]\nAlow=tcp * 1\n", "[Rules]\nAllow=tcp * * +loopback\n",
        "[Rules]\nDeny=tcp * 1 \"reason\"\nAllow=tcp 127.0.0.1 *\n"};

    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++)
        asock_context_restrict(stage->context, rules[i], strlen(rules[i]), 0, NULL, 0);
    do_connect(stage);
    do_send(stage, 10);
}

/* Where the library waits, the others run. */
static void turn_others(void *data)
{
    enum fault_side before = fault_enter(FAULT_NOBODY);

    turn_daemon(data);
    turn_peer(data);
    now += 10;
    fault_enter(before);
}

static asock_buffer *new_buffer(struct stage *stage)
{
    asock_buffer *made = NULL;

    fault_on_poll(turn_others, stage);
    stage->failures += asock_buffer_new(stage->context, 64 * 1024, 10000, &made) < 0;
    fault_on_poll(NULL, NULL);
    return made;
}

static void do_multishot(struct stage *stage, asock_buffer *made)
{
    asock_op *op = new_op(stage);
    asock_pool *pool;

    if (!op || asock_pool_new(made, 100, &pool) < 0)
        return;
    asock_op_set_pool(op, pool);
    submitted(stage, op, asock_receive_multishot(stage->socket, op));
    asock_pool_unref(pool);
}

static void use_shared(struct stage *stage, asock_buffer *made)
{
    char *data = asock_buffer_data(made);
    asock_op *send = new_op(stage), *receive = new_op(stage);

    if (!send || !receive)
        return;
    asock_op_set_buffer(send, data, 3000);
    asock_op_set_buffer(receive, data + 4000, 3000);
    submitted(stage, send, asock_send(stage->socket, send));
    submitted(stage, receive, asock_receive(stage->socket, receive));
    settle(stage);
    do_multishot(stage, made);
    do_send(stage, 5000);
    do_shutdown(stage);
}

static void shared(struct stage *stage)
{
    asock_buffer *made = new_buffer(stage);

    do_connect(stage);
    if (made)
        use_shared(stage, made);
    asock_buffer_unref(made);
    asock_buffer_unref(new_buffer(stage));
}

struct scenario {
    const char *name;
    scenario_fn run;
    int failures; /* when nothing is made to fail */
};

static const struct scenario scenarios[] = {
    {"exchange", exchange},
    {"by name", by_name},
    {"with data", with_data},
    {"chain", chain},
    {"lingering", lingering, 1 /* closed already */},
    {"options", options},
    {"cancelled", cancelled, 1},
    {"synced", synced},
    {"restricted", restricted},
    {"shared", shared},
};
#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

/* ---- one performance ---- */

static void open_context(struct stage *stage)
{
    enum fault_side before;
    int pair[2], r;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    start_session(stage, pair[0]);
    before = fault_enter(FAULT_LIBRARY);
    r = asock_context_new_fd(pair[1], &stage->context);
    if (r == 0)
        r = asock_socket_new(stage->context, AF_UNSPEC, &stage->socket);
    fault_enter(before);
    if (!stage->context)
        close(pair[1]);
    if (r < 0)
        stage->failures++;
}

static void close_context(struct stage *stage)
{
    enum fault_side before = fault_enter(FAULT_LIBRARY);

    for (int i = 0; i < stage->op_count; i++)
        asock_op_unref(stage->ops[i]);
    asock_socket_unref(stage->socket);
    stage->context = asock_context_unref(stage->context);
    fault_enter(before);
}

static void stage_end(struct stage *stage)
{
    struct worker *w = &stage->worker;
    enum fault_side before;

    if (stage->peer >= 0)
        close(stage->peer);
    for (int i = 0; i < TURNS && (stage->has_session || w->fds_used > 0); i++) {
        turn_daemon(stage);
        now += 1000;
    }
    ck_assert(!stage->has_session);
    ck_assert_uint_eq(w->fds_used, 0);
    before = fault_enter(FAULT_DAEMON);
    resolver_free(w->resolver);
    policy_unref(stage->policy);
    op_free_spares(w);
    worker_deinit(w);
    fault_enter(before);
    close(stage->listener);
}

/* Failures that were reported to the program. */
static int perform(const struct scenario *scenario)
{
    static struct stage stage;
    enum fault_side before;
    long blocks = fault_blocks();
    int descriptors = fault_descriptors();

    stage_begin(&stage);
    open_context(&stage);
    if (stage.socket) {
        before = fault_enter(FAULT_LIBRARY);
        scenario->run(&stage);
        fault_enter(before);
        settle(&stage);
        /* What waits for something that the failure has prevented ends with the socket. */
        before = fault_enter(FAULT_LIBRARY);
        do_close(&stage, 0);
        fault_enter(before);
        settle(&stage);
    }
    ck_assert_msg(stage.pending == 0, "%s, %s: %d ops never completed", scenario->name,
                  fault_describe(), stage.pending);
    close_context(&stage);
    stage_end(&stage);
    ck_assert_msg(fault_descriptors() == descriptors, "%s, %s: descriptors", scenario->name,
                  fault_describe());
    ck_assert_msg(!fault_has_shared_memory(), "%s, %s: shared memory", scenario->name,
                  fault_describe());
    ck_assert_msg(fault_blocks() == blocks, "%s, %s: %ld blocks", scenario->name, fault_describe(),
                  fault_blocks() - blocks);
    return stage.failures;
}

static void test_one_call(const struct scenario *scenario, enum fault_side side,
                          enum fault_call call, int reached)
{
    for (int n = 0; n < reached; n++) {
        fault_arm(side, call, n);
        perform(scenario);
        /* What is reached may vary with how bytes fall into turns, never by much. */
        if (!fault_was_hit())
            ck_assert_int_ge(n, reached - (reached < 8 ? 2 : reached / 4));
    }
}

static int test_side(const struct scenario *scenario, enum fault_side side)
{
    int total = 0;

    for (int call = 0; call < FAULT_CALLS; call++) {
        int reached;

        fault_arm(FAULT_NOBODY, FAULT_MALLOC, -1);
        ck_assert_int_eq(perform(scenario), scenario->failures);
        reached = fault_count(side, (enum fault_call)call);
        if (reached == 0)
            continue;
        printf("# %s, %s: %s %d\n", scenario->name, side == FAULT_DAEMON ? "daemon" : "library",
               fault_call_name((enum fault_call)call), reached);
        test_one_call(scenario, side, (enum fault_call)call, reached);
        total += reached;
    }
    /* The next client is served as if nothing had been. */
    fault_arm(FAULT_NOBODY, FAULT_MALLOC, -1);
    ck_assert_int_eq(perform(scenario), scenario->failures);
    return total;
}

/* A change that makes a scenario miss what it reached is seen here. */
static const struct {
    int daemon, library;
} floors[SCENARIOS] = {{30, 24}, {32, 18}, {24, 16}, {50, 42}, {44, 36},
                       {32, 16}, {24, 18}, {10, 8},  {34, 24}, {40, 40}};

START_LOOP_TEST(test_any_one_call_may_fail_in_the_daemon, 0, SCENARIOS)
{
    int total = test_side(&scenarios[_i], FAULT_DAEMON);

    ck_assert_int_ge(total, floors[_i].daemon);
}
END_TEST

START_LOOP_TEST(test_any_one_call_may_fail_in_the_library, 0, SCENARIOS)
{
    int total = test_side(&scenarios[_i], FAULT_LIBRARY);

    ck_assert_int_ge(total, floors[_i].library);
}
END_TEST
