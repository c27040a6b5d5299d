/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/suite.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ev.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/core/quota.h"
#include "daemon/names/dns.h"
#include "tests/unit/resolver_fixture.h"

static char hosts_file[] = "/tmp/asock-hosts-XXXXXX";

static void write_hosts(const char *text)
{
    FILE *file = fopen(hosts_file, "we");

    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static void setup_hosts(struct fixture *f, const char *text)
{
    struct resolver_options options = {.timeout_ms = 30000, .tries = 1, .hosts = hosts_file};

    close(mkstemp(hosts_file));
    write_hosts(text);
    setup(f);
    resolver_free(f->resolver);
    options.servers = f->server.address;
    ck_assert_int_eq(resolver_new(f->loop, &options, &f->resolver), 0);
}

static const char some_hosts[] = "# comment\n"
                                 "198.51.100.4 four.test Alias.Test # 198.51.100.9 no.test\n"
                                 "2001:db8::6\tsix.test\n"
                                 "198.51.100.5 both.test\n"
                                 "2001:db8::5 other.test both.test\n"
                                 "198.51.100.6 both.test\n"
                                 "no-address wrong.test\n"
                                 "fe80::1%lo wrong.test\n"
                                 "198.51.100.7 last.test";

static const struct {
    const char *host;
    int family;
    enum asock_wire_error error;
    unsigned int count;
    const char *addresses[3];
} hosts[] = {
    {"four.test", AF_INET, ERR_SUCCESS, 1, {"198.51.100.4"}},
    {"four.test", AF_UNSPEC, ERR_SUCCESS, 1, {"198.51.100.4"}},
    {"four.test", AF_INET6, ERR_NO_DATA, 0, {NULL}},
    {"ALIAS.test.", AF_INET, ERR_SUCCESS, 1, {"198.51.100.4"}},
    {"six.test", AF_INET6, ERR_SUCCESS, 1, {"2001:db8::6"}},
    {"six.test", AF_INET, ERR_NO_DATA, 0, {NULL}},
    {"both.test", AF_INET, ERR_SUCCESS, 2, {"198.51.100.5", "198.51.100.6"}},
    {"both.test", AF_UNSPEC, ERR_SUCCESS, 3, {"198.51.100.5", "2001:db8::5", "198.51.100.6"}},
    {"last.test", AF_UNSPEC, ERR_SUCCESS, 1, {"198.51.100.7"}},
};

/*
 * One that has a name for one family answers for both: no name leaks, and no server is waited for.
 */
START_LOOP_TEST(test_resolver_hosts_answers_alone, 0, sizeof(hosts) / sizeof(hosts[0]))
{
    struct asked asked = {0};
    struct fixture f;

    setup_hosts(&f, some_hosts);
    ck_assert_int_eq(ask(&f, &asked, hosts[_i].host, hosts[_i].family), 0);
    run_until_called(&f, &asked);
    ck_assert_int_eq(asked.result.error, hosts[_i].error);
    ck_assert_uint_eq(asked.result.count, hosts[_i].count);
    for (unsigned int i = 0; i < hosts[_i].count; i++)
        assert_address(&asked, i, hosts[_i].addresses[i]);
    ck_assert_uint_eq(f.server.queries, 0);
    unlink(hosts_file);
    teardown(&f);
}
END_TEST

START_TEST(test_resolver_hosts_does_not_have_it)
{
    static const char *const names[] = {"no.test", "wrong.test", "our.test", "four.test.more"};
    struct asked asked = {0};
    struct fixture f;

    setup_hosts(&f, some_hosts);
    for (unsigned int i = 0; i < 4; i++) {
        asked.calls = 0;
        ck_assert_int_eq(ask(&f, &asked, names[i], AF_INET), 0);
        run_until_called(&f, &asked);
        ck_assert_uint_eq(f.server.queries, i + 1);
    }
    unlink(hosts_file);
    teardown(&f);
}
END_TEST

/* Changed in place, in the same tick of the kernel's clock, to the same size; then gone. */
START_TEST(test_resolver_follows_hosts)
{
    struct asked asked = {0};
    struct fixture f;

    setup_hosts(&f, "");
    for (int i = 0; i < 10; i++) {
        write_hosts(i % 2 ? "198.51.100.1 a.test\n" : "198.51.100.2 a.test\n");
        asked.calls = 0;
        ck_assert_int_eq(ask(&f, &asked, "a.test", AF_INET), 0);
        run_until_called(&f, &asked);
        assert_address(&asked, 0, i % 2 ? "198.51.100.1" : "198.51.100.2");
    }
    unlink(hosts_file);
    asked.calls = 0;
    ck_assert_int_eq(ask(&f, &asked, "a.test", AF_INET), 0);
    run_until_called(&f, &asked);
    assert_address(&asked, 0, "192.0.2.1");
    ck_assert_uint_eq(f.server.queries, 1);
    teardown(&f);
}
END_TEST

static void write_many_hosts(unsigned int lines, const char *last)
{
    FILE *file = fopen(hosts_file, "we");

    ck_assert_ptr_nonnull(file);
    for (unsigned int i = 0; i < lines; i++)
        fprintf(file, "198.51.%u.%u n%u.example\n", i / 256 % 256, i % 256, i);
    fputs(last, file);
    ck_assert_int_eq(fclose(file), 0);
}

/*
 * A large file is read by the loop, piece by piece: who asks meanwhile waits, and who asks for no
 * name does not.
 */
START_TEST(test_resolver_large_hosts)
{
    struct asked asked = {0}, cancelled = {0}, quick = {0}, middle = {0};
    unsigned int turns = 0;
    struct fixture f;

    setup_hosts(&f, "");
    write_many_hosts(200000, "198.51.100.99 a.test\n");
    ck_assert_int_eq(ask(&f, &asked, "a.test", AF_INET), 0);
    ck_assert_int_eq(ask(&f, &cancelled, "a.test", AF_INET), 0);
    ck_assert_int_eq(ask(&f, &middle, "n123456.example", AF_INET), 0);
    ck_assert_int_eq(ask(&f, &quick, "localhost", AF_INET), 0);
    resolver_cancel(&cancelled.query);
    run_until_called(&f, &quick);
    ck_assert_uint_eq(asked.calls, 0);
    for (; asked.calls == 0; turns++)
        ev_run(f.loop, EVRUN_ONCE);
    ck_assert_uint_gt(turns, 50);
    assert_address(&asked, 0, "198.51.100.99");
    ck_assert_uint_eq(middle.calls, 1); /* all lookups that waited ended in one turn */
    assert_address(&middle, 0, "198.51.226.64");
    ck_assert_uint_eq(cancelled.calls, 0);
    ck_assert_uint_eq(f.server.queries, 0);
    unlink(hosts_file);
    teardown(&f);
}
END_TEST
