/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reload is all or nothing, whichever call in it fails; and what learn mode remembers is bounded.
 * The core runs in the test's own process.
 */
#include "daemon/core/quota.h"
#include "daemon/server/reload.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/server/admin.h"
#include "daemon/server/admin_policy.h"
#include "daemon/config.h"
#include "daemon/policy/learn.h"
#include "daemon/session/sock.h"
#include "proto/errors.h"
#include "tests/unit/daemon_session.h"
#include "tests/lib/suite.h"
#include "tests/unit/fault.h"

static char directory[] = "/tmp/asockd-test-reload-XXXXXX";
static char config_path[64], policy_path[64];
static const char *policy_files[] = {policy_path};
static struct core *core;
static struct config arguments;
static struct config_source source;
static struct reload_source reload_source;
static struct reload reload;

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

static void setup(void)
{
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(config_path, sizeof(config_path), "%s/asockd.conf", directory);
    snprintf(policy_path, sizeof(policy_path), "%s/a.policy", directory);
    core = core_new();
    config_init(&arguments);
    arguments.file = config_path;
    arguments.server.policy = (struct policy_source){.files = policy_files, .file_count = 1};
    reload_source = config_source_init(&source, &arguments);
    reload_init(&reload, &core->worker, &reload_source);
    core->worker.inspect = &admin_inspect_ops;
}

static void teardown(void)
{
    struct worker *w = &core->worker;

    close(core->client);
    core->client = -1;
    core_pass(core, 60000);
    ck_assert(list_is_empty(&w->sessions));
    reload_deinit(&reload);
    core_free(core);
    unlink(config_path);
    unlink(policy_path);
    rmdir(directory);
}

static void allow(void)
{
    write_file(config_path, "[Limits]\nSockets=100\n");
    write_file(policy_path, "[Rules]\nAllow=tcp * * +loopback\n");
}

static void deny(void)
{
    write_file(config_path, "[Limits]\nSockets=50\n[Resolver]\nServers=127.0.0.1:5300\n");
    write_file(policy_path, "[Rules]\nDeny=tcp 127.0.0.1 *\nAllow=tcp a.test 1\n");
}

static int run(bool close_them, struct reload_report *ret)
{
    enum fault_side before = fault_enter(FAULT_DAEMON);

    reload_begin(&reload, close_them, NULL);
    do
        ev_run(core->worker.loop, EVRUN_NOWAIT);
    while (reload.is_running || reload.is_wanted);
    fault_enter(before);
    *ret = reload.report;
    return reload.result;
}

static void take(void (*rules)(void), bool close_them, struct reload_report *ret)
{
    rules();
    ck_assert_int_eq(run(close_them, ret), 0);
}

/* A connection, and a connect in progress. */
static int begin(uint64_t *ret_connect)
{
    int peer = core_connected(core, 1);

    core_open(core, 2);
    *ret_connect = core_connect(core, 2, core_hole(core));
    core_settle(core);
    return peer;
}

TEST_FIXTURE(setup, teardown);

/*
 * The report of a connect that ends is not kept then: for want of memory it would not be kept
 * either, and nothing fails.
 */
static void leave_no_room(void)
{
    struct quota *quota = core->session->quota;

    quota_limit(quota, QUOTA_MEMORY, quota_usage(quota, QUOTA_MEMORY).used);
}

START_TEST(test_whatever_fails_all_stays_as_it_was)
{
    static const enum fault_call calls[] = {FAULT_MALLOC, FAULT_CALLOC, FAULT_REALLOC};
    struct worker *w = &core->worker;
    struct reload_report report;
    unsigned int failed = 0;
    struct sock *sock;
    uint64_t connect;
    int peer;

    take(allow, false, &report);
    peer = begin(&connect);
    sock = session_sock(core->session, 1);
    leave_no_room();
    deny();
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        for (int n = 0;; n++) {
            const struct policy *policy = w->policy;
            long blocks = fault_blocks();
            int r;

            fault_arm(FAULT_DAEMON, calls[i], n);
            r = run(false, &report);
            if (!fault_was_hit())
                break;
            ck_assert_int_eq(r, -ENOMEM);
            ck_assert_str_ne(report.error, "");
            ck_assert_ptr_eq(w->policy, policy);
            ck_assert_uint_eq(w->limits.sockets, 100);
            ck_assert(sock_judge(sock).is_allowed);
            ck_assert_ptr_nonnull(session_sock(core->session, 2)->connect);
            ck_assert_int_eq(fault_blocks(), blocks);
            failed++;
        }
        fault_arm(FAULT_NOBODY, FAULT_MALLOC, -1);
        /* Unarmed it has come into force; back for the next call, but for what it has ended. */
        ck_assert(!sock_judge(sock).is_allowed);
        take(allow, false, &report);
        if (!session_sock(core->session, 2)->connect) {
            core_connect(core, 2, core_hole(core));
            core_settle(core);
        }
        deny();
    }
    ck_assert_uint_ge(failed, 8);
    close(peer);
}
END_TEST

START_TEST(test_s24_what_is_in_progress_is_judged_again)
{
    struct reload_report report;
    uint64_t connect;
    int peer;

    take(allow, false, &report);
    peer = begin(&connect);
    take(deny, false, &report);
    ck_assert_uint_eq(report.cancelled, 1);
    ck_assert_uint_eq(report.denied, 1);
    ck_assert_uint_eq(report.closed, 0);
    core_settle(core);
    ck_assert_uint_eq(core_completion(core, connect).error, ERR_ACCESS_DENIED);
    take(deny, true, &report);
    ck_assert_uint_eq(report.cancelled + report.denied, 0);
    ck_assert_uint_eq(report.closed, 1);
    ck_assert_int_eq(session_sock(core->session, 1)->state, SOCK_KILLED);
    close(peer);
}
END_TEST

/* ---- the loop goes on ---- */

#define SOCKETS 24u

static struct list held; /* as a disk that does not answer holds them */
static unsigned int held_count;

static void hold(struct loader *loader, struct loader_job *job)
{
    (void)loader;
    list_append(&held, &job->node);
    held_count++;
}

static void hold_all(void)
{
    list_init(&held);
    held_count = 0;
    reload.ask = hold;
}

static void let_go(void)
{
    while (!list_is_empty(&held)) {
        struct loader_job *job = list_first(&held, struct loader_job, node);

        list_remove(&job->node);
        job->run(job);
        job->done(job);
    }
    core_settle(core);
}

START_TEST(test_s52_the_loop_goes_on_while_files_are_read)
{
    struct worker *w = &core->worker;
    const struct policy *before = w->policy;
    struct request sync = {.verb = VERB_SYNC};

    allow();
    hold_all();
    reload_begin(&reload, false, NULL);
    core_settle(core);
    ck_assert_uint_eq(held_count, 1);
    ck_assert_uint_eq(core_completion(core, core_request(core, &sync, NULL, 0)).error, ERR_SUCCESS);
    ck_assert_ptr_eq(w->policy, before);
    ck_assert(reload.is_running);
    let_go();
    ck_assert_ptr_ne(w->policy, before);
    ck_assert(!reload.is_running);
    /* The policy of before is freed there, too. */
    ck_assert_uint_eq(held_count, 2);
    let_go();
}
END_TEST

/* However often it is asked for meanwhile, it is done once more. */
START_TEST(test_reloads_that_are_asked_for_meanwhile_are_one)
{
    struct worker *w = &core->worker;

    deny();
    hold_all();
    reload_begin(&reload, false, NULL);
    core_settle(core);
    for (unsigned int i = 0; i < 10; i++)
        reload_begin(&reload, i == 5, NULL);
    core_settle(core);
    ck_assert_uint_eq(held_count, 1);
    let_go();
    ck_assert_uint_eq(w->stats.reloads, 1);
    ck_assert(reload.is_running && reload.is_closing);
    let_go();
    ck_assert_uint_eq(w->stats.reloads, 2);
    ck_assert(!reload.is_running);
    let_go();
    ck_assert_uint_eq(held_count, 4);
}
END_TEST

static void take_generation(const struct field *fields, size_t count, void *data)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(fields[i].name, "generation") == 0)
            *(int64_t *)data = fields[i].number;
}

/* Of the policy, as policy show asks for it. */
static int64_t generation(void)
{
    const struct field field = {.name = "row", .number = 0};
    char text[INSPECT_TEXT_MAX] = "";
    uint8_t question[64], answer[INSPECT_RECORD_MAX];
    int64_t number = -1;
    long n = asock_codec_encode_record(&field, 1, question, sizeof(question));

    ck_assert_int_gt(n, 0);
    n = admin_judge(core->session, question, (size_t)n, answer, sizeof(answer), text);
    ck_assert_msg(n > 0, "%s", text);
    ck_assert_int_eq(asock_codec_decode_record(answer, (size_t)n, take_generation, &number), 0);
    return number;
}

/*
 * One connection is judged in a step. Those that are not yet are judged by the new policy all the
 * same.
 */
START_TEST(test_s52_connections_are_judged_in_steps)
{
    struct worker *w = &core->worker;
    int peers[SOCKETS + 1];
    uint32_t before = 0;

    for (uint32_t id = 1; id <= SOCKETS; id++)
        peers[id] = core_connected(core, id);
    deny();
    ck_assert_int_eq(generation(), 0);
    core_hurry(core);
    reload_begin(&reload, false, NULL);
    ev_run(w->loop, EVRUN_NOWAIT);
    ck_assert(reload.is_running);
    ck_assert_int_eq(generation(), 1); /* whose rows are reported from now on */
    ck_assert(!sock_judge(session_sock(core->session, SOCKETS)).is_allowed);
    while (reload.is_running) {
        ev_run(w->loop, EVRUN_NOWAIT);
        ck_assert_uint_le(reload.report.denied - before, CORE_HURRIED_STEPS);
        before = reload.report.denied;
    }
    ck_assert_uint_eq(reload.report.denied, SOCKETS);
    ck_assert_int_eq(generation(), 1);
    for (uint32_t id = 1; id <= SOCKETS; id++)
        close(peers[id]);
}
END_TEST

/*
 * A judgement takes no time, but to take a connect apart that it denies takes as long as a turn
 * may.
 */
static uint64_t clock_by_failed(void)
{
    return core_failed(core) * (uint64_t)TURN_NS;
}

START_TEST(test_s52_what_a_reload_ends_is_of_the_step_that_judges)
{
    uint16_t hole = core_hole(core);
    uint32_t before = 0;

    for (uint32_t id = 1; id <= SOCKETS; id++) {
        core_open(core, id);
        core_connect_by_name(core, id, hole);
    }
    deny();
    core->worker.shares.clock = clock_by_failed;
    reload_begin(&reload, false, NULL);
    while (before < SOCKETS || reload.is_running) {
        ev_run(core->worker.loop, EVRUN_NOWAIT);
        ck_assert_uint_le(core_failed(core) - before, 1);
        before = core_failed(core);
    }
    ck_assert_uint_eq(reload.report.cancelled, SOCKETS);
}
END_TEST

/* ---- learn mode ---- */

static void learn_of(struct learn *store, uint32_t uid, const char *host, uint16_t port,
                     const char *file)
{
    struct identity identity = {.uid = uid};
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x08080808)};
    struct policy_question question = {host, port, (struct sockaddr *)&addr};
    struct policy_answer answer = {.is_allowed = true, .is_learned = true, .file = file, .line = 1};

    learn_note(store, &identity, &(struct policy_nat64){0}, &question, &answer);
}

static void learn(struct learn *store, const char *host, uint16_t port, const char *file)
{
    learn_of(store, 7, host, port, file);
}

TEST_FIXTURE(NULL, NULL);

START_TEST(test_learned_rules_are_bounded_in_number)
{
    struct learn *store = learn_new();
    char host[32];

    for (uint32_t i = 0; i < LEARN_RULES_MAX / 2 + 10; i++) {
        snprintf(host, sizeof(host), "h%u.test", i);
        learn(store, host, 80, "a");
    }
    ck_assert_uint_eq(learn_dropped(store), 10);
    ck_assert_ptr_nonnull(learn_rule_at(store, LEARN_RULES_MAX / 2 - 1));
    ck_assert_ptr_null(learn_rule_at(store, LEARN_RULES_MAX / 2));
    /* What is there is counted as ever. */
    learn(store, "H0.test", 80, "a");
    ck_assert_uint_eq(learn_rule_at(store, 0)->count, 2);
    ck_assert_uint_eq(learn_dropped(store), 10);
    learn_free(store);
}
END_TEST

/*
 * A client that learns without end leaves others half of the room, and each rule names its client.
 */
START_TEST(test_learned_rules_are_shared)
{
    struct learn *store = learn_new();
    const struct learn_rule *rule;
    char host[32];

    for (uint32_t i = 0; i < 2 * LEARN_RULES_MAX; i++) {
        snprintf(host, sizeof(host), "h%u.test", i);
        learn_of(store, 7, host, 80, "a");
    }
    for (uint32_t i = 0; i < LEARN_RULES_MAX / 4; i++) {
        snprintf(host, sizeof(host), "h%u.test", i);
        learn_of(store, 8, host, 80, "a");
    }
    ck_assert_uint_eq(learn_dropped(store), LEARN_RULES_MAX * 3 / 2);
    learn_of(store, 8, "more.test", 80, "a");
    ck_assert_uint_eq(learn_dropped(store), LEARN_RULES_MAX * 3 / 2 + 1);
    ck_assert_uint_eq(learn_rule_at(store, 0)->uid, 7);
    rule = learn_rule_at(store, LEARN_RULES_MAX / 2);
    ck_assert_str_eq(rule->host, "h0.test");
    ck_assert_uint_eq(rule->uid, 8);
    learn_free(store);
}
END_TEST

START_TEST(test_learned_rules_are_bounded_in_bytes)
{
    struct learn *store = learn_new();
    long blocks = fault_blocks();
    char host[260], file[2048];

    memset(file, 'f', sizeof(file) - 1);
    file[sizeof(file) - 1] = '\0';
    for (uint32_t i = 0; i < LEARN_RULES_MAX; i++) {
        snprintf(host, sizeof(host), "%0200u.test", i);
        learn(store, host, 80, file);
    }
    ck_assert_uint_gt(learn_dropped(store), LEARN_RULES_MAX / 2);
    ck_assert_int_le((fault_blocks() - blocks) * (long)sizeof(file), (long)LEARN_BYTES_MAX / 2);
    /* A shorter one may still fit; nothing more than that. */
    learn(store, "a.test", 80, "");
    learn_free(store);
}
END_TEST

START_TEST(test_learned_rules_differ_in_file_host_and_port)
{
    struct learn *store = learn_new();

    learn(store, "a.test", 80, "a");
    learn(store, "a.test", 81, "a");
    learn(store, "b.test", 80, "a");
    learn(store, "a.test", 80, "b");
    learn(store, NULL, 80, "a");
    learn(store, "A.Test", 80, "a");
    ck_assert_uint_eq(learn_rule_at(store, 0)->count, 2);
    ck_assert_str_eq(learn_rule_at(store, 4)->host, "8.8.8.8");
    ck_assert_ptr_null(learn_rule_at(store, 5));
    learn_free(store);
    learn(NULL, "a.test", 80, "a");
    ck_assert_ptr_null(learn_rule_at(NULL, 0));
}
END_TEST

START_TEST(test_what_cannot_be_learned_without_memory_is_counted)
{
    struct learn *store = learn_new();
    enum fault_side before = fault_enter(FAULT_DAEMON);

    fault_arm(FAULT_DAEMON, FAULT_MALLOC, 0);
    learn(store, "a.test", 80, "a");
    fault_enter(before);
    ck_assert(fault_was_hit());
    ck_assert_uint_eq(learn_dropped(store), 1);
    learn(store, "a.test", 80, "a");
    ck_assert_uint_eq(learn_rule_at(store, 0)->count, 1);
    learn_free(store);
}
END_TEST
