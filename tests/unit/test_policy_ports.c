/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Questions without a port: the answer is that of all ports together. */
#include <stdio.h>
#include <string.h>

#include "daemon/identity/identity.h"
#include "daemon/policy/judge_ports.h"
#include "tests/lib/suite.h"
#include "tests/unit/policy_text.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define R(rules) "[Rules]\n" rules

static const struct identity identity = {.pidfd = -1, .gids_known = true};

static int restrict_by(struct policy_view *view, const char *text)
{
    char error[POLICY_ERROR_MAX];

    return policy_view_restrict(view, text, strlen(text), error);
}

static unsigned int random_below(uint64_t *state, unsigned int below)
{
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (unsigned int)(*state >> 33) % below;
}

/* Rules whose ports are below 40, or all. */
static void make_rules(uint64_t *state, char *out, size_t size)
{
    static const char *const hosts[] = {"*",       "a.example", "*.example",
                                        "8.8.8.8", "8.0.0.0/8", "64:ff9b::/96"};
    size_t len = (size_t)snprintf(out, size, "[Rules]\n");

    for (unsigned int i = 1 + random_below(state, 6); i > 0; i--) {
        unsigned int first = 6 * i - random_below(state, 6); /* no rule says the same as another */
        unsigned int last = first + 1 + random_below(state, 40 - first);
        const char *verb = random_below(state, 2) ? "Allow" : "Deny";
        const char *host = hosts[random_below(state, COUNT(hosts))];

        if (i == 1 && random_below(state, 2) == 0)
            len += (size_t)snprintf(out + len, size - len, "%s=tcp %s *\n", verb, host);
        else
            len += (size_t)snprintf(out + len, size - len, "%s=tcp %s %u-%u\n", verb, host, first,
                                    last);
    }
}

static bool is_allowed_somewhere(const struct policy_view *view, const char *host,
                                 const char *address)
{
    for (uint32_t port = 1; port <= 41; port++) {
        uint16_t at = port == 41 ? UINT16_MAX : (uint16_t)port;

        if (host && !policy_text_ask(view, host, NULL, at).is_allowed)
            continue;
        if (!address || policy_text_ask(view, host, address, at).is_allowed)
            return true;
    }
    return false;
}

static bool judge_ports(const struct policy_view *view, const char *host, const char *address)
{
    struct policy_question question = {.host = host};
    struct sockaddr_storage addr;
    unsigned int steps = POLICY_STEPS;
    struct policy_answer answer;

    if (address) {
        policy_text_address(address, &addr);
        question.addr = (const struct sockaddr *)&addr;
    }
    answer = policy_judge_ports(view, &question, &steps);
    ck_assert(answer.is_allowed || answer.reason);
    ck_assert_uint_ge(steps, POLICY_STEPS - 60);
    return answer.is_allowed;
}

START_TEST(test_policy_ports_are_judged_as_one_by_one)
{
    static const char *const hosts[] = {NULL, "a.example", "b.example", "c.test"};
    static const char *const addresses[] = {NULL, "8.8.8.8", "9.9.9.9", "2600::1",
                                            "64:ff9b::808:808"};
    unsigned int allowed = 0;
    uint64_t state = 4711;

    for (int i = 0; i < 200; i++) {
        char rules[512], more[512];
        const char *const text = rules;
        struct policy_view *view;

        make_rules(&state, rules, sizeof(rules));
        make_rules(&state, more, sizeof(more));
        view = policy_text_view(&text, 1, &identity);
        if (i % 2)
            ck_assert_int_eq(restrict_by(view, more), 0);
        for (size_t h = 0; h < COUNT(hosts); h++)
            for (size_t a = h == 0; a < COUNT(addresses); a++) {
                bool is_allowed = is_allowed_somewhere(view, hosts[h], addresses[a]);

                allowed += is_allowed;
                ck_assert_msg(judge_ports(view, hosts[h], addresses[a]) == is_allowed,
                              "%s and %s by\n%s%s", hosts[h] ? hosts[h] : "no name",
                              addresses[a] ? addresses[a] : "no address", rules, i % 2 ? more : "");
            }
        policy_view_free(view);
    }
    ck_assert_uint_gt(allowed, 100);
}
END_TEST

START_TEST(test_policy_ports_are_bounded)
{
    static const char *const text = R(
        "Deny=tcp a.example 1\nDeny=tcp a.example 3\nAllow=tcp a.example 5\n");
    const struct policy_question question = {.host = "a.example"};
    struct policy_view *view = policy_text_view(&text, 1, &identity);
    struct policy_answer answer;
    unsigned int steps = 5;

    answer = policy_judge_ports(view, &question, &steps);
    ck_assert(answer.is_allowed);
    ck_assert_uint_eq(steps, 0);
    steps = 4;
    answer = policy_judge_ports(view, &question, &steps);
    ck_assert(!answer.is_allowed);
    ck_assert_uint_eq(steps, 0);
    policy_view_free(view);
}
END_TEST
