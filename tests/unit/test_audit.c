/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The audit by itself: the written forms, and a journal that is stopped, restarted, or not there.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "daemon/audit/audit.h"
#include "daemon/audit/connect_report.h"
#include "daemon/core/limits.h"
#include "daemon/core/quota.h"
#include "daemon/identity/identity.h"
#include "daemon/session/sock.h"
#include "proto/codec.h"
#include "proto/errors.h"
#include "tests/lib/suite.h"
#include "tests/unit/daemon_session.h"
#include "tests/unit/denied_client.h"

/* ---- written forms ---- */

static void fill(char *text, size_t size, char c)
{
    memset(text, c, size - 1);
    text[size - 1] = '\0';
}

static void fill_report(struct connect_report *report)
{
    memset(report, 0xff, sizeof(*report));
    report->attempt_count = REPORT_ATTEMPTS_MAX;
    for (unsigned int i = 0; i < REPORT_ATTEMPTS_MAX; i++) {
        report->attempts[i].address.address_len = 16;
        report->attempts[i].error = ERR_ADDRESS_FAMILY_NOT_SUPPORTED;
        report->attempts[i].outcome = REPORT_FAILED;
    }
    for (unsigned int i = 0; i < REPORT_LOOKUPS; i++) {
        report->lookups[i].server.address_len = 16;
        report->lookups[i].error = ERR_ADDRESS_FAMILY_NOT_SUPPORTED;
        report->lookups[i].outcome = REPORT_FAILED;
        report->lookups[i].source = RESOLVER_SERVER;
    }
}

/* Everything at its longest, of bytes that the form makes longest. */
static size_t write_longest(enum audit_format format, char byte, char *out, size_t cap)
{
    static char name[CODEC_NAME_MAX + 1], host[CODEC_HOST_MAX + 1], rule[AUDIT_RULE_MAX];
    static char reason[POLICY_REASON_MAX + 1], listener[32];
    struct endpoint remote = {.address_len = 16, .port = 65535, .scope_id = UINT32_MAX};
    struct connect_report report;
    struct identity identity = {.uid = UINT32_MAX, .gid = UINT32_MAX, .pid = 4194304};
    struct audit_entry entry = {
        .event = AUDIT_CLOSE,
        .identity = &identity,
        .pid = identity.pid,
        .sharer = UINT64_MAX,
        .session = UINT64_MAX,
        .socket = UINT64_MAX,
        .listener = listener,
        .name = name,
        .host = host,
        .remote = &remote,
        .port = 65535,
        .rule = rule,
        .reason = reason,
        .is_learned = true,
        .error = ERR_NO_BUFFER_SPACE,
        .bytes_in = UINT64_MAX,
        .bytes_out = UINT64_MAX,
        .duration_ms = UINT64_MAX,
        .count = UINT64_MAX,
        .report = &report,
    };

    fill_report(&report);
    memset(remote.address, 0xff, sizeof(remote.address));
    fill(name, sizeof(name), byte);
    fill(host, sizeof(host), byte);
    fill(rule, sizeof(rule), byte);
    fill(reason, sizeof(reason), byte);
    fill(listener, sizeof(listener), byte);
    fill(identity.unit, sizeof(identity.unit), byte);
    fill(identity.user_unit, sizeof(identity.user_unit), byte);
    fill(identity.cgroup, sizeof(identity.cgroup), byte);
    return audit_entry_write(&entry, format, out, cap);
}

START_TEST(test_the_longest_entry_fits)
{
    static const char bytes[] = {'a', '\n', '\x01', '\xff', '"'};
    char out[AUDIT_ENTRY_MAX];

    for (size_t i = 0; i < sizeof(bytes); i++) {
        ck_assert_uint_gt(write_longest(AUDIT_JSON, bytes[i], out, sizeof(out)), 0);
        ck_assert_uint_gt(write_longest(AUDIT_NATIVE, bytes[i], out, sizeof(out)), 0);
    }
    ck_assert_uint_eq(write_longest(AUDIT_JSON, 'a', out, 100), 0);
}
END_TEST

static bool has(const char *text, size_t len, const char *part, size_t part_len)
{
    return memmem(text, len, part, part_len) != NULL;
}

#define ck_assert_has(text, len, part) ck_assert(has(text, len, part, sizeof(part) - 1))

START_TEST(test_no_text_ends_its_field)
{
    struct identity identity = client(7);
    struct audit_entry entry = denial_of(&identity, NULL);
    char out[AUDIT_ENTRY_MAX];
    size_t len;

    entry.name = "a\nASOCK_UID=0";
    len = audit_entry_write(&entry, AUDIT_NATIVE, out, sizeof(out));
    ck_assert_has(out, len, "\nASOCK_CLIENT_NAME\n\x0d\0\0\0\0\0\0\0a\nASOCK_UID=0\n");
    entry.name = "\"}\\\n\x80\xc3\xa4\xed\xa0\x80";
    len = audit_entry_write(&entry, AUDIT_JSON, out, sizeof(out));
    ck_assert_has(
        out, len,
        "\"ASOCK_CLIENT_NAME\":\"\\\"}\\\\\\u000a\\\\x80\xc3\xa4\\\\xed\\\\xa0\\\\x80\"}\n");
    ck_assert_ptr_eq(memchr(out, '\n', len), out + len - 1);
    entry.name = "\xc2\x9b\xc2\xa0\x7f";
    len = audit_entry_write(&entry, AUDIT_JSON, out, sizeof(out));
    ck_assert_has(out, len, "\"ASOCK_CLIENT_NAME\":\"\\u009b\xc2\xa0\\u007f\"}\n");
}
END_TEST

/* A user of a namespace that has no number here is not user 4294967295. */
START_TEST(test_an_id_that_is_not_known_is_not_there)
{
    struct identity identity = client(IDENTITY_ID_UNKNOWN);
    struct audit_entry entry = denial_of(&identity, NULL);
    char out[AUDIT_ENTRY_MAX];
    size_t len;

    identity.gid = IDENTITY_ID_UNKNOWN;
    len = audit_entry_write(&entry, AUDIT_JSON, out, sizeof(out));
    ck_assert(!has(out, len, "ASOCK_UID", 9));
    ck_assert(!has(out, len, "ASOCK_GID", 9));
    ck_assert(!has(out, len, "4294967295", 10));
    ck_assert_has(out, len, "uid unknown");
}
END_TEST

/* Of a client that listens, of its peers, and of what it sends without a connection. */
START_TEST(test_messages_are_sentences)
{
    struct identity identity = client(5);
    struct audit_entry entry = denial_of(&identity, NULL);
    struct endpoint local = {.address = {10, 0, 0, 1}, .address_len = 4, .port = 80};
    struct endpoint peer = {.address = {192, 0, 2, 1}, .address_len = 4, .port = 99};
    char out[AUDIT_ENTRY_MAX];

    entry.local = &local;
    audit_entry_describe(&entry, out, sizeof(out));
    ck_assert_str_eq(out, "some.service (uid 5), listening on 10.0.0.1 port 80");
    entry.remote = &peer;
    audit_entry_describe(&entry, out, sizeof(out));
    ck_assert_str_eq(out, "some.service (uid 5), a connection from 192.0.2.1 on 10.0.0.1 port 80");
    entry.local = NULL;
    audit_entry_describe(&entry, out, sizeof(out));
    ck_assert_str_eq(out, "some.service (uid 5) to 192.0.2.1 port 443");
    entry.event = AUDIT_CLOSE;
    entry.error = 0;
    entry.is_datagram = true;
    entry.duration_ms = 3000;
    ck_assert_has(
        out, audit_entry_write(&entry, AUDIT_JSON, out, sizeof(out)),
        "\"traffic between some.service (uid 5, pid 77) and 192.0.2.1 port 443 ended after "
        "3.000 s, 0 bytes in, 0 out\"");
}
END_TEST

/* ---- a journal ---- */

static struct core *core;
static struct audit *audit;
static char directory[] = "/tmp/asock-audit-XXXXXX";
static char path[64];
static int journal = -1;

static void start_journal(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    strcpy(addr.sun_path, path);
    journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(journal, (struct sockaddr *)&addr, sizeof(addr)), 0);
}

static void stop_journal(void)
{
    close(journal);
    unlink(path);
    journal = -1;
}

static void setup_without(void)
{
    struct audit_config config = {.mode = POLICY_AUDIT_YES, .journal = path};

    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/socket", directory);
    core = core_new();
    ck_assert_int_eq(audit_new(&core->worker, &config, &audit), 0);
    core->worker.audit = audit;
    quota_limit(core->worker.quota, QUOTA_AUDIT, AUDIT_QUEUE_BYTES);
}

static void setup(void)
{
    setup_without();
    start_journal();
    core_pass(core, 2 * AUDIT_RETRY_MS);
}

static void teardown(void)
{
    core_free(core);
    if (journal >= 0)
        stop_journal();
    rmdir(directory);
}

/* Entries that the journal gets; *ret_lost: the sum of those reported to it. */
static unsigned int read_journal(uint64_t *ret_lost)
{
    char text[AUDIT_ENTRY_MAX + 1];
    unsigned int n = 0;
    const char *count;
    ssize_t len;

    *ret_lost = 0;
    while ((len = recv(journal, text, sizeof(text) - 1, 0)) > 0) {
        text[len] = '\0';
        count = strstr(text, "ASOCK_EVENT=lost\n") ? strstr(text, "ASOCK_COUNT=") : NULL;
        if (count)
            *ret_lost += strtoull(count + strlen("ASOCK_COUNT="), NULL, 10);
        else
            n++;
    }
    return n;
}

/* Reads until nothing more comes, however long the retries take. */
static unsigned int read_all(uint64_t *ret_lost)
{
    unsigned int total = 0;

    *ret_lost = 0;
    for (int idle = 0; idle < 3;) {
        uint64_t lost;
        unsigned int n = read_journal(&lost);

        idle = n + lost > 0 ? 0 : idle + 1;
        total += n;
        *ret_lost += lost;
        core_pass(core, AUDIT_RETRY_MS);
    }
    return total;
}

static struct quota *user_of(uint32_t uid)
{
    char key[16];

    snprintf(key, sizeof(key), "%u", uid);
    return quota_child(core->worker.quota, QUOTA_USER, key);
}

static void tell_of(uint32_t uid, unsigned int count)
{
    struct identity identity = client(uid);
    struct audit_entry entry = denial_of(&identity, "a.example");
    struct quota *user = user_of(uid);

    entry.event = AUDIT_CONNECT;
    entry.quota = user;
    for (unsigned int i = 0; i < count; i++)
        audit_tell(audit, &entry, NULL);
    core_settle(core);
    quota_unref(user);
}

static void tell(unsigned int count)
{
    tell_of(7, count);
}

/* Of a user for which no shares are counted. */
static void tell_of_nobody(unsigned int count)
{
    struct identity identity = client(7);
    struct audit_entry entry = denial_of(&identity, "a.example");

    entry.event = AUDIT_CONNECT;
    for (unsigned int i = 0; i < count; i++)
        audit_tell(audit, &entry, NULL);
    core_settle(core);
}

TEST_FIXTURE(setup, teardown);

START_TEST(test_a_stopped_journal_costs_entries_no_time)
{
    uint64_t lost;
    unsigned int n, all = AUDIT_QUEUE_ENTRIES;

    tell(1);
    ck_assert_uint_eq(audit_stats(audit).queued, 0);
    tell(all); /* it is not read */
    ck_assert_uint_gt(audit_stats(audit).queued, 0);
    ck_assert_uint_gt(audit_stats(audit).queued, 0);
    ck_assert_uint_le(audit_stats(audit).queued, AUDIT_QUEUE_ENTRIES / 4);
    n = read_all(&lost);
    ck_assert_uint_eq(audit_stats(audit).queued, 0);
    ck_assert_uint_eq(lost, audit_stats(audit).dropped);
    ck_assert_uint_eq(n + lost, all + 1);
}
END_TEST

START_TEST(test_entries_of_nobody_are_bounded)
{
    uint64_t lost;

    tell_of_nobody(2 * AUDIT_QUEUE_ENTRIES);
    ck_assert_uint_le(audit_stats(audit).queued, AUDIT_QUEUE_ENTRIES);
    ck_assert_uint_ge(audit_stats(audit).dropped, AUDIT_QUEUE_ENTRIES - 100);
    read_all(&lost);
}
END_TEST

/*
 * Entries are not read, and one user connects without end: another's entries find their places, and
 * are not late.
 */
START_TEST(test_a_user_does_not_crowd_out_another)
{
    uint64_t dropped, lost;

    tell_of(7, 2 * AUDIT_QUEUE_ENTRIES);
    dropped = audit_stats(audit).dropped;
    ck_assert_uint_gt(dropped, 0);
    tell_of(8, 1000);
    ck_assert_uint_eq(audit_stats(audit).dropped, dropped);
    read_all(&lost);
    ck_assert_uint_eq(lost, dropped);
}
END_TEST

/* What waits is charged as memory, too, until it has been taken. */
START_TEST(test_what_waits_is_charged)
{
    struct quota *user = user_of(7);
    uint64_t lost;

    tell(1000);
    ck_assert_uint_gt(quota_usage(user, QUOTA_AUDIT).used, 100 * AUDIT_RECORD_MIN);
    ck_assert_uint_eq(quota_usage(user, QUOTA_AUDIT).used, quota_usage(user, QUOTA_MEMORY).used);
    read_all(&lost);
    ck_assert_uint_eq(quota_usage(user, QUOTA_AUDIT).used, 0);
    ck_assert_uint_eq(quota_usage(user, QUOTA_MEMORY).used, 0);
    quota_unref(user);
}
END_TEST

static unsigned int fired;

static void count_fired(struct ev_loop *loop)
{
    fired += ev_pending_count(loop);
    ev_invoke_pending(loop);
}

/* Watchers that fire in ten turns in which nothing happens. */
static unsigned int count_idle_work(void)
{
    fired = 0;
    ev_set_invoke_pending_cb(core->worker.loop, count_fired);
    for (int i = 0; i < 10; i++)
        ev_run(core->worker.loop, EVRUN_NOWAIT);
    ev_set_invoke_pending_cb(core->worker.loop, ev_invoke_pending);
    return fired;
}

START_TEST(test_a_full_socket_does_not_keep_the_loop_busy)
{
    unsigned int idle = count_idle_work();
    uint64_t lost;

    tell(100);
    ck_assert_uint_gt(audit_stats(audit).queued, 0);
    ck_assert_uint_eq(count_idle_work(), idle);
    read_all(&lost);
    ck_assert_uint_eq(audit_stats(audit).queued, 0);
}
END_TEST

START_TEST(test_a_restarted_journal_gets_what_waits)
{
    uint64_t lost;

    tell(1);
    ck_assert_uint_eq(read_journal(&lost), 1);
    stop_journal();
    start_journal();
    tell(1);
    ck_assert_uint_eq(read_journal(&lost), 1);
    ck_assert_uint_eq(audit_stats(audit).dropped, 0);
    close(journal); /* the socket is there, without a listener */
    tell(2);
    ck_assert_uint_eq(audit_stats(audit).queued, 2);
    unlink(path);
    start_journal();
    core_pass(core, AUDIT_RETRY_MS);
    ck_assert_uint_eq(read_journal(&lost), 2);
}
END_TEST

TEST_FIXTURE(setup_without, teardown);

START_TEST(test_without_a_journal_nothing_is_kept)
{
    uint64_t lost;

    tell(5);
    ck_assert_uint_eq(audit_stats(audit).queued, 0);
    ck_assert_uint_eq(audit_stats(audit).dropped, 5);
    start_journal();
    core_pass(core, 2 * AUDIT_RETRY_MS);
    ck_assert_uint_eq(read_journal(&lost), 0);
    ck_assert_uint_eq(lost, 5);
    tell(1);
    ck_assert_uint_eq(read_journal(&lost), 1);
    ck_assert_uint_eq(lost, 0);
}
END_TEST

/* ---- Audit=required ---- */

static int reserve_of(uint32_t uid, struct audit_record **ret)
{
    struct identity identity = client(uid);
    struct audit_entry entry = denial_of(&identity, "a.example");
    struct quota *user = user_of(uid);
    int r;

    *ret = NULL;
    entry.event = AUDIT_CONNECT;
    entry.quota = user;
    r = audit_reserve(audit, &entry, ret);
    quota_unref(user);
    ck_assert(!*ret == (r < 0));
    return r;
}

static struct audit_record *reserve(int expected)
{
    struct audit_record *record;

    ck_assert_int_eq(reserve_of(7, &record), expected);
    return record;
}

TEST_FIXTURE(setup, teardown);

START_TEST(test_a_reserved_entry_finds_its_place)
{
    struct identity identity = client(7);
    struct audit_entry entry = denial_of(&identity, "a.example");
    struct audit_record *record;
    uint64_t queued, dropped, lost;

    record = reserve(0);
    tell(AUDIT_QUEUE_ENTRIES); /* half of the queue is full: there is no more place for these */
    tell(100);                 /* and none is left behind what the socket has taken of them */
    dropped = audit_stats(audit).dropped;
    queued = audit_stats(audit).queued;
    ck_assert_uint_gt(dropped, 0);
    entry.event = AUDIT_CONNECT;
    audit_tell(audit, &entry, record);
    ck_assert_uint_eq(audit_stats(audit).dropped, dropped);
    ck_assert_uint_eq(audit_stats(audit).queued, queued + 1);
    audit_cancel(reserve(0));
    read_all(&lost);
}
END_TEST

/*
 * One user whose connects have to be recorded has as many of them under way as he can: another's
 * are not denied.
 */
START_TEST(test_a_user_does_not_make_another_s_connects_fail)
{
    static struct audit_record *records[AUDIT_QUEUE_ENTRIES];
    struct audit_record *record;
    unsigned int n = 0;

    while (reserve_of(7, &record) == 0) {
        ck_assert_uint_lt(n, AUDIT_QUEUE_ENTRIES);
        records[n++] = record;
    }
    ck_assert_int_eq(reserve_of(8, &record), 0);
    audit_cancel(record);
    while (n > 0)
        audit_cancel(records[--n]);
    audit_cancel(reserve(0));
}
END_TEST

TEST_FIXTURE(setup_without, teardown);

START_TEST(test_what_cannot_be_recorded_is_refused)
{
    uint64_t lost;

    reserve(-EAGAIN); /* there is no journal */
    start_journal();
    core_pass(core, AUDIT_RETRY_MS);
    audit_cancel(reserve(0));
    tell(1000);
    ck_assert_uint_gt(audit_stats(audit).queued, 0);
    audit_cancel(reserve(0));
    core_pass(core, AUDIT_STUCK_MS + 1000);
    reserve(-EAGAIN); /* there is room, but nothing is taken */
    ck_assert_uint_eq(audit_stats(audit).refused, 2);
    read_all(&lost);
    audit_cancel(reserve(0));
}
END_TEST

START_TEST(test_a_required_connect_is_refused_before_it_begins)
{
    struct pollfd waiting = {.fd = core->listener, .events = POLLIN};
    struct reply reply;
    uint64_t token;

    audit_set_mode(audit, POLICY_AUDIT_REQUIRED);
    core_open(core, 1);
    token = core_connect(core, 1, core->port);
    reply = core_completion(core, token);
    ck_assert_uint_eq(reply.error, ERR_ACCESS_DENIED);
    ck_assert_uint_eq(core->worker.fds_used, 0);
    ck_assert_int_eq(poll(&waiting, 1, 0), 0);
    start_journal();
    core_pass(core, AUDIT_RETRY_MS);
    token = core_connect(core, 1, core->port);
    ck_assert_uint_eq(core_completion(core, token).error, ERR_SUCCESS);
}
END_TEST
