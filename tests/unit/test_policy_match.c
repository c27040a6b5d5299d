/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which clients a file applies to, and what becomes of those for whom that is unknown. */
#include <stdio.h>
#include <string.h>

#include "daemon/identity/identity.h"
#include "tests/lib/suite.h"
#include "tests/unit/policy_text.h"

/* A file that denies something, and one that only allows. */
#define M(keys) "[Match]\n" keys "[Rules]\nAllow=tcp * *\nDeny=tcp 192.0.2.1 1\n"
#define ALLOWS(keys) "[Match]\n" keys "[Rules]\nAllow=tcp * *\n"
#define YES "allow"
#define NO "deny"
#define UNKNOWN "unknown"

/* uid 1000, groups 1000, 50 and 60. */
static const struct identity session = {
    .uid = 1000,
    .gid = 1000,
    .gids_known = true,
    .gid_count = 2,
    .gids = (gid_t[]){50, 60},
    .units_known = true,
    .unit = "session-3.scope",
    .cgroup = "/user.slice/user-1000.slice/session-3.scope",
};

static const struct identity service = {
    .uid = 33,
    .gid = 33,
    .gids_known = true,
    .units_known = true,
    .unit = "web@one.service",
    .cgroup = "/system.slice/system-web.slice/web@one.service",
};

/* Below its user's manager, in a unit and a cgroup that the user has named. */
static const struct identity app = {
    .uid = 1000,
    .gid = 1000,
    .gids_known = true,
    .units_known = true,
    .unit = "user@1000.service",
    .user_unit = "web.service",
    .cgroup = "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service",
};

/* In the manager of user 1000, but as user 1001: a set-user-ID program. */
static const struct identity borrowed = {
    .uid = 1001,
    .gid = 1001,
    .gids_known = true,
    .units_known = true,
    .unit = "user@1000.service",
    .user_unit = "web.service",
    .cgroup = "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service",
};

/* A cgroup that is called "*", below a service; one that has no unit. */
static const struct identity star = {
    .gids_known = true, .units_known = true, .unit = "x.service", .cgroup = "/a.slice/x.service/*"};
static const struct identity bare = {
    .gids_known = true, .units_known = true, .cgroup = "/docker/0123"};

static const struct identity many = {
    .uid = 1000, .gid = 1000, .gids_known = true, .gid_count = 65536};
static const struct identity gone = {.uid = 1000, .gid = 1000};
static const struct identity foreign = {
    .uid = IDENTITY_ID_UNKNOWN, .gid = IDENTITY_ID_UNKNOWN, .gids_known = true};

/* Containers of user 1000, as one of its subordinate ids; and of somebody. */
static const struct identity container = {
    .uid = 100999,
    .gid = 100999,
    .ownership = IDENTITY_SUBORDINATE,
    .owner = 1000,
    .gids_known = true,
    .units_known = true,
    .unit = "user@1000.service",
    .user_unit = "web.service",
    .cgroup = "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service",
};
static const struct identity somebodys = {
    .uid = 100999,
    .gid = 100999,
    .ownership = IDENTITY_OWNER_UNKNOWN,
    .owner = 100000,
    .gids_known = true,
    .units_known = true,
    .unit = "user@1000.service",
    .user_unit = "web.service",
    .cgroup = "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service",
};

static const struct {
    const char *text;
    const struct identity *identity;
    const char *result;
} cases[] = {
    {"[Rules]\nAllow=tcp * *\n", &gone, YES},
    {M("User=1000\n"), &session, YES},
    {M("User=1001\n"), &session, NO},
    {M("User=1001 1000\n"), &session, YES},
    {M("User=1001\nUser=1000\n"), &session, YES},
    {M("User=root\n"), &session, NO},
    {M("User=root\n"), &bare, YES},
    {M("User=!1000\n"), &session, NO},
    {M("User=!1001\n"), &session, YES},
    {M("User=!1001 !1000\n"), &session, NO},
    {M("User=!1001 1000\n"), &session, YES},
    {M("User=1000 !1000\n"), &session, NO},
    {M("User=!1000\n"), &foreign, UNKNOWN},
    {ALLOWS("User=!1000\n"), &foreign, NO},
    {M("User=!1000\n"), &container, NO},
    {M("User=!100999\n"), &container, NO},
    {M("User=!1001\n"), &container, YES},
    {M("User=!100999\n"), &somebodys, NO},
    {M("User=!1000\n"), &somebodys, UNKNOWN},
    {M("User=!no-such-user\n"), &session, UNKNOWN},
    {ALLOWS("User=!no-such-user\n"), &session, NO},
    {M("User=!no-such-user !1000\n"), &session, NO},
    {M("User=1001 !no-such-user\n"), &session, NO},
    {M("Unit=web@*.service\n"), &service, YES},
    {M("Unit=w*@o*e.service\n"), &service, YES},
    {M("Unit=web@*.scope\n"), &service, NO},
    {M("Unit=eb@*.service\n"), &service, NO},
    {M("Unit=web@one.service*.service\n"), &service, NO},
    {M("Unit=session-*.scope\n"), &session, YES},
    {M("Unit=x*.service\n"), &bare, NO}, /* it has none */
    {M("Unit=web@*.service\n"), &gone, UNKNOWN},
    {M("User=1000\nUserUnit=w*.service\n"), &app, YES},
    {M("User=1000\nUserUnit=w*.service\n"), &borrowed, NO},
    {M("User=1000\n"), &foreign, UNKNOWN},
    /* A subordinate id is its owner's, and itself. */
    {M("User=1000\n"), &container, YES},
    {M("User=100999\n"), &container, YES},
    {M("User=1001\n"), &container, NO},
    {M("User=1000\nUserUnit=web.service\n"), &container, YES},
    {M("User=1000\nUserUnit=other.service\n"), &container, NO},
    {M("User=100999\n"), &somebodys, YES},
    {M("User=1000\n"), &somebodys, UNKNOWN},
    {M("User=100000\n"), &somebodys, UNKNOWN}, /* it only stands for the owner */
    {M("User=100999\nUserUnit=web.service\n"), &somebodys, UNKNOWN},
    {M("User=100999\nUserUnit=other.service\n"), &somebodys, NO},
    {M("Group=1000\n"), &session, YES},
    {M("Group=50\n"), &session, YES},
    {M("Group=61 60\n"), &session, YES},
    {M("Group=51\n"), &session, NO},
    {M("Group=1000\n"), &gone, YES},
    {M("Group=51\n"), &gone, UNKNOWN},
    {M("Group=51\n"), &foreign, UNKNOWN},
    {M("User=1000\nGroup=50\n"), &session, YES},
    {M("User=1000\nGroup=51\n"), &session, NO},
    {M("User=1001\nGroup=50\n"), &session, NO},
    {M("User=1001\nGroup=51\n"), &gone, NO},
    {M("User=1000\nGroup=51\n"), &gone, UNKNOWN},
    {M("Listener=default\n"), &session, YES},
    {M("Listener=other\n"), &session, NO},
    {M("Listener=other default\nUser=1000\n"), &session, YES},
    {M("Listener=other\nUnit=x.service\n"), &gone, NO},

    {M("Unit=session-3.scope\n"), &session, YES},
    {M("Unit=session-30.scope\n"), &session, NO},
    {M("Unit=web@one.service\n"), &service, YES},
    {M("Unit=web@two.service\n"), &service, NO},
    {M("Unit=web@two.service web@one.service\n"), &service, YES},
    /* The system's unit, not the user's. */
    {M("Unit=web.service\n"), &app, NO},
    {M("Unit=user@1000.service\n"), &app, YES},
    {M("Unit=x.service\n"), &bare, NO},
    {M("Unit=x.service\n"), &gone, UNKNOWN},
    {M("User=1001\nUnit=x.service\n"), &gone, NO},

    {M("User=1000\nUserUnit=web.service\n"), &app, YES},
    {M("User=1000\nUserUnit=other.service\n"), &app, NO},
    {M("User=1001\nUserUnit=web.service\n"), &app, NO},
    {M("User=1000 1001\nUserUnit=web.service\n"), &borrowed, NO},
    {M("User=1000\nUserUnit=web.service\n"), &session, NO},
    {M("User=1000\nUserUnit=web.service\n"), &gone, UNKNOWN},

    {M("Cgroup=/system.slice/system-web.slice/web@one.service\n"), &service, YES},
    {M("Cgroup=/system.slice/system-web.slice\n"), &service, NO},
    {M("Cgroup=/system.slice/system-web.slice/web@one.service/x\n"), &service, NO},
    {M("Cgroup=/system-web.slice/web@one.service\n"), &service, NO},
    {M("Cgroup=/system.slice/system-web.slice/*\n"), &service, YES},
    {M("Cgroup=/system.slice/system-web.slice/web@*.service\n"), &service, YES},
    {M("Cgroup=/system.slice/system-web.slice/web@*one*.service\n"), &service, YES},
    {M("Cgroup=/system.slice/system-web.slice/*@two.service\n"), &service, NO},
    {M("Cgroup=/system.slice/system-web.slice/w*e*e.service\n"), &service, YES},
    {M("Cgroup=/system.slice/system-web.slice/*x*\n"), &service, NO},
    {M("Cgroup=/*/*/*\n"), &service, YES},
    {M("Cgroup=/*/*\n"), &service, NO},
    {M("Cgroup=/*\n"), &service, NO},
    {M("Cgroup=/*/*/*/*\n"), &service, NO},
    {M("Cgroup=/system.slice/*\n"), &service, NO},
    {M("Cgroup=/system.slice/*web.slice/*\n"), &service, YES},
    /* Below a unit the pattern has to say it all. */
    {M("Cgroup=/user.slice/user-*.slice/*/*/*\n"), &app, NO},
    {M("Cgroup=/user.slice/user-*.slice/*/app.slice/*\n"), &app, NO},
    {M("Cgroup=/user.slice/user-*.slice/*/app.slice/web.service\n"), &app, YES},
    {M("Cgroup=/user.slice/user-1000.slice/user@1000.service/app.slice/web.service\n"), &app, YES},
    {M("Cgroup=/user.slice/user-*.slice/session-*.scope\n"), &session, YES},
    {M("Cgroup=/*/*/*\n"), &star, NO},
    {M("Cgroup=/a.slice/*/*\n"), &star, NO},
    {M("Cgroup=/docker/0123\n"), &bare, YES},
    {M("Cgroup=/*/0123\n"), &bare, YES},
    {M("Cgroup=/*/*\n"), &bare, NO},
    {M("Cgroup=/*\n"), &gone, UNKNOWN},
    {M("Cgroup=/x /docker/0123\n"), &bare, YES},

    /* What cannot take anything away need not be meant. */
    {ALLOWS("User=1000\n"), &foreign, NO},
    {ALLOWS("Group=51\n"), &gone, NO},
    {ALLOWS("Group=1000\n"), &gone, YES},
    {ALLOWS("Unit=x.service\n"), &gone, NO},
    {ALLOWS("User=1000\n"), &somebodys, NO},
    {ALLOWS("Group=51\n") "Mode=learn\nLearnUntil=2999-12-31\n", &gone, NO},
    {ALLOWS("Group=51\n") "[Limits]\nClients=1\n", &gone, UNKNOWN},
    {ALLOWS("Group=51\n") "[Audit]\nAudit=yes\n", &gone, UNKNOWN},
    {ALLOWS("Group=51\n") "[Egress]\nDevice=eth0\n", &gone, UNKNOWN},
    {ALLOWS("Group=51\n") "[Egress]\nSource=192.0.2.1\n", &gone, UNKNOWN},

    /* Users and groups that do not exist match no client; of others it is not known. */
    {ALLOWS("User=no-such-user\n"), &session, NO},
    {ALLOWS("Group=no-such-group\n"), &session, NO},
    {ALLOWS("Group=no-such-group\n"), &foreign, NO},
    {ALLOWS("User=no-such-user 1000\n"), &session, YES},
    {M("User=no-such-user\n"), &session, UNKNOWN},
    {M("User=no-such-user\n"), &foreign, UNKNOWN},
    {M("Group=no-such-group\n"), &session, UNKNOWN},
    {M("User=no-such-user 1000\n"), &session, YES},
    {M("User=no-such-user 1000\n"), &service, UNKNOWN},
    {M("User=no-such-user\nUnit=web@one.service\n"), &session, NO},
    {M("User=no-such-user\nUnit=web@one.service\n"), &service, UNKNOWN},

    /* Groups that were not kept. */
    {M("Group=7\n"), &many, UNKNOWN},
    {ALLOWS("Group=7\n"), &many, NO},
};

START_LOOP_TEST(test_policy_match, 0, sizeof(cases) / sizeof(cases[0]))
{
    struct policy *policy = policy_new(POLICY_DENY);
    char error[POLICY_ERROR_MAX];
    struct policy_answer answer;
    struct policy_view *view;
    const char *result;

    ck_assert_msg(policy_text_add(policy, "p", cases[_i].text, strlen(cases[_i].text), error) == 0,
                  "%s", error);
    view = policy_view_new(policy, cases[_i].identity, "default");
    answer = policy_text_ask(view, "a.example", NULL, 80);
    result = answer.is_allowed ? YES : answer.file ? UNKNOWN : NO;
    ck_assert_msg(strcmp(result, cases[_i].result) == 0, "%s\n%s, not %s", cases[_i].text, result,
                  cases[_i].result);
    if (!answer.is_allowed && answer.file)
        ck_assert_int_eq(strncmp(answer.reason, "the policy ", 11), 0);
    policy_view_free(view);
    policy_unref(policy);
}
END_TEST

/* The text for a client to which no file applies says what a file would have to name. */
START_TEST(test_policy_reason_without_a_file)
{
    static gid_t gids[] = {50, 60};
    static const struct {
        const char *listener, *reason;
        struct identity client;
    } clients[] = {
        {"default",
         "(listener default, uid 1000, groups 1000 50 60, unit a.service)",
         {.uid = 1000,
          .gid = 1000,
          .gids_known = true,
          .gid_count = 2,
          .gids = gids,
          .units_known = true,
          .unit = "a.service"}},
        {"web",
         "(listener web, uid 7, groups 8, unit b.service)",
         {.uid = 7, .gid = 8, .unit = "user@7.service", .user_unit = "b.service"}},
        {"x",
         "(listener x, user unknown)",
         {.uid = IDENTITY_ID_UNKNOWN, .gid = IDENTITY_ID_UNKNOWN}},
        {"x", "(listener x)", {.uid = IDENTITY_ID_NOBODY, .gid = IDENTITY_ID_NOBODY}},
    };
    struct policy *policy = policy_new(POLICY_DENY);
    const char text[] = "[Match]\nUser=4711\n"
                        "[Rules]\nAllow=tcp * *\n";
    char error[POLICY_ERROR_MAX];

    ck_assert_int_eq(policy_text_add(policy, "p", text, strlen(text), error), 0);
    ck_assert_int_eq(policy_text_add(policy, "masks", "# nothing\n", 10, error), 0);
    for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++) {
        struct policy_view *view = policy_view_new(policy, &clients[i].client, clients[i].listener);
        struct policy_answer answer = policy_text_ask(view, "a.example", NULL, 80);
        char expected[256];

        snprintf(expected, sizeof(expected), "no policy file applies to this client %s",
                 clients[i].reason);
        ck_assert_str_eq(answer.reason, expected);
        ck_assert_str_eq(policy_view_unmatched(view), expected);
        policy_view_free(view);
    }
    policy_unref(policy);
}
END_TEST

/* However much there is to say, it is a reason's length. */
START_TEST(test_policy_reason_of_much)
{
    gid_t gids[100];
    struct identity client = {
        .uid = 4000000000u, .gid = 4000000000u, .gid_count = 100, .gids = gids};
    struct policy *policy = policy_new(POLICY_DENY);
    struct policy_view *view;

    for (unsigned int i = 0; i < 100; i++)
        gids[i] = 4000000001u + i;
    for (size_t len = 1; len < sizeof(client.unit); len++) {
        memset(client.unit, 'u', len);
        view = policy_view_new(policy, &client, "a-listener-with-a-name-of-31-ch");
        ck_assert_uint_le(strlen(policy_view_unmatched(view)), POLICY_REASON_MAX);
        ck_assert(strrchr(policy_view_unmatched(view), ')')[1] == '\0');
        policy_view_free(view);
    }
    policy_unref(policy);
}
END_TEST

/* Whatever other files allow, before it or behind it. */
START_TEST(test_policy_unknown_denies_everything)
{
    static const char *const texts[] = {
        "[Rules]\nAllow=tcp * *\n",
        "# comment\n[Match]\nUser=1000\nUnit=x.service\n[Rules]\nDeny=tcp * 25\n",
        "[Rules]\nAllow=tcp a.example *\n",
    };
    struct policy *policy = policy_new(POLICY_DENY);
    char error[POLICY_ERROR_MAX], name[] = "p", text[64];
    struct policy_answer answer;
    struct policy_view *view;

    for (size_t i = 0; i < 3; i++, name[0]++)
        ck_assert_int_eq(policy_text_add(policy, name, texts[i], strlen(texts[i]), error), 0);
    view = policy_view_new(policy, &gone, "default");
    answer = policy_text_ask(view, "a.example", NULL, 80);
    ck_assert_str_eq(policy_text_answer(&answer, text, sizeof(text)), "deny q:4");
    answer = policy_text_ask(view, NULL, "8.8.8.8", 80);
    ck_assert_str_eq(policy_text_answer(&answer, text, sizeof(text)), "deny q:4");
    policy_view_replace(view, policy, &session, "default");
    answer = policy_text_ask(view, "a.example", NULL, 80);
    ck_assert_str_eq(policy_text_answer(&answer, text, sizeof(text)), "allow p:2");
    policy_view_free(view);
    policy_unref(policy);
}
END_TEST
