/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What has been counted goes on where it was: by rule, by the worker's objects, by the audit. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/audit/audit.h"
#include "daemon/audit/rule_counts.h"
#include "daemon/core/limits.h"
#include "daemon/core/quota.h"
#include "daemon/policy/kept.h"
#include "tests/lib/suite.h"
#include "tests/unit/denied_client.h"
#include "tests/unit/state_parts.h"

static struct core *old;
static struct taker t;
static struct worker *from, *to;

static void setup(void)
{
    old = core_new();
    taker_init(&t);
    from = &old->worker;
    to = &t.core->worker;
    from->rule_counts = rule_counts_new();
    to->rule_counts = rule_counts_new();
}

static void teardown(void)
{
    rule_counts_free(from->rule_counts);
    core_free(old);
    taker_free(&t);
}

TEST_FIXTURE(setup, teardown);

/* Without sessions. */
static void pass_on(void)
{
    int lock = memfd_create("lock", 0);
    struct state_writer w;
    struct state_reader in;
    const uint8_t *data;
    size_t len;

    ck_assert_int_eq(state_writer_init(&w), 0);
    state_save_daemon(&w, from, lock, 0, 0);
    ck_assert_int_eq(state_finish(&w, &data, &len), 0);
    t.descriptors[0] = lock;
    t.r.descriptor_count = 1;
    ck_assert_int_eq(state_read(&in, data, len), 0);
    ck_assert_int_eq(state_restore(&t.r, &in), 0);
    state_writer_deinit(&w);
}

/* ---- by rule ---- */

static void put_in_force(struct worker *w, const struct policy_kept *files, size_t count)
{
    const struct policy_source source = {.base = POLICY_DENY};
    struct policy *invalid = policy_new_invalid(&source, "it is wrong");
    char error[POLICY_ERROR_MAX];
    struct policy *policy = NULL;

    ck_assert_int_eq(policy_load_kept(invalid, files, count, 1, error, &policy), 0);
    policy_unref(invalid);
    policy_unref(w->policy);
    w->policy = policy;
}

#define FILE_OF(path, text) ((struct policy_kept){path, text, sizeof(text) - 1, 1})
#define RULE_A "Allow=tcp 10.0.0.1 443\n"
#define RULE_B "Allow=tcp 10.0.0.2 443\n"
#define RULE_C "Allow=tcp 10.0.0.3 443\n"

static void count(const char *rule, int times)
{
    for (int i = 0; i < times; i++)
        rule_counts_add(from->rule_counts, rule);
}

/* UINT64_MAX: there is no such rule. */
static uint64_t count_of(const char *name)
{
    const char *rule;
    uint64_t n;

    for (unsigned int i = 0; rule_counts_at(to->rule_counts, i, &rule, &n); i++)
        if (strcmp(rule, name) == 0)
            return n;
    return UINT64_MAX;
}

START_TEST(test_rules_of_the_same_files)
{
    const struct policy_kept files[] = {
        FILE_OF("/etc/a.policy", "[Rules]\n" RULE_A RULE_B),
        FILE_OF("/etc/a.policy:2", "[Rules]\n" RULE_C),
    };

    put_in_force(from, files, 2);
    put_in_force(to, files, 2);
    count("/etc/a.policy:2", 3);
    count("/etc/a.policy:3", 4);
    count("/etc/a.policy:2:2", 5);
    count("", 6);
    count("restriction:9", 7);
    pass_on();
    ck_assert_uint_eq(count_of("/etc/a.policy:2"), 3);
    ck_assert_uint_eq(count_of("/etc/a.policy:3"), 4);
    ck_assert_uint_eq(count_of("/etc/a.policy:2:2"), 5);
    ck_assert_uint_eq(count_of("none"), 6);
    ck_assert_uint_eq(count_of("restriction"), 7);
    ck_assert_uint_eq(count_of("other"), 0);
}
END_TEST

/* A rule takes its count to another line; one that has gone, or changed, loses it. */
START_TEST(test_rules_of_a_file_that_has_changed)
{
    const struct policy_kept before = FILE_OF("/etc/a.policy", "[Rules]\n" RULE_A RULE_B RULE_C);
    const struct policy_kept after = FILE_OF("/etc/a.policy",
                                             "[Rules]\n# new\n" RULE_B "Allow=tcp 10.0.0.3 443  \n"
                                             "Allow=tcp 10.0.0.1 80\n");

    put_in_force(from, &before, 1);
    put_in_force(to, &after, 1);
    count("/etc/a.policy:2", 3);
    count("/etc/a.policy:3", 4);
    count("/etc/a.policy:4", 5);
    pass_on();
    ck_assert_uint_eq(count_of("/etc/a.policy:2"), UINT64_MAX);
    ck_assert_uint_eq(count_of("/etc/a.policy:3"), 4); /* line 3, as it was */
    ck_assert_uint_eq(count_of("/etc/a.policy:4"), 5); /* with spaces behind it */
    ck_assert_uint_eq(count_of("/etc/a.policy:5"), UINT64_MAX);
}
END_TEST

START_TEST(test_rules_that_have_moved)
{
    const struct policy_kept before[] = {
        FILE_OF("/etc/\"\xff.policy", "[Rules]\n" RULE_A RULE_B),
        FILE_OF("/etc/b.policy", "[Rules]\n" RULE_C),
    };
    const struct policy_kept after[] = {
        FILE_OF("/etc/\"\xff.policy", "# new\n[Rules]\n" RULE_B RULE_A),
        FILE_OF("/etc/c.policy", "[Rules]\n" RULE_C),
    };

    put_in_force(from, before, 2);
    put_in_force(to, after, 2);
    count("/etc/\"\xff.policy:2", 3);
    count("/etc/\"\xff.policy:3", 4);
    count("/etc/b.policy:2", 5);
    pass_on();
    ck_assert_uint_eq(count_of("/etc/\"?.policy:2"), UINT64_MAX);
    ck_assert_uint_eq(count_of("/etc/\"?.policy:3"), 4);
    ck_assert_uint_eq(count_of("/etc/\"?.policy:4"), 3);
    ck_assert_uint_eq(count_of("/etc/b.policy:2"), UINT64_MAX); /* that file has gone */
    ck_assert_uint_eq(count_of("/etc/c.policy:2"), UINT64_MAX);
    /* It goes on under the same name. */
    rule_counts_add(to->rule_counts, "/etc/\"\xff.policy:4");
    ck_assert_uint_eq(count_of("/etc/\"?.policy:4"), 4);
}
END_TEST

START_TEST(test_rules_without_number)
{
    static char text[40000];
    char *at = text + sprintf(text, "[Rules]\n");
    struct policy_kept file = {"/p", text, 0, 1};
    uint64_t total = 0, n;
    const char *rule;
    char name[32];

    for (int i = 0; i < 1000; i++)
        at += sprintf(at, "Allow=tcp 10.0.0.1 %d\n", i + 1);
    file.len = (size_t)(at - text);
    put_in_force(from, &file, 1);
    put_in_force(to, &file, 1);
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "/p:%d", i + 2);
        rule_counts_add(from->rule_counts, name);
    }
    pass_on();
    for (unsigned int i = 0; rule_counts_at(to->rule_counts, i, &rule, &n); i++)
        total += n;
    ck_assert_uint_eq(total, 1000);
    ck_assert_uint_eq(count_of("other"), 1000 - (RULE_COUNTS_MAX - 3));
    ck_assert_uint_eq(count_of("/p:2"), 1);
}
END_TEST

/* ---- by the worker's objects ---- */

START_TEST(test_counters_go_on)
{
    unsigned long long lost = asock_log_lost();

    quota_add_refusals(from->quota, QUOTA_SHARED, 7);
    quota_add_refusals(to->quota, QUOTA_SHARED, 1);
    histogram_add(&from->turns, 100);
    histogram_add(&from->shares.waits, 3000000);
    memset(&to->turns, 0, sizeof(to->turns));
    asock_log_add_lost(5);
    pass_on();
    ck_assert_uint_eq(quota_refusals(to->quota, QUOTA_SHARED), 8);
    ck_assert_uint_eq(quota_refusals(to->quota, QUOTA_MEMORY), 0);
    ck_assert_int_eq(memcmp(&to->turns, &from->turns, sizeof(to->turns)), 0);
    ck_assert_uint_ge(to->shares.waits.sum_us, 3000);
    /* Both are this process. */
    ck_assert_uint_eq(asock_log_lost(), 2 * (lost + 5));
}
END_TEST

/* ---- by the audit ---- */

static char path[] = "/tmp/asockd-counts-XXXXXX";

static void begin_audit(struct worker *w)
{
    const struct audit_config config = {.mode = POLICY_AUDIT_YES, .file = path};

    ck_assert_int_eq(audit_new(w, &config, &w->audit), 0);
}

static void deny(struct worker *w, const char *host, int times)
{
    const struct identity identity = client(7);
    struct audit_entry entry = denial_of(&identity, host);

    for (int i = 0; i < times; i++)
        audit_deny(w->audit, &entry);
}

/* How many entries there are of it, and how many denials they are. */
static unsigned int read_denials(const char *host, unsigned int *ret_denials)
{
    char line[4096], what[64];
    unsigned int entries = 0;
    FILE *f = fopen(path, "r");

    snprintf(what, sizeof(what), "\"ASOCK_HOST\":\"%s\"", host);
    *ret_denials = 0;
    while (fgets(line, sizeof(line), f)) {
        const char *sum = strstr(line, "\"ASOCK_COUNT\":");

        if (!strstr(line, what))
            continue;
        entries++;
        *ret_denials += sum ? (unsigned int)atoi(sum + strlen("\"ASOCK_COUNT\":")) : 1;
    }
    fclose(f);
    return entries;
}

static void end_audit(struct core *core)
{
    audit_stop(core->worker.audit);
    while (!audit_is_idle(core->worker.audit))
        core_settle(core);
    core->worker.audit = audit_free(core->worker.audit);
}

/*
 * The period of a denial goes on: what is repeated in it is summed up, by each process for itself,
 * and no denial is counted twice.
 */
START_TEST(test_repeats_of_a_denial)
{
    struct audit_stats before, after;
    unsigned int denials;

    close(mkstemp(path));
    begin_audit(from);
    begin_audit(to);
    deny(from, "a.example", 3);
    audit_add_stats(from->audit, 10, 20, 30);
    before = audit_stats(from->audit);
    pass_on();
    after = audit_stats(to->audit);
    ck_assert_uint_eq(after.entries, before.entries);
    ck_assert_uint_eq(after.dropped, 20);
    ck_assert_uint_eq(after.refused, 30);
    end_audit(old);
    deny(to, "a.example", 4);
    deny(to, "b.example", 1);
    ck_assert_uint_eq(audit_stats(to->audit).entries, after.entries + 1);
    core_pass(t.core, AUDIT_PERIOD_MS); /* to the end of the period that the old one began */
    ck_assert_uint_eq(audit_stats(to->audit).entries, after.entries + 2);
    deny(to, "a.example", 1);
    end_audit(t.core);
    ck_assert_uint_eq(read_denials("a.example", &denials), 4);
    ck_assert_uint_eq(denials, 3 + 4 + 1);
    unlink(path);
}
END_TEST

/* Their keys are of no use in the other form: each is recorded once more. */
START_TEST(test_repeats_that_are_recorded_elsewhere)
{
    const struct audit_config journal = {.mode = POLICY_AUDIT_YES, .journal = "/nowhere"};

    close(mkstemp(path));
    begin_audit(from);
    ck_assert_int_eq(audit_new(to, &journal, &to->audit), 0);
    deny(from, "a.example", 3);
    pass_on();
    ck_assert_uint_eq(audit_denials_count(audit_denials(to->audit)), 0);
    end_audit(old);
    to->audit = audit_free(to->audit);
    unlink(path);
}
END_TEST
