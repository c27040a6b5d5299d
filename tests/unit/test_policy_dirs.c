/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The administrator's policy files, those until the next boot, and a package's. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/identity/identity.h"
#include "tests/lib/suite.h"
#include "tests/unit/policy_dir.h"
#include "tests/unit/policy_text.h"

#define R(rules) "[Rules]\n" rules

static char load_error[POLICY_ERROR_MAX];
static char places[3][sizeof(dir) + 8];

static void write_in(const char *place, const char *name, const char *text)
{
    char path[64];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s/%s", dir, place, name);
    file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(path, 0644), 0);
}

static int load_places(struct policy **ret)
{
    static const char *const names[] = {"etc", "run", "lib"};
    struct policy_source source = {.dir_count = 3};

    for (unsigned int i = 0; i < 3; i++) {
        snprintf(places[i], sizeof(places[i]), "%s/%s", dir, names[i]);
        source.dirs[i] = places[i];
    }
    return policy_load(&source, load_error, ret);
}

static void make_place(const char *name)
{
    char path[sizeof(dir) + 8];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    ck_assert_int_eq(mkdir(path, 0755), 0);
}

static void expect_of_places(const char *host, const char *expected)
{
    struct identity identity = {.pidfd = -1};
    struct policy_answer answer;
    struct policy_view *view;
    struct policy *policy;
    char text[128], wanted[160];
    int n = (int)strcspn(expected, "/");

    ck_assert_msg(load_places(&policy) == 0, "%s", load_error);
    view = policy_view_new(policy, &identity, "default");
    answer = policy_text_ask(view, host, NULL, 1);
    if (expected[n])
        snprintf(wanted, sizeof(wanted), "%.*s%s%s", n, expected, dir, expected + n);
    else
        snprintf(wanted, sizeof(wanted), "%s", expected);
    ck_assert_str_eq(policy_text_answer(&answer, text, sizeof(text)), wanted);
    policy_view_free(view);
    policy_unref(policy);
}

TEST_FIXTURE(make_dir, remove_dir);

START_TEST(test_policy_of_a_package_is_overridden_by_name)
{
    char path[64];

    expect_of_places("a.example", "deny");
    make_place("lib");
    write_in("lib", "20-b.policy", R("Allow=tcp a.example *\nAllow=tcp b.example *\n"));
    expect_of_places("a.example", "allow /lib/20-b.policy:2");
    make_place("run");
    write_in("run", "10-a.policy", R("Deny=tcp b.example *\n"));
    expect_of_places("b.example", "deny /run/10-a.policy:2");
    make_place("etc");
    write_in("etc", "20-b.policy", R("Allow=tcp b.example *\n"));
    expect_of_places("a.example", "deny");
    expect_of_places("b.example", "deny /run/10-a.policy:2");
    write_in("etc", "10-a.policy", "");
    expect_of_places("b.example", "allow /etc/20-b.policy:2");
    snprintf(path, sizeof(path), "%s/etc/20-b.policy", dir);
    ck_assert_int_eq(unlink(path), 0);
    expect_of_places("a.example", "allow /lib/20-b.policy:2");
    ck_assert_int_eq(symlink("/dev/null", path), 0);
    expect_of_places("a.example", "deny");
}
END_TEST

START_TEST(test_policy_in_a_directory_of_others)
{
    struct policy *policy;
    char expected[128];

    make_place("lib");
    make_place("run");
    snprintf(expected, sizeof(expected), "%s/run", dir);
    ck_assert_int_eq(chmod(expected, 0775), 0);
    ck_assert_int_eq(load_places(&policy), -EPERM);
    strcat(expected, ": must not be writable by its group or by others");
    ck_assert_str_eq(load_error, expected);
}
END_TEST
