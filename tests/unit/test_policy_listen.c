/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How Listen= and Reserve= are written, and what is refused, with its line. What they mean:
 * tests/conformance/test_listen_policy.py.
 */
#include <stdio.h>
#include <string.h>

#include "daemon/policy/listen.h"
#include "tests/lib/suite.h"
#include "tests/unit/policy_text.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define R(rules) "[Rules]\n" rules
#define L(rest) R("Listen=tcp 127.0.0.1 1 " rest "\n")

static const struct {
    const char *text;
    const char *error; /* behind "p:"; NULL: none */
} texts[] = {
    {R("Listen=tcp * 80\nListen=tcp * *\nListen=tcp * 0\nListen=tcp 127.0.0.1 8000-8080\n"), NULL},
    {R("Listen=tcp 0.0.0.0 http\nReserve=tcp * 80\n"), NULL},
    {R("Listen=tcp ::  443  from  ::1 \nReserve=tcp :: 443\nAllow=tcp * *\n"), NULL},
    {L("from 10.0.0.0/8,192.0.2.1,2001:db8::/32"), NULL},
    {R("Listen=tcp *\n"), "2: a rule has the form: protocol address port [from network,...]"},
    {R("Reserve=tcp *\n"), "2: a rule has the form: protocol address port"},
    {R("Listen=udp * shell\n"), "2: \"shell\" is not a port: a number, a range or *"},
    {R("Listen=sctp * 1\n"), "2: unknown protocol \"sctp\": use tcp or udp"},
    {R("Listen=tcp localhost 1\n"), "2: \"localhost\" is not an address"},
    {R("Listen=tcp 127.0.0.1 70000\n"), "2: \"70000\" is not a port from 1 to 65535"},
    {R("Listen=tcp * 1\nReserve=tcp * 1\nListen=tcp * 1 from ::1\n"),
     "4: line 2 already has the same address and port"},
    {R("Reserve=tcp * 1 from ::1\n"), "2: unknown \"from\" after the port"},
    {R("Reserve=tcp * 0\n"), "2: port 0 cannot be reserved"},
    {L("form ::1"), "2: unknown \"form\" after the port"},
    {L("from"), "2: \"from\" requires networks separated by commas"},
    {L("from ::1,"), "2: \"from\" requires networks separated by commas"},
    {L("from ::1,,::2"), "2: \"\" is not an address"},
    {L("from ::1 ::2"), "2: unknown \"::2\" after the port"},
    {L("from 10.0.0.1/8"), "2: bits are set after the prefix: did you mean 10.0.0.0/8?"},
};

START_LOOP_TEST(test_lines, 0, COUNT(texts))
{
    struct policy *policy = policy_new(POLICY_DENY);
    char error[POLICY_ERROR_MAX] = "", expected[POLICY_ERROR_MAX] = "";
    int r = policy_text_add(policy, "p", texts[_i].text, strlen(texts[_i].text), error);

    if (texts[_i].error)
        snprintf(expected, sizeof(expected), "p:%s", texts[_i].error);
    ck_assert_str_eq(error, expected);
    ck_assert_int_eq(r < 0, texts[_i].error != NULL);
    policy_unref(policy);
}
END_TEST

/* However many there are, each is compared with those before it. */
START_TEST(test_twins_are_found_among_many)
{
    static const unsigned int twins[] = {1, 500, POLICY_LISTENS_MAX - 1};
    static char text[(POLICY_LISTENS_MAX + 1) * 40];
    char error[POLICY_ERROR_MAX], expected[POLICY_ERROR_MAX];

    for (size_t i = 0; i < COUNT(twins); i++) {
        struct policy *policy = policy_new(POLICY_DENY);
        size_t n = (size_t)sprintf(text, "[Rules]\n");

        for (unsigned int port = 1; port < POLICY_LISTENS_MAX; port++)
            n += (size_t)sprintf(text + n, "Listen=tcp 127.0.0.%u %u\n", port % 250, port);
        n += (size_t)sprintf(text + n, "Listen=tcp 127.0.0.%u %u\n", twins[i] % 250, twins[i]);
        snprintf(expected, sizeof(expected),
                 "p:1025: line %u already has the same address and port", twins[i] + 1);
        ck_assert_int_lt(policy_text_add(policy, "p", text, n, error), 0);
        ck_assert_str_eq(error, expected);
        policy_unref(policy);
    }
}
END_TEST

START_TEST(test_no_more_than_there_may_be)
{
    static char text[(POLICY_LISTENS_MAX + 1) * 40];
    struct policy *policy = policy_new(POLICY_DENY);
    char error[POLICY_ERROR_MAX] = "";
    size_t n = (size_t)sprintf(text, "[Rules]\n");

    for (unsigned int port = 1; port <= POLICY_LISTENS_MAX + 1; port++)
        n += (size_t)sprintf(text + n, "Listen=tcp * %u\n", port);
    ck_assert_int_lt(policy_text_add(policy, "p", text, n, error), 0);
    ck_assert_str_eq(error, "p:1026: more than 1024 Listen= and Reserve= lines");
    policy_unref(policy);
}
END_TEST
