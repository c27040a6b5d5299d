/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is within the grant is there when others have taken all the memory that is left. */
#include <string.h>

#include "daemon/core/quota.h"
#include "daemon/session/session.h"
#include "proto/errors.h"
#include "tests/lib/suite.h"
#include "tests/unit/daemon_session.h"

static struct core *core;
static uint64_t taken;

static void setup(void)
{
    core = core_new();
    taken = quota_room(core->session->quota, QUOTA_MEMORY);
    ck_assert_int_eq(quota_charge(core->session->quota, QUOTA_MEMORY, taken), 0);
}

static void teardown(void)
{
    quota_uncharge(core->session->quota, QUOTA_MEMORY, taken);
    core_free(core);
}

TEST_FIXTURE(setup, teardown);

static void expect(struct request *request)
{
    struct reply reply = core_completion(core, core_request(core, request, NULL, 0));

    ck_assert_uint_eq(reply.error, ERR_SUCCESS);
}

static void expect_open(uint32_t id, uint32_t type)
{
    expect(&(struct request){.verb = VERB_OPEN, .socket = id, .open.type = type});
}

/* The kernel's sockets have a limit of their own here. */
#define SOME 8u

/* Those that are closed at once are not in the way. */
START_TEST(test_s49_sockets_of_the_grant_may_be_of_datagrams)
{
    for (int round = 0; round < 2; round++) {
        for (uint32_t id = 1; id <= SOME; id++)
            expect_open(id, SOCKET_TYPE_DATAGRAM);
        for (uint32_t id = 1; id <= SOME; id++)
            core_completion(core, core_close(core, id, 0));
    }
}
END_TEST

START_TEST(test_s49_sockets_of_the_grant_may_be_bound)
{
    struct request bind = {.verb = VERB_BIND, .bind.endpoint.address_len = 4};

    memcpy(bind.bind.endpoint.address, "\177\0\0\1", 4);
    for (uint32_t id = 1; id <= SOME; id++) {
        expect_open(id, SOCKET_TYPE_STREAM);
        bind.socket = id;
        expect(&bind);
    }
}
END_TEST
