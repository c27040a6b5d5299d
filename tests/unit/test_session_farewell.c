/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The end of a session whose client has made no room for what the daemon has to tell it. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/core/limits.h"
#include "daemon/core/quota.h"
#include "daemon/session/session_end.h"
#include "daemon/session/session_farewell.h"
#include "proto/errors.h"
#include "tests/lib/suite.h"
#include "tests/unit/daemon_session.h"

static struct core *core;

static void setup(void)
{
    core = core_new();
}

static void teardown(void)
{
    core_free(core);
}

TEST_FIXTURE(setup, teardown);

static const char text[CODEC_TEXT_MAX];

static bool tell(uint32_t len)
{
    struct reply event = {.kind = KIND_EVENT, .body = BODY_EVENT, .event = EVENT_SEND_ROOM};

    return session_send_reply(core->session, &event, text, len);
}

/* The client reads nothing, and its connection is full: some waits, or as much as can. Frames. */
static unsigned int fill(bool is_full)
{
    const struct transport *t = &core->session->transport;
    unsigned int count = 0, before;

    do {
        before = count;
        while (tell(sizeof(text)) && (is_full || count % 8 < 7))
            count++;
        while (is_full && tell(0))
            count++;
        core_settle(core);
    } while (is_full ? count > before : transport_is_idle(t));
    ck_assert(!transport_is_idle(t));
    ck_assert_int_eq(t->out_cap - t->out_end < CODEC_REPLY_MAX, is_full);
    return count;
}

/* Frames that come before the last one, which must be there, and then the end. */
static unsigned int read_to_the_last(void)
{
    const uint8_t *payload;
    struct reply reply;
    unsigned int count = 0;
    char byte;
    size_t len;

    for (;;) {
        bool is_there = core_reply(core, &reply, &payload, &len);

        for (int i = 0; i < 3 && !is_there; i++) {
            core_settle(core);
            is_there = core_reply(core, &reply, &payload, &len);
        }
        ck_assert(is_there);
        ck_assert_uint_eq(reply.kind, KIND_EVENT);
        if (reply.event == EVENT_SESSION_ENDED)
            break;
        ck_assert_uint_eq(reply.event, EVENT_SEND_ROOM);
        count++;
    }
    ck_assert_uint_eq(reply.error, ERR_CONNECTION_ABORTED);
    ck_assert_uint_eq(len, 4);
    ck_assert_mem_eq(payload, "test", 4);
    core_settle(core);
    ck_assert_int_eq(read(core->client, &byte, 1), 0);
    return count;
}

START_LOOP_TEST(test_the_last_frame_waits_for_room, 0, 2)
{
    unsigned int count = fill(_i == 1);

    session_end(core->session, ERR_CONNECTION_ABORTED, "test");
    core_settle(core);
    ck_assert_ptr_nonnull(core->session);
    ck_assert_uint_ge(read_to_the_last(), count);
    close(core->client);
    core->client = -1;
    core_settle(core);
    ck_assert_ptr_null(core->session);
}
END_TEST

/*
 * Room for what waits is the client's affair, and its time is bounded; what it costs is given back.
 */
START_LOOP_TEST(test_a_client_that_makes_no_room_is_left, 0, 2)
{
    const struct quota *all = core->worker.quota;

    fill(_i == 1);
    session_end(core->session, ERR_CONNECTION_ABORTED, "test");
    core_settle(core);
    ck_assert_int_eq(quota_usage(all, QUOTA_MEMORY).used > IO_BLOCK, _i == 1);
    core_pass(core, 1000);
    ck_assert_ptr_null(core->session);
    ck_assert_uint_eq(quota_usage(all, QUOTA_MEMORY).used, 0);
}
END_TEST

/* It goes without having read. */
START_TEST(test_what_waits_goes_with_the_client)
{
    fill(true);
    session_end(core->session, ERR_CONNECTION_ABORTED, "test");
    core_settle(core);
    close(core->client);
    core->client = -1;
    core_settle(core);
    ck_assert_ptr_null(core->session);
}
END_TEST

/* Much that it writes itself is discarded no longer, but what it still may read goes on. */
START_TEST(test_what_waits_is_written_though_the_client_has_written_enough)
{
    static char block[64 * 1024];
    unsigned int count = fill(false);
    struct shm_buffer *shm;
    ssize_t n = 1;

    ck_assert_int_eq(session_add_buffer(core->session, 1 << 20, false, &shm), 0);
    session_end(core->session, ERR_CONNECTION_ABORTED, "test");
    for (int i = 0; i < 1000 && n > 0; i++) {
        core_settle(core);
        n = send(core->client, block, sizeof(block), MSG_NOSIGNAL);
    }
    ck_assert_int_lt(n, 0);
    ck_assert_uint_ge(read_to_the_last(), count);
}
END_TEST
