/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Clients that get no session, of a user who may have none: they cost that user time, and wait for
 * it.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/core/quota.h"
#include "daemon/server/hand_over.h"
#include "daemon/server/listener.h"
#include "daemon/state/state.h"
#include "tests/lib/suite.h"
#include "tests/unit/daemon_session.h"

#define BACKLOG 48

static struct core *core;

static struct {
    struct listeners listeners;
    struct sockaddr_un addr, second; /* the kernel chooses the names */
    socklen_t len;
    struct quota *user, *second_user;
    struct share *share, other;
    unsigned int steps; /* of the other one */
} full;

static void turn(void)
{
    ev_run(core->worker.loop, EVRUN_NOWAIT);
}

static bool other_step(struct share *share)
{
    (void)share;
    full.steps++;
    return true;
}

/* The user's node there, which may have no socket. */
static struct quota *add_user(const char *name)
{
    struct quota *listener = quota_child(core->worker.quota, QUOTA_LISTENER, name), *user;
    char uid[16];

    snprintf(uid, sizeof(uid), "%u", (unsigned int)geteuid());
    user = quota_child(listener, QUOTA_USER, uid);
    quota_limit(user, QUOTA_SOCKETS, 0);
    quota_unref(listener);
    return user;
}

static void add_listener(const char *name, struct sockaddr_un *ret)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    ck_assert_int_eq(bind(fd, (struct sockaddr *)ret, sizeof(ret->sun_family)), 0);
    full.len = sizeof(*ret);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)ret, &full.len), 0);
    ck_assert_int_eq(listen(fd, BACKLOG), 0);
    ck_assert_int_eq(listeners_add(&full.listeners, LISTENER_CLIENT, name, fd, NULL), 0);
}

static void setup(void)
{
    core = core_new();
    ck_assert_int_eq(listeners_init(&full.listeners, &core->worker), 0);
    add_listener("full", &full.addr);
    add_listener("second", &full.second);
    full.user = add_user("full");
    full.second_user = add_user("second");
    full.share = quota_share(full.user, &core->worker.shares.root);
    share_init(&full.other, &core->worker.shares.root, other_step);
    core_hurry(core);
}

static void teardown(void)
{
    share_deinit(&full.other);
    quota_unref(full.user);
    quota_unref(full.second_user);
    listeners_deinit(&full.listeners);
    core_free(core);
}

TEST_FIXTURE(setup, teardown);

/* It is accepted. */
static int new_client_at(const struct sockaddr_un *addr)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    uint64_t before = full.listeners.accepted;

    ck_assert_int_eq(connect(fd, (const struct sockaddr *)addr, full.len), 0);
    while (full.listeners.accepted == before)
        turn();
    return fd;
}

static int new_client(void)
{
    return new_client_at(&full.addr);
}

static bool is_refused(int client)
{
    char frame[512];

    return recv(client, frame, sizeof(frame), MSG_DONTWAIT) > 0;
}

/* They have taken time as well. */
START_TEST(test_s52_a_client_that_is_refused_costs_its_user_time)
{
    int client;

    full.share->left = 0; /* on a slow machine the core's Hello may have cost more than a slice */
    client = new_client();
    core_settle(core);
    ck_assert(is_refused(client));
    ck_assert_int_lt(full.share->left, 0);
    close(client);
}
END_TEST

/*
 * The user owes much, and another one has work: it goes on until the debt is paid, a slice for a
 * slice.
 */
START_TEST(test_s52_clients_of_a_user_who_owes_time_wait_for_their_turn)
{
    int clients[2];

    full.share->left = -10 * SLICE_NS;
    share_wake(&full.other);
    for (int i = 0; i < 2; i++)
        clients[i] = new_client();
    ck_assert_uint_eq(full.listeners.gates.waiting, 2);
    ck_assert(!is_refused(clients[0]));
    while (!is_refused(clients[1]))
        turn();
    ck_assert(is_refused(clients[0]));
    ck_assert_uint_ge(full.steps, 8);
    for (int i = 0; i < 2; i++)
        close(clients[i]);
}
END_TEST

/* Nobody else has work. */
START_TEST(test_s52_clients_of_a_user_who_owes_time_need_not_wait_alone)
{
    int client;

    full.share->left = -10 * SLICE_NS;
    client = new_client();
    turn();
    ck_assert(is_refused(client));
    ck_assert_uint_eq(full.listeners.gates.waiting, 0);
    close(client);
}
END_TEST

START_TEST(test_s52_not_more_clients_wait_than_may)
{
    int clients[GATE_CLIENTS_MAX + 1];

    full.share->left = -1000 * SLICE_NS;
    share_wake(&full.other);
    for (unsigned int i = 0; i <= GATE_CLIENTS_MAX; i++)
        clients[i] = new_client();
    ck_assert_uint_eq(full.listeners.gates.waiting, GATE_CLIENTS_MAX);
    ck_assert(is_refused(clients[GATE_CLIENTS_MAX]));
    /* The listener goes: they learn at once what becomes of them. */
    listeners_close(&full.listeners);
    ck_assert_uint_eq(full.listeners.gates.waiting, 0);
    for (unsigned int i = 0; i < GATE_CLIENTS_MAX; i++)
        ck_assert(is_refused(clients[i]));
    for (unsigned int i = 0; i <= GATE_CLIENTS_MAX; i++)
        close(clients[i]);
}
END_TEST

/* The user's, whichever listeners they come by. */
START_TEST(test_s52_a_second_listener_has_no_more_places_to_wait)
{
    int clients[GATE_CLIENTS_MAX + 1];

    full.share->left = -1000 * SLICE_NS;
    share_wake(&full.other);
    for (unsigned int i = 0; i <= GATE_CLIENTS_MAX; i++)
        clients[i] = new_client_at(i % 2 ? &full.second : &full.addr);
    ck_assert_uint_eq(full.listeners.gates.waiting, GATE_CLIENTS_MAX);
    ck_assert(is_refused(clients[GATE_CLIENTS_MAX]));
    for (unsigned int i = 0; i <= GATE_CLIENTS_MAX; i++)
        close(clients[i]);
}
END_TEST

/* With few descriptors there are few places; half of them stay for other users. */
START_TEST(test_s52_half_of_the_places_to_wait_are_for_others)
{
    int clients[3];

    full.listeners.gates.most = 4;
    full.share->left = -1000 * SLICE_NS;
    share_wake(&full.other);
    for (int i = 0; i < 3; i++)
        clients[i] = new_client();
    ck_assert_uint_eq(full.listeners.gates.waiting, 2);
    ck_assert(is_refused(clients[2]));
    for (int i = 0; i < 3; i++)
        close(clients[i]);
}
END_TEST

/* Another process takes the listener over: who was accepted goes with it. */
START_TEST(test_clients_who_wait_are_handed_over)
{
    struct state_writer out;
    uint32_t sessions = 0;
    int client, memfd;

    quota_limit(full.user, QUOTA_SOCKETS, UINT64_MAX);
    full.share->left = -1000 * SLICE_NS;
    share_wake(&full.other);
    client = new_client();
    ck_assert_uint_eq(full.listeners.gates.waiting, 1);
    ck_assert_int_eq(state_writer_init(&out), 0);
    memfd = hand_over_save(&full.listeners, &out, &sessions);
    ck_assert_int_ge(memfd, 0);
    ck_assert_uint_eq(full.listeners.gates.waiting, 0);
    ck_assert_uint_eq(sessions, 2); /* and the core's own */
    hand_over_forget(&core->worker);
    close(memfd);
    state_writer_deinit(&out);
    close(client);
    full.share->left = 0;
    while (full.listeners.clients > 0)
        turn();
}
END_TEST
