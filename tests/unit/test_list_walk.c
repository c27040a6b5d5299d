/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LIST while what it lists comes and goes between two rows: each socket that is there all the time
 * is listed once, and none that has gone. The core runs in the test's own process.
 */
#include <string.h>
#include <unistd.h>

#include "daemon/server/admin.h"
#include "daemon/session/sock.h"
#include "tests/lib/suite.h"
#include "tests/unit/daemon_session.h"

#define SOCKETS 6u

static struct core *core;
static struct inspect_cursor cursor;
static int peers[SOCKETS + 3];
static int64_t told; /* serial of the last row */

static void see_all(bool may)
{
    core->session->kind = may ? LISTENER_CONTROL : LISTENER_CLIENT;
}

static void setup(void)
{
    core = core_new();
    for (uint32_t id = 1; id <= SOCKETS; id++)
        peers[id] = core_connected(core, id);
    see_all(true);
    admin_inspect_ops.begin(core->session, &cursor);
    see_all(false);
}

static void teardown(void)
{
    admin_inspect_ops.end(&cursor);
    core_free(core);
    for (uint32_t id = 1; id <= SOCKETS + 2; id++)
        if (peers[id] > 0)
            close(peers[id]);
    memset(peers, 0, sizeof(peers));
}

TEST_FIXTURE(setup, teardown);

static void take_id(const struct field *fields, size_t count, void *data)
{
    (void)data;
    for (size_t i = 0; i < count; i++)
        if (strcmp(fields[i].name, "id") == 0)
            told = fields[i].number;
}

/* The serial of the row that it is at; 0: there is none. */
static uint64_t row(void)
{
    uint8_t record[INSPECT_RECORD_MAX];
    long n;

    see_all(true);
    n = admin_inspect_ops.list(core->session, &cursor, record, sizeof(record));
    see_all(false);
    if (n == 0)
        return 0;
    ck_assert_int_eq(asock_codec_decode_record(record, (size_t)n, take_id, NULL), 0);
    return (uint64_t)told;
}

static uint64_t next_row(void)
{
    uint64_t serial = row();

    if (serial)
        admin_inspect_ops.advance(&cursor);
    return serial;
}

static void drain_all(uint64_t *serials)
{
    for (uint32_t id = 1; id <= SOCKETS; id++) {
        serials[id] = session_sock(core->session, id)->serial;
        core_close(core, id, 0);
        ck_assert_ptr_null(session_sock(core->session, id));
    }
    ck_assert_uint_eq(core->worker.drain_count, SOCKETS);
}

static struct sock *draining(uint64_t serial)
{
    list_for_each (&core->worker.drains, it)
        if (container_of(it, struct sock, node)->serial == serial)
            return container_of(it, struct sock, node);
    return NULL;
}

START_TEST(test_draining_sockets_that_come_and_go)
{
    uint64_t serials[SOCKETS + 1], late;

    drain_all(serials);
    ck_assert_uint_eq(next_row(), serials[1]);
    ck_assert_uint_eq(next_row(), serials[2]);
    sock_abort(draining(serials[3])); /* the one that the walk is at */
    sock_abort(draining(serials[2])); /* told already */
    sock_abort(draining(serials[5]));
    ck_assert_uint_eq(next_row(), serials[4]);
    peers[SOCKETS + 1] = core_connected(core, 1);
    late = session_sock(core->session, 1)->serial;
    core_close(core, 1, 0);
    ck_assert_uint_eq(next_row(), serials[6]);
    ck_assert_uint_eq(next_row(), late);
    ck_assert_uint_eq(next_row(), 0);
    ck_assert_uint_eq(next_row(), 0);
}
END_TEST

START_TEST(test_the_last_one_goes_before_it_is_told)
{
    uint64_t serials[SOCKETS + 1];

    drain_all(serials);
    for (uint32_t id = 1; id < SOCKETS; id++)
        ck_assert_uint_eq(next_row(), serials[id]);
    sock_abort(draining(serials[SOCKETS]));
    ck_assert_uint_eq(next_row(), 0);
}
END_TEST

/* A row for which there was no room is made again, not passed over. */
START_TEST(test_a_row_that_is_not_told_comes_again)
{
    uint64_t first = session_sock(core->session, 1)->serial;

    ck_assert_uint_eq(row(), first);
    ck_assert_uint_eq(next_row(), first);
    ck_assert_uint_eq(next_row(), session_sock(core->session, 2)->serial);
}
END_TEST

/* Its session has ended in the middle of it. */
START_TEST(test_a_session_that_goes)
{
    ck_assert_uint_gt(next_row(), 0);
    close(core->client);
    core->client = -1;
    core_settle(core);
    ck_assert_ptr_null(core->session);
    ck_assert_ptr_eq(cursor.walk.next, &core->worker.sessions);
}
END_TEST
