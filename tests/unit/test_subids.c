/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Whose a subordinate id is, by files as an administrator writes them, and as he should not. */
#include "tests/lib/suite.h"
#include "daemon/identity/subids.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OWN IDENTITY_OWN_ID
#define SUB IDENTITY_SUBORDINATE
#define UNKNOWN IDENTITY_OWNER_UNKNOWN

static char dir[] = "/tmp/asock-subids-XXXXXX";
static char subuid[64], passwd[64];

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static void make_files(void)
{
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(subuid, sizeof(subuid), "%s/subuid", dir);
    snprintf(passwd, sizeof(passwd), "%s/passwd", dir);
    write_file(passwd, "root:x:0:0::/root:/bin/sh\n"
                       "alice:x:1001:1001::/:/bin/sh\n"
                       "bob:x:1002:1002::/:/bin/sh\n"
                       "alice:x:9999:9999::/:/bin/sh\n");
}

static void remove_files(void)
{
    unlink(subuid);
    unlink(passwd);
    rmdir(dir);
}

static void expect(struct subids *subids, uid_t uid, enum identity_ownership ownership, uid_t owner)
{
    uid_t found;

    ck_assert_int_eq(subids_find(subids, uid, &found), ownership);
    ck_assert_uint_eq(found, owner);
}

#define TWO "alice:100000:65536\nbob:165536:65536\n"

static const struct {
    const char *text;
    uid_t uid;
    enum identity_ownership ownership;
    uid_t owner;
} cases[] = {
    {"", 100000, OWN, 100000},
    {TWO, 1001, OWN, 1001},
    {TWO, 99999, OWN, 99999},
    {TWO, 100000, SUB, 1001},
    {TWO, 165535, SUB, 1001},
    {TWO, 165536, SUB, 1002},
    {TWO, 231071, SUB, 1002},
    {TWO, 231072, OWN, 231072},
    {"1001:100000:2\n", 100001, SUB, 1001},
    {"4711:100000:2\n", 100001, SUB, 4711}, /* a number need not have a name */
    {"alice:100000:2", 100001, SUB, 1001},  /* no newline at the end */
    {"alice:0x186a0:010\n", 100007, SUB, 1001},
    {"alice:0x186a0:010\n", 100008, OWN, 100008},
    {"alice:4294967290:65536\n", 4294967294, SUB, 1001},
    {"bob:200000:9\nalice:100000:9\nbob:100009:9\n", 100008, SUB, 1001},
    {"bob:200000:9\nalice:100000:9\nbob:100009:9\n", 100009, SUB, 1002},
    {"bob:200000:9\nalice:100000:9\nbob:100009:9\n", 200008, SUB, 1002},
    /* What newuidmap(1) skips. */
    {"#alice:100000:9\n", 100000, UNKNOWN, 100000}, /* a user of that name, for all we know */
    {"alice:100000\n", 100000, OWN, 100000},
    {"alice:100000:\n", 100000, OWN, 100000},
    {"alice:100000:0\n", 100000, OWN, 100000},
    {"alice:100000:9:\n", 100000, OWN, 100000},
    {"alice:-1:9\n", 100000, OWN, 100000},
    {":100000:9\n", 100000, OWN, 100000},
    {"alice:1e5:9\nalice:100000:1\n", 100000, SUB, 1001},
    /* Not in /etc/passwd: one person all the same. */
    {"carol:100000:9\n", 100003, UNKNOWN, 100000},
    {"carol:200000:9\ncarol:100000:9\n", 200003, UNKNOWN, 100000},
    /* Two lines for one id, of one owner and of two. */
    {"alice:100000:10\n1001:100005:10\nalice:100000:3\n", 100014, SUB, 1001},
    {"alice:100000:10\nbob:100005:10\n", 100004, SUB, 1001},
    {"alice:100000:10\nbob:100005:10\n", 100005, UNKNOWN, 100005},
    {"alice:100000:10\nbob:100005:10\n", 100009, UNKNOWN, 100005},
    {"alice:100000:10\nbob:100005:10\n", 100010, SUB, 1002},
    {"alice:100000:100\nbob:100005:10\n", 100050, SUB, 1001},
    {"alice:100000:9\ncarol:100000:9\n", 100000, UNKNOWN, 100000},
    /* Owners that are owned, and a circle. */
    {"alice:100000:9\n100003:200000:9\n", 200000, SUB, 1001},
    {"carol:100000:9\n100003:200000:9\n", 200000, UNKNOWN, 100000},
    {"alice:1000:9\n", 1001, OWN, 1001},
    {"alice:1000:9\n", 1002, SUB, 1001},
};

TEST_FIXTURE(make_files, remove_files);

START_LOOP_TEST(test_subids_owner, 0, sizeof(cases) / sizeof(cases[0]))
{
    struct subids *subids = subids_new(subuid, passwd);

    write_file(subuid, cases[_i].text);
    ck_assert_ptr_nonnull(subids);
    expect(subids, cases[_i].uid, cases[_i].ownership, cases[_i].owner);
    subids_free(subids);
}
END_TEST

START_TEST(test_subids_circle_ends)
{
    struct subids *subids = subids_new(subuid, passwd);
    uid_t owner;

    write_file(subuid, "100000:200000:9\n200000:100000:9\n");
    ck_assert_int_eq(subids_find(subids, 100000, &owner), UNKNOWN);
    subids_free(subids);
}
END_TEST

START_TEST(test_subids_change_is_seen)
{
    struct subids *subids = subids_new(subuid, passwd);

    expect(subids, 100000, OWN, 100000); /* there is no file */
    write_file(subuid, "alice:100000:9\n");
    expect(subids, 100000, SUB, 1001);
    /* The same size, at once. */
    write_file(subuid, "alice:200000:9\n");
    expect(subids, 100000, OWN, 100000);
    expect(subids, 200000, SUB, 1001);
    write_file(passwd, "alice:x:1003:1003::/:/bin/sh\n");
    expect(subids, 200000, SUB, 1003);
    unlink(subuid);
    expect(subids, 200000, OWN, 200000);
    subids_free(subids);
}
END_TEST

/* A directory and a pipe cannot be read; opening the pipe does not block. */
START_TEST(test_subids_unreadable_is_unknown)
{
    struct subids *subids = subids_new(subuid, passwd);

    ck_assert_int_eq(mkdir(subuid, 0700), 0);
    expect(subids, 1001, UNKNOWN, 1001);
    ck_assert_int_eq(rmdir(subuid), 0);
    ck_assert_int_eq(mkfifo(subuid, 0600), 0);
    expect(subids, 1001, UNKNOWN, 1001);
    ck_assert_int_eq(unlink(subuid), 0);
    expect(subids, 1001, OWN, 1001);
    subids_free(subids);
}
END_TEST

START_TEST(test_subids_of_many_users)
{
    struct subids *subids = subids_new(subuid, passwd);
    FILE *file = fopen(subuid, "we");

    ck_assert_ptr_nonnull(file);
    for (unsigned int i = 60000; i > 0; i--) /* not in order */
        fprintf(file, "%u:%u:65536\n", i, i * 65536 + 100000);
    ck_assert_int_eq(fclose(file), 0);
    for (unsigned int i = 1; i <= 60000; i += 977)
        expect(subids, i * 65536 + 100000 + 65535, SUB, i);
    subids_free(subids);
}
END_TEST
