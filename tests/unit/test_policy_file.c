/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a policy file may say, and what is refused, with its line. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/identity/identity.h"
#include "daemon/policy/check.h"
#include "tests/lib/skip.h"
#include "tests/lib/suite.h"
#include "tests/unit/policy_dir.h"
#include "tests/unit/policy_text.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define A50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A200 A50 A50 A50 A50
#define R(rules) "[Rules]\n" rules
#define M(keys) "[Match]\n" keys

static const char *const accepted[] = {
    "",
    M("User=no-such-user no-other\nGroup=no-such-group\n"),
    "# nothing\n",
    R(""),
    R("Allow=tcp * *\n"),
    R("Allow=tcp   *    *   +local   +special\n"),
    R("Deny=tcp * * \"x\"\n"),
    R("Deny=tcp * * \"" A200 "\"\n"),
    R("Deny=tcp * * \"\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa7\"\n"),
    R("Deny=tcp * * \"with spaces + and = signs\"\n"),
    R("Allow=tcp com 80\nAllow=tcp *.com 80\nAllow=tcp _x.a-b.com 80\n"),
    R("Allow=tcp a.com 1\nAllow=tcp a.com 2\nAllow=tcp a.com *\n"),
    R("Allow=tcp 192.0.2.0/24 80\nAllow=tcp 192.0.2.0/25 80\nAllow=tcp 192.0.2.0 80\n"),
    R("Allow=tcp ::1 80\nAllow=tcp ::/0 80\nAllow=tcp 2001:db8::/32 80\n"),
    R("Allow=tcp * http-alt\n"),
    R("Mode=enforce\n"),
    R("LearnUntil=2096-02-29\nMode=learn\n"),
    M("User=root 65534 12345\nUser=1\n"),
    M("Group=root 65534\nUser=0\n"),
    M("Unit=foo.service a@b.service x.scope\n"),
    M("User=0\nUserUnit=foo.service\n"),
    M("UserUnit=foo.service\nUser=0\n"),
    M("Cgroup=/system.slice/foo.service /*.slice/* /a.slice/*/* /docker/0123\n"),
    M("Listener=default other-one\n"),
    ("[Limits]\nClients=5\nSockets=16\nOps=64\nSocketOps=16\nSendWindow=1M\nQueued=1M\n"
     "SharedMemory=0\nBuffers=64\nKernelBuffers=1G\nConnectsPerSecond=1\nResolutions=1\nLingerMax=0\n"),
    "[Audit]\nAudit=no\n",
    "[Audit]\nAudit=required\n[Limits]\nIdleTimeout=604800\nKeepAlive=1\n",
    "[Egress]\nSource=192.0.2.1\nDevice=eth0\n",
    "[Egress]\nSource=2001:db8::1 192.0.2.1\n",
    "[Rules]\n[Match]\nUser=0\n[Audit]\n[Egress]\n[Limits]\n",
};

TEST_FIXTURE(make_dir, remove_dir);

START_LOOP_TEST(test_policy_accepted, 0, COUNT(accepted))
{
    struct policy *policy = policy_new(POLICY_DENY);
    char error[POLICY_ERROR_MAX] = "";
    int r = policy_text_add(policy, "p", accepted[_i], strlen(accepted[_i]), error);

    ck_assert_msg(r == 0, "%s", error);
    ck_assert_str_eq(error, "");
    policy_unref(policy);
}
END_TEST

static const struct {
    const char *text;
    const char *error; /* behind "p:" */
} refused[] = {
    /* Lines and sections. */
    {"[rules]\n", "1: unknown section [rules]"},
    {"[Rule]\n", "1: unknown section [Rule]"},
    {"[Listener]\n", "1: unknown section [Listener]"},
    {R("") R(""), "2: [Rules] is given twice"},
    {M("User=0\n") R("") M("User=1\n"), "4: [Match] is given twice"},
    {R("allow=tcp * *\n"), "2: unknown key allow= in [Rules]"},
    {R("User=0\n"), "2: unknown key User= in [Rules]"},
    {M("Allow=tcp * *\n"), "2: unknown key Allow= in [Match]"},
    {"[Limits]\nNothing=1\n", "2: unknown key Nothing= in [Limits]"},
    {"[Audit]\nFile=/x\n", "2: unknown key File= in [Audit]"},
    {"[Egress]\nPort=1\n", "2: unknown key Port= in [Egress]"},
    {R("Allow=tcp * *"), "2: the file does not end with a newline: was it truncated?"},
    {R(" Allow=tcp * *\n"), "2: indented line"},
    {R("Allow=tcp\t* *\n"), "2: control character"},
    {R("Allow=tcp * *\r\n"), "2: control character"},
    {R("#" A200 A200 A200 A200 A200 A50 "\n"), "2: line longer than 1024 bytes"},
    {R("Allow=\n"), "2: Allow= is empty"},
    {M("User=\n"), "2: User= is empty"},
    {"[Limits]\nSockets=\n", "2: Sockets= is empty"},
    {M(""), "1: [Match] has no keys: remove the section if the file is for every client"},
    {M("") R("Allow=tcp * *\n"),
     "1: [Match] has no keys: remove the section if the file is for every client"},
    /* The shape of a rule. */
    {R("Allow=tcp *\n"), "2: a rule has the form: protocol host port [flags] [\"reason\"]"},
    {R("Allow=TCP * *\n"), "2: unknown protocol \"TCP\": use tcp or udp"},
    {R("Allow=udp * domain\n"), "2: \"domain\" is not a port: a number, a range or *"},
    {R("Allow=udp * 53\nAllow=tcp * 53\nDeny=udp * 53\n"),
     "4: line 2 already has the same host and port"},
    {R("Allow=tcp * * local\n"), "2: unknown \"local\" after the port"},
    {R("Allow=tcp * * +Local\n"), "2: unknown \"+Local\" after the port"},
    {R("Allow=tcp * * +local +special +local\n"), "2: +local is given twice"},
    {R("Deny=tcp * * +local\n"), "2: +local: only Allow= takes flags"},
    {R("Allow=udp * * +lend\n"), "2: +lend: only TCP connections can be lent"},
    {R("Allow=udp * * +lend-given\n"), "2: +lend-given: only TCP connections can be lent"},
    {R("Allow=tcp * * \"why\"\n"), "2: only Deny= takes a reason"},
    {R("Deny=tcp * * \"\"\n"), "2: the reason must be 1 to 200 bytes"},
    {R("Deny=tcp * * \"" A200 "a\"\n"), "2: the reason must be 1 to 200 bytes"},
    {R("Deny=tcp * * \"why\n"),
     "2: the reason must be a single double-quoted string at the end of the line"},
    {R("Deny=tcp * * \"why\" not\n"),
     "2: the reason must be a single double-quoted string at the end of the line"},
    {R("Deny=tcp * * \"a\" \"b\"\n"),
     "2: the reason must be a single double-quoted string at the end of the line"},
    {R("Deny=tcp * *\"why\"\n"),
     "2: the reason must be a single double-quoted string at the end of the line"},
    {R("Deny=tcp * \"why\"\n"), "2: a rule has the form: protocol host port [flags] [\"reason\"]"},
    {R("Deny=tcp * * \"\xff\"\n"), "2: the reason is not UTF-8 text"},
    {R("Deny=tcp * * \"\xc3\"\n"), "2: the reason is not UTF-8 text"},
    {R("Deny=tcp * * \"\xc0\xaf\"\n"), "2: the reason is not UTF-8 text"},
    {R("Deny=tcp * * \"\xed\xa0\x80\"\n"), "2: the reason is not UTF-8 text"},
    {R("Deny=tcp * * \"\xf4\x90\x80\x80\"\n"), "2: the reason is not UTF-8 text"},
    {R("Deny=tcp * * \"\xc2\x9b\"\n"), "2: the reason is not UTF-8 text"},
    /* Hosts. */
    {R("Allow=tcp Example.com 80\n"), "2: \"Example.com\": write names in lower case"},
    {R("Allow=tcp example.com. 80\n"),
     "2: \"example.com.\" is not a name, *.suffix, address, network or"
     " * (a name does not end with a dot)"},
    {R("Allow=tcp *.com. 80\n"),
     "2: \"com.\" is not a name, *.suffix, address, network or * (a name does not end with a dot)"},
    {R("Allow=tcp a..com 80\n"),
     "2: \"a..com\" is not a name, *.suffix, address, network or * (a name does not end with a dot)"},
    {R("Allow=tcp *com 80\n"),
     "2: \"*com\" is not a name, *.suffix, address, network or * (a name does not end with a dot)"},
    {R("Allow=tcp a.*.com 80\n"), "2: \"a.*.com\" is not a name, *.suffix, address, network or *"
                                  " (a name does not end with a dot)"},
    {R("Allow=tcp *. 80\n"),
     "2: \"\" is not a name, *.suffix, address, network or * (a name does not end with a dot)"},
    {R("Allow=tcp *.1 80\n"),
     "2: \"1\" is not a name, *.suffix, address, network or * (a name does not end with a dot)"},
    {R("Allow=tcp a.0x7f 80\n"),
     "2: \"a.0x7f\" is not a name, *.suffix, address, network or * (a name does not end with a dot)"},
    {R("Allow=tcp a/8 80\n"),
     "2: \"a/8\" is not a name, *.suffix, address, network or * (a name does not end with a dot)"},
    {R("Allow=tcp 127.1 80\n"), "2: \"127.1\" is not an address"},
    {R("Allow=tcp 1 80\n"), "2: \"1\" is not an address"},
    {R("Allow=tcp 10.0.0.010 80\n"), "2: \"10.0.0.010\" is not an address"},
    {R("Allow=tcp 10.0.0/8 80\n"), "2: \"10.0.0\" is not an address"},
    {R("Allow=tcp 10.0.0.0/33 80\n"), "2: \"/33\" is not a prefix length from 0 to 32"},
    {R("Allow=tcp 10.0.0.0/ 80\n"), "2: \"/\" is not a prefix length from 0 to 32"},
    {R("Allow=tcp 10.0.0.0/08 80\n"), "2: \"/08\" is not a prefix length from 0 to 32"},
    {R("Allow=tcp 10.0.0.0/8/8 80\n"), "2: \"/8/8\" is not a prefix length from 0 to 32"},
    {R("Allow=tcp 10.0.0.1/8 80\n"), "2: bits are set after the prefix: did you mean 10.0.0.0/8?"},
    {R("Allow=tcp 10.0.0.128/24 80\n"),
     "2: bits are set after the prefix: did you mean 10.0.0.0/24?"},
    {R("Allow=tcp 1.2.3.4/0 80\n"), "2: bits are set after the prefix: did you mean 0.0.0.0/0?"},
    {R("Allow=tcp 2001:db8::1/32 80\n"),
     "2: bits are set after the prefix: did you mean 2001:db8::/32?"},
    {R("Allow=tcp ::/129 80\n"), "2: \"/129\" is not a prefix length from 0 to 128"},
    {R("Allow=tcp 2001:DB8::1 80\n"), "2: write \"2001:DB8::1\" as 2001:db8::1"},
    {R("Allow=tcp 2001:0db8::1 80\n"), "2: write \"2001:0db8::1\" as 2001:db8::1"},
    {R("Allow=tcp 0:0:0:0:0:0:0:1 80\n"), "2: write \"0:0:0:0:0:0:0:1\" as ::1"},
    {R("Allow=tcp [::1] 80\n"), "2: \"[::1]\" is not an address"},
    {R("Allow=tcp fe80::1%eth0 80\n"), "2: \"fe80::1%eth0\" is not an address"},
    {R("Allow=tcp ::ffff:192.0.2.1 80\n"),
     "2: this is an IPv4 address in IPv6 form: write it as IPv4"},
    {R("Allow=tcp ::ffff:0.0.0.0/96 80\n"),
     "2: this is an IPv4 address in IPv6 form: write it as IPv4"},

    /* Ports. */
    {R("Allow=tcp * 0\n"), "2: \"0\" is not a port from 1 to 65535"},
    {R("Allow=tcp * 65536\n"), "2: \"65536\" is not a port from 1 to 65535"},
    {R("Allow=tcp * 080\n"), "2: \"080\" is not a port from 1 to 65535"},
    {R("Allow=tcp * 80-70\n"), "2: 80-70 is not a range: the lower port must come first"},
    {R("Allow=tcp * 80-80\n"), "2: 80-80 is not a range: the lower port must come first"},
    {R("Allow=tcp * 80-\n"), "2: \"\" is not a port from 1 to 65535"},
    {R("Allow=tcp * -80\n"), "2: \"\" is not a port from 1 to 65535"},
    {R("Allow=tcp * 80,\n"), "2: a rule has the form: protocol host port [flags] [\"reason\"]"},
    {R("Allow=tcp * 80,443,80\n"), "2: line 2 already has the same host and port"},
    {R("Allow=tcp * 80,443\nDeny=tcp * 443\n"), "3: line 2 already has the same host and port"},
    {R("Allow=tcp * # 80\n"), "2: a rule has the form: protocol host port [flags] [\"reason\"]"},
    {R("Allow=tcp * 80#x\n"), "2: \"80#x\" is neither a port nor a TCP service"},
    {R("Allow=tcp b\xc3\xbc.example 80\n"), "2: \"b\xc3\xbc.example\": write names in ASCII, as "
                                            "idn2(1) prints them (xn--...)"},
    {R("Allow=tcp * no-such-service\n"),
     "2: \"no-such-service\" is neither a port nor a TCP service"},
    {R("Allow=tcp * HTTP\n"), "2: \"HTTP\" is neither a port nor a TCP service"},

    /* Twice. */
    {R("Allow=tcp * *\nDeny=tcp * *\n"), "3: line 2 already has the same host and port"},
    {R("Allow=tcp a.b 80\n#\nAllow=tcp a.b http\n"),
     "4: line 2 already has the same host and port"},
    {R("Allow=tcp 10.0.0.0/8 1-9\nAllow=tcp 10.0.0.0/8 1-9 +local\n"),
     "3: line 2 already has the same host and port"},
    {M("User=0 0\n"), "2: User=0 is given twice"},
    {M("User=0\nUser=root\n"), "3: User=root is given twice"},
    {M("Unit=a.service\nUnit=a.service\n"), "3: Unit=a.service is given twice"},
    {"[Limits]\nSockets=16\nSockets=16\n", "3: Sockets= is given twice"},
    {"[Audit]\nAudit=no\nAudit=no\n", "3: Audit= is given twice"},
    {"[Egress]\nDevice=a\nDevice=a\n", "3: Device= is given twice"},
    {"[Egress]\nSource=192.0.2.1\nSource=2001:db8::1\n", "3: Source= is given twice"},

    /* Learning. */
    {R("Mode=learn\n"), "2: Mode=learn requires LearnUntil="},
    {R("LearnUntil=2999-12-31\n"), "2: LearnUntil= requires Mode=learn"},
    {R("Mode=enforce\nLearnUntil=2999-12-31\n"), "3: LearnUntil= requires Mode=learn"},
    {R("Mode=Learn\n"), "2: Mode=Learn is neither learn nor enforce"},
    {R("Mode=learn\nMode=learn\n"), "3: Mode= is given twice"},
    {R("LearnUntil=2999-12-31\nLearnUntil=2999-12-31\n"), "3: LearnUntil= is given twice"},
    {R("LearnUntil=tomorrow\n"), "2: LearnUntil=tomorrow is not a date such as 2030-12-31"},
    {R("LearnUntil=2030-02-30\n"), "2: LearnUntil=2030-02-30 is not a date such as 2030-12-31"},
    {R("LearnUntil=2030-13-01\n"), "2: LearnUntil=2030-13-01 is not a date such as 2030-12-31"},
    {R("LearnUntil=2030-1-1\n"), "2: LearnUntil=2030-1-1 is not a date such as 2030-12-31"},
    {R("LearnUntil=30-12-2030\n"), "2: LearnUntil=30-12-2030 is not a date such as 2030-12-31"},
    {R("LearnUntil=2030-12-31T00:00\n"),
     "2: LearnUntil=2030-12-31T00:00 is not a date such as 2030-12-31"},

    /* Clients. */
    {M("User=01\n"), "2: User=01: not a number from 0 to 4294967294"},
    {M("User=4294967295\n"), "2: User=4294967295: not a number from 0 to 4294967294"},
    {M("User=-1\n"), "2: User=-1: neither a name nor a number"},
    {M("User=root,daemon\n"), "2: User=root,daemon: neither a name nor a number"},
    {M("User=no-such-user\nUser=no-such-user\n"), "3: User=no-such-user is given twice"},
    {M("Unit=foo\n"), "2: \"foo\" is not a unit with processes, such as foo.service"},
    {M("Unit=foo.slice\n"), "2: \"foo.slice\" is not a unit with processes, such as foo.service"},
    {M("Unit=foo@.service\n"),
     "2: \"foo@.service\" is not a unit with processes, such as foo.service"},
    {M("Unit=*.service\n"),
     "2: \"*.service\": a pattern must begin with part of the name and end with the type, as in foo@*.service"},
    {M("Unit=foo*\n"),
     "2: \"foo*\": a pattern must begin with part of the name and end with the type, as in foo@*.service"},
    {M("User=!root !root\n"), "2: User=!root is given twice"},
    {M("User=!\n"), "2: User=! must be followed by the name of a user"},
    {M("Group=!r\n"), "2: Group=!r: a group cannot be excluded, because a client can leave it"},
    {M("User=!root\nUserUnit=foo.service\n"),
     "3: UserUnit= requires User=, because users choose the names of their units"},
    {M("Unit=.service\n"), "2: \".service\" is not a unit with processes, such as foo.service"},
    {M("UserUnit=foo.service\n"),
     "2: UserUnit= requires User=, because users choose the names of their units"},
    {M("Group=0\nUserUnit=foo.service\n"),
     "3: UserUnit= requires User=, because users choose the names of their units"},
    {M("Cgroup=system.slice/x\n"), "2: \"system.slice/x\": a cgroup path must begin with /"},
    {M("Cgroup=/\n"), "2: a cgroup path must not have empty, . or .. components"},
    {M("Cgroup=/a/\n"), "2: a cgroup path must not have empty, . or .. components"},
    {M("Cgroup=/a//b\n"), "2: a cgroup path must not have empty, . or .. components"},
    {M("Cgroup=/a/../b\n"), "2: a cgroup path must not have empty, . or .. components"},
    {M("Cgroup=/a?\n"), "2: \"/a?\": the only wildcard is *"},
    {M("Cgroup=/[ab]\n"), "2: \"/[ab]\": the only wildcard is *"},
    {M("Cgroup=/a.slice/b.service/*\n"),
     "2: * works only below slices: give the full name instead of \"*\""},
    {M("Cgroup=/docker/*\n"), "2: * works only below slices: give the full name instead of \"*\""},
    {M("Cgroup=/user.slice/user-1.slice/user@1.service/app.slice/x*\n"),
     "2: * works only below slices: give the full name instead of \"x*\""},
    {M("Listener=a/b\n"), "2: \"a/b\" is not a valid listener name"},

    /* Settings. */
    {"[Limits]\nSockets=15\n", "2: Sockets=15 is out of range (16 to 65536)"},
    {"[Limits]\nSockets=1K\n", "2: Sockets=1K is not a number"},
    {"[Limits]\nIdleTimeout=1h\n", "2: IdleTimeout=1h is not a number of seconds"},
    {"[Limits]\nQueued=1T\n", "2: Queued=1T is not a size (digits, then K, M, G or nothing)"},
    {"[Audit]\nAudit=maybe\n", "2: Audit=maybe: must be no, yes or required"},
    {"[Egress]\nDevice=a/b\n", "2: \"a/b\" is not a valid device name"},
    {"[Egress]\nDevice=aaaaaaaaaaaaaaaa\n", "2: \"aaaaaaaaaaaaaaaa\" is not a valid device name"},
    {"[Egress]\nDevice=..\n", "2: \"..\" is not a valid device name"},
    {"[Egress]\nSource=eth0\n",
     "2: \"eth0\": Source= takes one address of each family, without a scope"},
    {"[Egress]\nSource=0.0.0.0\n",
     "2: \"0.0.0.0\": Source= takes one address of each family, without a scope"},
    {"[Egress]\nSource=192.0.2.1 192.0.2.2\n",
     "2: \"192.0.2.2\": Source= takes one address of each family, without a scope"},
    {"[Egress]\nSource=fe80::1\n",
     "2: \"fe80::1\": Source= takes one address of each family, without a scope"},
    {"[Egress]\nSource=::ffff:192.0.2.1\n",
     "2: \"::ffff:192.0.2.1\": Source= takes one address of each family, without a scope"},
    {"[Egress]\nSource=224.0.0.1\n",
     "2: \"224.0.0.1\": Source= takes one address of each family, without a scope"},
};

START_LOOP_TEST(test_policy_refused, 0, COUNT(refused))
{
    struct policy *policy = policy_new(POLICY_DENY);
    char error[POLICY_ERROR_MAX] = "", expected[POLICY_ERROR_MAX];
    int r = policy_text_add(policy, "p", refused[_i].text, strlen(refused[_i].text), error);

    snprintf(expected, sizeof(expected), "p:%s", refused[_i].error);
    ck_assert_msg(r == -EBADMSG && strcmp(error, expected) == 0, "%d: %s, not %s", r, error,
                  expected);
    ck_assert_uint_eq(policy_file_count(policy), 0);
    policy_unref(policy);
}
END_TEST

/* ---- settings: the first file that sets a key ---- */

START_TEST(test_policy_settings_of_the_first_file)
{
    static const char *const texts[] = {
        "[Match]\nUser=1\n[Limits]\nSockets=100\n[Audit]\nAudit=no\n",
        "[Limits]\nSockets=200\n[Egress]\nDevice=one\n",
        ("[Limits]\nSockets=300\nOps=300\n[Audit]\nAudit=required\n"
         "[Egress]\nDevice=two\nSource=192.0.2.1\n"),
        "[Limits]\nOps=400\n[Egress]\nSource=2001:db8::1\n",
    };
    struct policy *policy = policy_new(POLICY_DENY);
    const struct policy_settings *settings;
    struct identity identity = {.pidfd = -1};
    char error[POLICY_ERROR_MAX];
    struct policy_view *view;

    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(policy_text_add(policy, "p", texts[i], strlen(texts[i]), error), 0);
    view = policy_view_new(policy, &identity, "default");
    settings = policy_view_settings(view);
    ck_assert_uint_eq(settings->limits.set, 1u << POLICY_LIMIT_SOCKETS | 1u << POLICY_LIMIT_OPS);
    ck_assert_uint_eq(settings->limits.value[POLICY_LIMIT_SOCKETS], 200);
    ck_assert_uint_eq(settings->limits.value[POLICY_LIMIT_OPS], 300);
    ck_assert_int_eq(settings->audit, POLICY_AUDIT_REQUIRED);
    ck_assert_str_eq(settings->egress.device, "one");
    ck_assert(settings->egress.has_source);
    ck_assert_uint_eq(settings->egress.source4.s_addr, inet_addr("192.0.2.1"));
    ck_assert(IN6_IS_ADDR_UNSPECIFIED(&settings->egress.source6));
    identity.uid = 1;
    policy_view_replace(view, policy, &identity, "default");
    ck_assert_uint_eq(settings->limits.value[POLICY_LIMIT_SOCKETS], 100);
    ck_assert_int_eq(settings->audit, POLICY_AUDIT_NO);
    policy_view_free(view);
    policy_unref(policy);
}
END_TEST

/* ---- files and their directory ---- */

static const char *write_policy(const char *name, const char *text)
{
    static char path[256];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(path, 0644), 0);
    return path;
}

static char load_error[POLICY_ERROR_MAX];

static int load(struct policy **ret)
{
    const struct policy_source source = {.dirs = {dir}, .dir_count = 1};

    return policy_load(&source, load_error, ret);
}

static void expect_refused(int r, const char *error)
{
    char expected[POLICY_ERROR_MAX];
    struct policy *policy;

    ck_assert_int_eq(load(&policy), r);
    snprintf(expected, sizeof(expected), "%s%s", dir, error);
    ck_assert_str_eq(load_error, expected);
}

START_TEST(test_policy_directory)
{
    struct identity identity = {.pidfd = -1};
    struct policy_answer answer;
    struct policy_view *view;
    struct policy *policy;
    char text[128], expected[128];

    ck_assert_int_eq(load(&policy), 0);
    ck_assert_uint_eq(policy_file_count(policy), 0);
    policy_unref(policy);
    write_policy("b.policy", R("Deny=tcp * *\n"));
    write_policy("a.policy", R("Allow=tcp a.example *\n"));
    write_policy("B.policy", R("Deny=tcp a.example 1\n"));
    write_policy("a.conf", "nothing of ours");
    write_policy("a.policy~", "nothing of ours");
    write_policy(".hidden.policy", "nothing of ours");
    write_policy(".policy", "nothing of ours");
    ck_assert_int_eq(load(&policy), 0);
    ck_assert_uint_eq(policy_file_count(policy), 3);
    view = policy_view_new(policy, &identity, "default");
    answer = policy_text_ask(view, "a.example", NULL, 1);
    snprintf(expected, sizeof(expected), "deny %s/B.policy:2", dir);
    ck_assert_str_eq(policy_text_answer(&answer, text, sizeof(text)), expected);
    answer = policy_text_ask(view, "a.example", NULL, 2);
    snprintf(expected, sizeof(expected), "allow %s/a.policy:2", dir);
    ck_assert_str_eq(policy_text_answer(&answer, text, sizeof(text)), expected);
    policy_view_free(view);
    policy_unref(policy);
}
END_TEST

START_TEST(test_policy_one_bad_file_is_the_end)
{
    write_policy("a.policy", R("Allow=tcp * *\n"));
    write_policy("b.policy", R("Allow=tcp * *\nDenny=tcp * *\n"));
    expect_refused(-EBADMSG, "/b.policy:3: unknown key Denny= in [Rules]");
}
END_TEST

START_TEST(test_policy_file_of_others)
{
    const char *path = write_policy("a.policy", R("Allow=tcp * *\n"));

    ck_assert_int_eq(chmod(path, 0664), 0);
    expect_refused(-EPERM, "/a.policy: must not be writable by its group or by others");
    ck_assert_int_eq(chmod(path, 0646), 0);
    expect_refused(-EPERM, "/a.policy: must not be writable by its group or by others");
    if (geteuid() != 0)
        TEST_SKIP("only root gives files away");
    ck_assert_int_eq(chmod(path, 0644), 0);
    ck_assert_int_eq(chown(path, 12345, 0), 0);
    expect_refused(-EPERM, "/a.policy: must belong to root or to the user that reads it");
}
END_TEST

START_TEST(test_policy_directory_of_others)
{
    ck_assert_int_eq(chmod(dir, 0775), 0);
    expect_refused(-EPERM, ": must not be writable by its group or by others");
    ck_assert_int_eq(chmod(dir, 01777), 0);
    expect_refused(-EPERM, ": must not be writable by its group or by others");
    if (geteuid() != 0)
        TEST_SKIP("only root gives directories away");
    ck_assert_int_eq(chmod(dir, 0755), 0);
    ck_assert_int_eq(chown(dir, 12345, 0), 0);
    expect_refused(-EPERM, ": must belong to root or to the user that reads it");
}
END_TEST

START_TEST(test_policy_no_regular_file)
{
    char path[64];

    snprintf(path, sizeof(path), "%s/a.policy", dir);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    expect_refused(-EPERM, "/a.policy: not a regular file");
    unlink(path);
    ck_assert_int_eq(symlink("/etc/passwd", path), 0);
    expect_refused(-ELOOP, "/a.policy: a symbolic link");
    unlink(path);
    ck_assert_int_eq(mkdir(path, 0755), 0);
    expect_refused(-EISDIR, "/a.policy: Is a directory");
}
END_TEST

START_TEST(test_policy_no_directory)
{
    strcat(dir, "/none");
    expect_refused(-ENOENT, ": No such file or directory");
    dir[strlen(dir) - 5] = '\0';
}
END_TEST

START_TEST(test_policy_too_many_files)
{
    char name[32];

    for (unsigned int i = 0; i <= POLICY_FILES_MAX; i++) {
        snprintf(name, sizeof(name), "%03u.policy", i);
        write_policy(name, "");
    }
    expect_refused(-E2BIG, "/256.policy: more than 256 files");
}
END_TEST

START_TEST(test_policy_too_many_rules)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    fputs("[Rules]\n", out);
    for (unsigned int i = 0; i < POLICY_RULES_MAX; i++)
        fprintf(out, "Allow=tcp a%u.b %u\n", i / 65535, i % 65535 + 1);
    fclose(out);
    write_policy("a.policy", text);
    write_policy("b.policy", R("Allow=tcp * 1\n"));
    expect_refused(-E2BIG, "/b.policy:2: too many rules");
    free(text);
}
END_TEST

START_TEST(test_policy_listed_files)
{
    char one[64], two[64], none[64];
    const char *const files[] = {one, two, none};
    struct policy_source source = {
        .dirs = {"/nonexistent"}, .dir_count = 1, .files = files, .file_count = 2};
    struct policy *policy;

    strcpy(one, write_policy("z", R("Allow=tcp * *\n")));
    strcpy(two, write_policy("a", R("Deny=tcp * *\n")));
    snprintf(none, sizeof(none), "%s/none", dir);
    ck_assert_int_eq(policy_load(&source, load_error, &policy), 0);
    ck_assert_str_eq(policy->files[0]->path, one);
    ck_assert_str_eq(policy->files[1]->path, two);
    policy_unref(policy);
    source.file_count = 3;
    ck_assert_int_eq(policy_load(&source, load_error, &policy), -ENOENT);
    ck_assert_str_eq(load_error + strlen(none), ": No such file or directory");
}
END_TEST

/* ---- the linter ---- */

static const struct {
    const char *text;
    const char *warnings; /* each behind "path:" */
} checked[] = {
    {R("Allow=tcp * *\n"), ""},
    {R("Allow=tcp 8.8.8.0/24 *\n"), "2: the rules allow addresses only, so no name is resolved"},
    {R("Deny=tcp a.b *\nAllow=tcp 8.8.8.0/24 *\nAllow=tcp c.b *\n"),
     "2: denies only the name: line 3 allows addresses that the name may have"},
    {R("Deny=tcp *.b 80\nAllow=tcp * *\n"),
     "2: denies only the name: line 3 allows addresses that the name may have"},
    {R("Deny=tcp *.b 80\nAllow=tcp * 81-90\n"), ""},
    {R("Deny=tcp *.b 80\nAllow=tcp a.b *\n"), ""},
    {R("Allow=tcp * *\nDeny=tcp 10.0.0.0/8 80\n"), "3: never reached: line 2 decides first"},
    {R("Allow=tcp * 1-100\nAllow=tcp a.b 80\n"), "3: never reached: line 2 decides first"},
    {R("Allow=tcp * 1-100\nAllow=tcp a.b 80-101\n"), ""},
    {R("Allow=tcp *.b 443\nAllow=tcp a.b 80,443\n"),
     "3: not reached for port 443: line 2 decides first"},
    {R("Allow=tcp *.b *\nAllow=tcp a.b 80\n"), "3: never reached: line 2 decides first"},
    {R("Allow=tcp *.b *\nAllow=tcp *.a.b 80\n"), "3: never reached: line 2 decides first"},
    {R("Allow=tcp *.a.b *\nAllow=tcp *.b 80\nAllow=tcp b 80\n"), ""},
    {R("Allow=tcp a.b 1-10\nAllow=tcp a.b 21-30\nAllow=tcp a.b 11-20\nAllow=tcp a.b 5-25\n"),
     "5: never reached: line 4 and lines before it decide first"},
    {R("Allow=tcp a.b 1-10\nAllow=tcp a.b 12-20\nAllow=tcp a.b 5-15\n"), ""},
    {R("Allow=tcp a.b 2-10\nAllow=tcp a.b 1-10\nAllow=tcp a.b 1-11\n"), ""},
    {R("Deny=tcp 8.8.0.0/16 *\nAllow=tcp 8.8.8.8 80\nAllow=tcp a.b *\n"),
     "3: never reached: line 2 decides first"},
    {R("Allow=tcp 8.8.8.8 80\nDeny=tcp 8.8.0.0/16 *\nAllow=tcp a.b *\n"), ""},
    {R("Allow=tcp 10.0.0.0/8 * +private\nAllow=tcp a.b *\n"),
     "2: +private has no effect on these addresses"},
    {R("Allow=tcp 8.8.8.8 * +loopback\nAllow=tcp a.b *\n"),
     "2: +loopback has no effect on these addresses"},
    {R("Allow=tcp 127.0.0.1 * +local\nAllow=tcp a.b *\n"),
     "2: +local has no effect on these addresses"},
    {R("Allow=tcp 0.0.0.0/0 * +loopback +private +local\nAllow=tcp a.b * +special\n"), ""},
    {R("Allow=tcp 224.0.0.0/8 *\nAllow=tcp a.b *\n"),
     "2: connections to this kind of address are not possible"},
    {R("Mode=learn\nLearnUntil=2001-01-01\n"), "3: this date has passed, so learn mode is off"},
    {R("Mode=learn\nLearnUntil=2999-01-01\n"), ""},
    {M("User=no-one\n") R("Allow=tcp * *\n"), "2: User=no-one: no such user: it matches no client"},
    {M("User=!no-such-user\n") R("Allow=tcp * *\n"),
     "2: User=!no-such-user: no such user: it excludes an unknown user, so the file applies to no client"},
    {M("User=0\nUser=no-such-user\n") "[Limits]\nClients=1\n",
     "3: User=no-such-user: no such user: everything is denied to clients to which the file may apply"},
    {M("Group=50\n") R("Allow=tcp * *\n"), ""},
    {M("Group=50\n") R("Deny=tcp 8.8.8.8 *\nAllow=tcp * *\n"),
     "2: Group= does not restrict clients that can leave the group (root, users with subordinate user IDs)"},
    {M("Group=50\n") "[Limits]\nClients=2\n",
     "2: Group= does not restrict clients that can leave the group (root, users with subordinate user IDs)"},
    {M("Listener=control\n"), "2: clients of the control listener cannot open network sockets"},
};

START_LOOP_TEST(test_policy_check, 0, COUNT(checked))
{
    const char *path = write_policy("p", checked[_i].text);
    char *paths[] = {(char *)(uintptr_t)path, NULL};
    char *out = NULL, *err = NULL, expected[256] = "";
    size_t out_len, err_len;
    FILE *out_file = open_memstream(&out, &out_len), *err_file = open_memstream(&err, &err_len);
    struct policy_check check = {.out = out_file, .err = err_file};
    int r = policy_check_files(&check, paths);

    fclose(out_file);
    fclose(err_file);
    if (checked[_i].warnings[0])
        snprintf(expected, sizeof(expected), "%s:%s\n", path, checked[_i].warnings);
    ck_assert_int_eq(r, 0);
    ck_assert_str_eq(err, "");
    ck_assert_str_eq(out, expected);
    free(out);
    free(err);
}
END_TEST
