/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A policy is loaded, looked at and narrowed while one call after the other fails: whole, or not at
 * all.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/identity/identity.h"
#include "tests/unit/fault.h"
#include "tests/lib/suite.h"
#include "tests/unit/policy_text.h"

static const struct identity identity = {.pidfd = -1, .gids_known = true};
static char dir[] = "/tmp/asock-policy-XXXXXX";

static const char policy_text[] =
    "[Match]\nUser=root 12345\nGroup=0\nListener=default\n[Rules]\nDeny=tcp a.example * \"no\"\n"
    "Allow=tcp *.example *\nAllow=tcp 8.0.0.0/8 80\nAllow=tcp 192.0.2.0/24 80\nAllow=tcp * 81\n"
    "Allow=tcp * 82\nAllow=tcp * 83\nAllow=tcp * 84\nAllow=tcp * 85\nAllow=tcp * 86\n";

static void path_of(char *path, size_t size)
{
    snprintf(path, size, "%s/a.policy", dir);
}

static void make_dir(void)
{
    char path[64];
    FILE *file;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    path_of(path, sizeof(path));
    file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    fputs(policy_text, file);
    fclose(file);
    ck_assert_int_eq(chmod(path, 0600), 0);
}

static void remove_dir(void)
{
    char path[64];

    path_of(path, sizeof(path));
    unlink(path);
    rmdir(dir);
}

/* libcheck allocates, too. */
static void expect_at(bool is_so, int line)
{
    enum fault_side side = fault_enter(FAULT_NOBODY);

    ck_assert_msg(is_so, "line %d: %s", line, fault_describe());
    fault_enter(side);
}

#define expect(condition) expect_at(condition, __LINE__)

static void use_view(struct policy_view *view)
{
    static const char text[] = "[Rules]\nAllow=tcp b.example *\nDeny=tcp c.example * \"no\"\n";
    char error[POLICY_ERROR_MAX];
    int r = policy_view_restrict(view, text, sizeof(text) - 1, error);

    expect(r == 0 || r == -ENOMEM);
    expect(policy_view_restrictions(view) == (r == 0 ? 1u : 0u));
    expect(policy_text_ask(view, "b.example", NULL, 80).is_allowed);
    expect(policy_text_ask(view, "c.example", NULL, 80).is_allowed == (r < 0));
    expect(!policy_text_ask(view, "a.example", NULL, 80).is_allowed);
}

static void whole_life(void)
{
    const struct policy_source source = {.dirs = {dir}, .dir_count = 1};
    char error[POLICY_ERROR_MAX];
    struct policy_view *view;
    struct policy *policy;
    int r = policy_load(&source, error, &policy);

    if (r < 0) {
        expect(r == -ENOMEM);
        expect(error[0] != '\0');
        return;
    }
    view = policy_view_new(policy, &identity, "default");
    policy_unref(policy);
    if (!view)
        return;
    use_view(view);
    policy = policy_new(POLICY_PUBLIC);
    if (policy) {
        policy_view_replace(view, policy, &identity, "default");
        policy_unref(policy);
    }
    policy_view_free(view);
}

TEST_FIXTURE(make_dir, remove_dir);

START_LOOP_TEST(test_policy_survives_no_memory, 0, 3)
{
    static const enum fault_call calls[] = {FAULT_MALLOC, FAULT_CALLOC, FAULT_REALLOC};
    long before = fault_blocks();
    int n = 0;

    do {
        fault_arm(FAULT_DAEMON, calls[_i], n++);
        fault_enter(FAULT_DAEMON);
        whole_life();
        fault_enter(FAULT_NOBODY);
        ck_assert_msg(fault_blocks() == before, "%s: %ld blocks stay", fault_describe(),
                      fault_blocks() - before);
    } while (fault_was_hit());
    ck_assert_int_gt(n, 1);
}
END_TEST

/* What cannot be found out is an address of this host. */
START_LOOP_TEST(test_policy_cannot_ask_the_kernel, 0, 2)
{
    static const enum fault_call calls[] = {FAULT_SOCKET, FAULT_GETSOCKNAME};
    struct policy *policy = policy_new(POLICY_PUBLIC);
    struct policy_view *view = policy_view_new(policy, &identity, "default");
    struct policy_answer answer;

    fault_arm(FAULT_DAEMON, calls[_i], 0);
    fault_enter(FAULT_DAEMON);
    answer = policy_text_ask(view, NULL, "8.8.8.8", 80);
    fault_enter(FAULT_NOBODY);
    if (fault_was_hit())
        ck_assert_msg(!answer.is_allowed, "%s", fault_describe());
    fault_arm(FAULT_DAEMON, FAULT_MALLOC, -1);
    ck_assert(policy_text_ask(view, NULL, "8.8.8.8", 80).is_allowed);
    policy_view_free(view);
    policy_unref(policy);
}
END_TEST
