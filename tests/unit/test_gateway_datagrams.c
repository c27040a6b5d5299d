/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The datagrams of a transparent network, where the daemon and the cable are the test's. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/datagrams.h"
#include "tests/lib/suite.h"
#include "tests/unit/fake_daemon.h"

#define PAYLOAD 4u
#define PACKET (20u + 8u + PAYLOAD)

static struct {
    struct gateway gateway;
    struct network network;
    struct fake_names names;
    struct datagrams datagrams;
    int cable; /* the command's end */
    int refusals, answers;
    int receives; /* so many more are submitted; -1: every one */
    ev_tstamp now;
} t;

ev_tstamp __wrap_ev_now(struct ev_loop *loop);
int __real_asock_receive(asock_socket *socket, asock_op *op);
int __wrap_asock_receive(asock_socket *socket, asock_op *op);
int __wrap_network_put_answer(const struct network *network, int family, const void *packet,
                              size_t len);

ev_tstamp __wrap_ev_now(struct ev_loop *loop)
{
    (void)loop;
    return t.now;
}

int __wrap_asock_receive(asock_socket *socket, asock_op *op)
{
    if (t.receives == 0)
        return -ENOMEM;
    t.receives -= t.receives > 0;
    return __real_asock_receive(socket, op);
}

int __wrap_network_put_answer(const struct network *network, int family, const void *packet,
                              size_t len)
{
    const uint8_t *head = packet;

    (void)network;
    (void)len;
    ck_assert_int_eq(family, AF_INET);
    t.refusals += head[9] == IPPROTO_ICMP;
    t.answers += head[9] == IPPROTO_UDP;
    return 0;
}

static void setup(void)
{
    int pair[2];

    fake_setup();
    memset(&t, 0, sizeof(t));
    t.receives = -1;
    t.now = 1000;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    t.network.datagrams = pair[0];
    t.cable = pair[1];
    t.gateway.loop = ev_loop_new(EVFLAG_AUTO);
    t.gateway.uplink.context = fake.context;
    fake_names_init(&t.names);
    ck_assert_int_eq(datagrams_init(&t.datagrams, &t.gateway, &t.network, &t.names), 0);
    fake_welcome(0, 0, 0, 0);
}

static void teardown(void)
{
    datagrams_stop(&t.datagrams);
    fake_teardown();
    datagrams_deinit(&t.datagrams);
    fake_names_deinit(&t.names);
    ev_loop_destroy(t.gateway.loop);
    close(t.cable);
    close(t.network.datagrams);
}

TEST_FIXTURE(setup, teardown);

/* From 198.18.0.2, port 1000 + flow, to 192.0.2.1, port 53. */
static void command_sends(unsigned int flow)
{
    uint16_t port = (uint16_t)(1000 + flow);
    uint8_t packet[PACKET] = {
        0x45, 0, 0, PACKET, 0,         0,           0x40, 0,  64, IPPROTO_UDP, 0, 0, 198, 18, 0, 2,
        192,  0, 2, 1,      port >> 8, port & 0xff, 0,    53, 0,  8 + PAYLOAD, 0, 0};

    ck_assert_int_eq(send(t.cable, packet, sizeof(packet), 0), sizeof(packet));
    ev_run(t.gateway.loop, EVRUN_NOWAIT);
}

/* With its first datagram: it is connected, and hears. */
static struct request begin_flow(unsigned int flow)
{
    struct request receive;

    command_sends(flow);
    fake_expect(VERB_OPEN);
    fake_complete(fake_expect(VERB_CONNECT), 0, 0);
    receive = *fake_expect(VERB_RECEIVE);
    fake_complete(fake_expect(VERB_SEND), 0, PAYLOAD);
    fake_process();
    ck_assert_int_eq(t.refusals, 0);
    return receive;
}

/* Deaf, it would take datagrams whose answers nobody gets: the command learns of it. */
START_TEST(test_a_flow_that_cannot_hear_any_more_ends)
{
    struct request receive = begin_flow(0);

    t.receives = 0;
    fake_complete(&receive, 0, 0);
    fake_process();
    ck_assert_int_eq(t.refusals, 1);
    fake_expect(VERB_CLOSE);
    command_sends(0);
    ck_assert_int_eq(t.refusals, 2);
    ck_assert(fake_is_silent());
}
END_TEST

START_TEST(test_a_flow_that_cannot_hear_does_not_begin)
{
    t.receives = 0;
    command_sends(0);
    ck_assert_int_eq(t.refusals, 1);
    command_sends(0);
    ck_assert_int_eq(t.refusals, 2);
}
END_TEST

/* ---- expiry ---- */

static void pass(double seconds)
{
    t.now += seconds;
    if (ev_is_active(&t.datagrams.sweep))
        ev_invoke(t.gateway.loop, &t.datagrams.sweep, EV_TIMER);
}

START_TEST(test_a_flow_without_use_ends)
{
    ck_assert(!ev_is_active(&t.datagrams.sweep));
    begin_flow(1);
    pass(60);
    begin_flow(2);
    pass(DATAGRAM_IDLE_SECONDS - 60.5);
    ck_assert_uint_eq(t.datagrams.count, 2);
    pass(1);
    ck_assert_uint_eq(t.datagrams.count, 1);
    fake_expect(VERB_CLOSE);
    pass(58);
    ck_assert_uint_eq(t.datagrams.count, 1);
    pass(2);
    ck_assert_uint_eq(t.datagrams.count, 0);
    fake_expect(VERB_CLOSE);
    ck_assert(!ev_is_active(&t.datagrams.sweep));
    begin_flow(1);
    ck_assert_uint_eq(t.datagrams.count, 1);
}
END_TEST

/* Either way: what is sent, and what comes. */
START_LOOP_TEST(test_a_flow_in_use_stays, 0, 2)
{
    struct request receive = begin_flow(1);

    for (int i = 0; i < 5; i++) {
        pass(DATAGRAM_IDLE_SECONDS - 1);
        ck_assert_uint_eq(t.datagrams.count, 1);
        if (_i == 0) {
            command_sends(1);
            fake_complete(fake_expect(VERB_SEND), 0, PAYLOAD);
            fake_process();
            continue;
        }
        fake_complete(&receive, 0, 0);
        fake_process();
        receive = *fake_expect(VERB_RECEIVE);
    }
    ck_assert_int_eq(t.answers, _i == 0 ? 0 : 5);
    pass(DATAGRAM_IDLE_SECONDS);
    ck_assert_uint_eq(t.datagrams.count, 0);
}
END_TEST

/* The timer looks often enough, whatever it is that the clock says. */
START_TEST(test_expiry_is_looked_for_while_there_are_flows)
{
    begin_flow(1);
    ck_assert(ev_is_active(&t.datagrams.sweep));
    ck_assert(t.datagrams.sweep.repeat > 0);
    ck_assert(t.datagrams.sweep.repeat <= DATAGRAM_IDLE_SECONDS / 4);
}
END_TEST

/* What the daemon has not answered waits. */
START_TEST(test_a_burst_waits_for_the_daemon)
{
    begin_flow(1);
    for (int i = 0; i < 500; i++)
        command_sends(1);
    ck_assert_uint_eq(t.gateway.datagrams_sent, 500);
}
END_TEST
