/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What sockets' buffers in the kernel may grow to is charged, and bounded where there is no room
 * (S49).
 */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/core/quota.h"
#include "daemon/session/sock.h"
#include "proto/errors.h"
#include "tests/lib/suite.h"
#include "tests/unit/daemon_session.h"

#define MIB (1024u * 1024u)
#define SMALL (2u * 2u * KERNEL_BUFFER_SMALL) /* both ways, doubled by the kernel */

static struct core *core;

static void setup(void)
{
    core = core_new();
    core->worker.buffers = (struct netsock_buffers){4 * MIB, 6 * MIB, 256 * 1024, 512 * 1024};
    quota_limit(core->session->quota, QUOTA_KERNEL, 40 * MIB);
}

static void teardown(void)
{
    struct quota *daemon = core->worker.quota;

    close(core->client);
    core->client = -1;
    core_settle(core);
    core_pass(core, 3000);
    ck_assert_uint_eq(quota_usage(daemon, QUOTA_KERNEL).used, 0);
    core_free(core);
}

static uint64_t used(void)
{
    return quota_usage(core->session->quota, QUOTA_KERNEL).used;
}

static uint32_t connect_result(uint32_t id)
{
    return core_completion(core, core_connect(core, id, core->port)).error;
}

static void connected(uint32_t id)
{
    core_open(core, id);
    ck_assert_uint_eq(connect_result(id), ERR_SUCCESS);
}

static int buffer_of(uint32_t id, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);

    getsockopt(session_sock(core->session, id)->ns.fd, SOL_SOCKET, name, &value, &len);
    return value;
}

static uint32_t set(uint32_t id, enum option option, int64_t value)
{
    struct request r = {.verb = VERB_SET_OPTION, .socket = id};

    r.option.option = option;
    r.option.value.is_set = true;
    r.option.value.number = value;
    return core_completion(core, core_request(core, &r, NULL, 0)).error;
}

TEST_FIXTURE(setup, teardown);

START_TEST(test_s49_buffers_grow_in_the_first_half_and_are_small_then)
{
    connected(1);
    connected(2);
    ck_assert_uint_eq(used(), 20 * MIB);
    ck_assert_int_ne(buffer_of(2, SO_RCVBUF), 2 * KERNEL_BUFFER_SMALL);
    connected(3);
    ck_assert_uint_eq(used(), 20 * MIB + SMALL);
    ck_assert_int_eq(buffer_of(3, SO_RCVBUF), 2 * KERNEL_BUFFER_SMALL);
    ck_assert_int_eq(buffer_of(3, SO_SNDBUF), 2 * KERNEL_BUFFER_SMALL);
    core_close(core, 1, 0);
    core_pass(core, 3000); /* it has drained */
    ck_assert_uint_eq(used(), 10 * MIB + SMALL);
}
END_TEST

START_TEST(test_s49_a_connect_without_room_for_small_buffers)
{
    struct reply reply;
    const uint8_t *payload;
    size_t len;

    quota_limit(core->session->quota, QUOTA_KERNEL, SMALL + 1);
    connected(1);
    core_open(core, 2);
    core_completion(core, core_connect(core, 1, core->port)); /* IS_CONNECTED: nothing is charged */
    ck_assert_uint_eq(used(), SMALL);
    core_connect(core, 2, core->port);
    while (core_reply(core, &reply, &payload, &len) && reply.error == ERR_SUCCESS)
        ;
    ck_assert_uint_eq(reply.error, ERR_NO_BUFFER_SPACE);
    ck_assert_mem_eq(payload, SOCK_BUFFERS_TEXT, len);
    core_close(core, 1, 0);
    core_pass(core, 3000);
    ck_assert_uint_eq(connect_result(2), ERR_SUCCESS);
}
END_TEST

START_TEST(test_s49_a_size_that_is_set_is_charged_doubled)
{
    core_open(core, 1);
    ck_assert_uint_eq(set(1, OPTION_SEND_BUFFER, 10000), ERR_SUCCESS);
    ck_assert_uint_eq(set(1, OPTION_RECEIVE_BUFFER, 1 << 30),
                      ERR_SUCCESS); /* as much as one gets */
    ck_assert_uint_eq(used(), 0);
    ck_assert_uint_eq(connect_result(1), ERR_SUCCESS);
    ck_assert_uint_eq(used(), 20000 + 512 * 1024);
    ck_assert_int_eq(buffer_of(1, SO_SNDBUF), 20000);
}
END_TEST

START_TEST(test_s49_a_size_is_charged_before_it_is_set)
{
    core_open(core, 1);
    ck_assert_uint_eq(set(1, OPTION_SEND_BUFFER, 10000), ERR_SUCCESS);
    ck_assert_uint_eq(set(1, OPTION_RECEIVE_BUFFER, 10000), ERR_SUCCESS);
    ck_assert_uint_eq(connect_result(1), ERR_SUCCESS);
    quota_limit(core->session->quota, QUOTA_KERNEL, 50000);
    ck_assert_uint_eq(set(1, OPTION_SEND_BUFFER, 20000), ERR_NO_BUFFER_SPACE);
    ck_assert_int_eq(buffer_of(1, SO_SNDBUF), 20000);
    ck_assert_uint_eq(used(), 40000);
    ck_assert_uint_eq(set(1, OPTION_SEND_BUFFER, 15000), ERR_SUCCESS);
    ck_assert_uint_eq(used(), 50000);
    ck_assert_int_eq(buffer_of(1, SO_SNDBUF), 30000);
    ck_assert_uint_eq(set(1, OPTION_SEND_BUFFER, 1), ERR_SUCCESS); /* the kernel has a least */
    ck_assert_uint_eq(used(), 20000 + KERNEL_BUFFER_MIN);
}
END_TEST

START_TEST(test_s49_a_failed_or_killed_connection_gives_its_buffers_back)
{
    uint16_t hole = core_hole(core);

    core_open(core, 1);
    core_connect(core, 1, 1); /* no listener there */
    core_settle(core);
    ck_assert_uint_eq(used(), 0);
    core_connect(core, 1, hole);
    ck_assert_uint_eq(used(), 10 * MIB);
    core_close(core, 1, 0);
    core_settle(core);
    ck_assert_uint_eq(used(), 0);
    connected(1);
    sock_kill(session_sock(core->session, 1), KILLER_ADMINISTRATOR);
    ck_assert_uint_eq(used(), 0);
}
END_TEST
