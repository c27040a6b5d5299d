/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What policy has said of a datagram's destination is asked again when policy has changed for that
 * session, and not because of others. What it says then: tests/protocol/test_datagrams.py.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/policy/policy.h"
#include "daemon/verbs/dispatch.h"
#include "proto/errors.h"
#include "tests/lib/suite.h"
#include "tests/unit/daemon_session.h"

#define RULES "[Rules]\nAllow=udp * * +loopback\n"

static struct core *core;
static struct session *other;
static int peer, other_client;
static struct endpoint to;
static unsigned int judged;

struct policy_answer __real_policy_judge(const struct policy_view *view,
                                         const struct policy_question *question);
struct policy_answer __wrap_policy_judge(const struct policy_view *view,
                                         const struct policy_question *question);

struct policy_answer __wrap_policy_judge(const struct policy_view *view,
                                         const struct policy_question *question)
{
    judged++;
    return __real_policy_judge(view, question);
}

static void on_other_gone(struct session *s)
{
    (void)s;
    other = NULL;
}

static void begin_other(void)
{
    struct session_config config = {
        .worker = &core->worker,
        .listener = "default",
        .dispatch = dispatch_frame,
        .on_gone = on_other_gone,
    };
    char why[SESSION_WHY_MAX];
    struct identity identity;
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(identity_read(pair[0], &identity), 0);
    ck_assert_int_eq(session_new(&config, pair[0], &identity, why, &other), 0);
    other_client = pair[1];
}

static void setup(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct request open = {.verb = VERB_OPEN, .socket = 1};
    socklen_t len = sizeof(addr);

    core = core_new();
    peer = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(peer, (struct sockaddr *)&addr, len), 0);
    ck_assert_int_eq(getsockname(peer, (struct sockaddr *)&addr, &len), 0);
    to = (struct endpoint){.address_len = 4, .port = ntohs(addr.sin_port)};
    memcpy(to.address, &addr.sin_addr, 4);
    open.open.family = FAMILY_INET;
    open.open.type = SOCKET_TYPE_DATAGRAM;
    core_request(core, &open, NULL, 0);
}

static void teardown(void)
{
    close(other_client);
    core_settle(core);
    ck_assert_ptr_null(other);
    core_free(core);
    close(peer);
}

TEST_FIXTURE(setup, teardown);

/* How often policy was asked for it. */
static unsigned int send_datagram(void)
{
    struct request send = {.verb = VERB_SEND, .socket = 1};
    unsigned int before = judged;
    uint64_t token;

    send.send.endpoint = to;
    token = core_request(core, &send, "x", 1);
    core_settle(core);
    ck_assert_uint_eq(core_completion(core, token).error, ERR_SUCCESS);
    return judged - before;
}

static void restrict_other(void)
{
    struct request hello = {.verb = VERB_HELLO}, narrow = {.verb = VERB_RESTRICT, .op = 1};
    uint8_t frame[2 * CODEC_REQUEST_MAX + sizeof(RULES)];
    long n, m;

    hello.hello.version = 1;
    n = asock_codec_encode_request(&hello, 0, frame, CODEC_REQUEST_MAX);
    m = asock_codec_encode_request(&narrow, sizeof(RULES) - 1, frame + n, CODEC_REQUEST_MAX);
    ck_assert_int_gt(n, 0);
    ck_assert_int_gt(m, 0);
    memcpy(frame + n + m, RULES, sizeof(RULES) - 1);
    n += m + (long)sizeof(RULES) - 1;
    ck_assert_int_eq(write(other_client, frame, (size_t)n), n);
    core_settle(core);
    ck_assert_uint_eq(policy_view_restrictions(other->view), 1);
}

static void restrict_self(void)
{
    struct request narrow = {.verb = VERB_RESTRICT};
    uint64_t token = core_request(core, &narrow, RULES, sizeof(RULES) - 1);

    core_settle(core);
    ck_assert_uint_eq(core_completion(core, token).error, ERR_SUCCESS);
}

START_TEST(test_s56_a_restriction_of_another_session_costs_no_judgement)
{
    begin_other();
    ck_assert_uint_gt(send_datagram(), 0);
    ck_assert_uint_eq(send_datagram(), 0);
    restrict_other();
    ck_assert_uint_eq(send_datagram(), 0);
    restrict_self();
    ck_assert_uint_gt(send_datagram(), 0);
    ck_assert_uint_eq(send_datagram(), 0);
}
END_TEST
