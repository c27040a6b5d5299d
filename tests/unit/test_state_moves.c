/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A state goes from one daemon's core to another: that goes on where the first one was. */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/audit/connect_report.h"
#include "daemon/audit/recent.h"
#include "daemon/core/quota.h"
#include "daemon/policy/kept.h"
#include "daemon/policy/learn.h"
#include "daemon/session/session.h"
#include "daemon/session/session_end.h"
#include "daemon/session/sock.h"
#include "daemon/verbs/connect.h"
#include "proto/errors.h"
#include "tests/lib/suite.h"
#include "tests/unit/state_parts.h"

/* What was written, by descriptors of its own. */
static void take(struct state_writer *w, struct taker *to)
{
    struct state_reader in;
    const uint8_t *data;
    size_t len;

    ck_assert_int_eq(state_finish(w, &data, &len), 0);
    for (uint32_t i = 0; i < w->descriptor_count; i++)
        to->descriptors[i] = dup(w->descriptors[i]);
    to->r.descriptor_count = w->descriptor_count;
    ck_assert_int_eq(state_read(&in, data, len), 0);
    ck_assert_int_eq(state_restore(&to->r, &in), 0);
    state_writer_deinit(w);
}

/* All that `from` has. */
static void move_session(struct core *from, const struct session *s, struct taker *to)
{
    struct state_writer w;
    int lock = memfd_create("lock", 0);

    ck_assert(state_carries(s));
    ck_assert_int_eq(state_writer_init(&w), 0);
    state_save_daemon(&w, &from->worker, lock, 0, 1);
    state_save_session(&w, s);
    state_end_in_reset(s, true);
    take(&w, to);
    close(lock);
}

/* What has no session, or one that has ended; most: the last format that the reader knows. */
static void move_rest(struct core *from, struct taker *to, uint32_t most)
{
    struct state_writer w;
    int lock = memfd_create("lock", 0);

    ck_assert_int_eq(state_writer_init(&w), 0);
    w.most = most;
    state_save_daemon(&w, &from->worker, lock, 0, 0);
    take(&w, to);
    close(lock);
}

static void move(struct core *from, struct taker *to)
{
    move_session(from, from->session, to);
}

/* What a socket keeps of its connect stays behind. */
static void drop_report(struct core *core, uint32_t id)
{
    struct sock *sock = session_slot(core->session, id)->sock;

    ck_assert_ptr_nonnull(sock->connect_report);
    sock->connect_report = connect_report_drop(sock->connect_report);
}

static int would_fd_reset(int fd)
{
    struct linger linger = {0};
    socklen_t len = sizeof(linger);

    ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &len), 0);
    return linger.l_onoff;
}

static int would_reset(struct session *s, uint32_t id)
{
    return would_fd_reset(session_sock(s, id)->ns.fd);
}

/*
 * What is charged to it goes with it: there it is what it was, here nothing is left, and no peer
 * has heard of it.
 */
START_TEST(test_it_moves)
{
    struct core *old = core_new();
    struct quota_usage memory, kernel;
    struct taker t;
    int peer = core_connected(old, 1);
    uint64_t first, second;
    uint8_t byte;

    first = core_receive(old, 1, 100, 0, 0);
    second = core_receive(old, 1, 6, RECEIVE_WAIT_ALL, 3000);
    drop_report(old, 1);
    memory = quota_usage(old->session->quota, QUOTA_MEMORY);
    kernel = quota_usage(old->session->quota, QUOTA_KERNEL);
    taker_init(&t);
    move(old, &t);
    ck_assert_uint_eq(quota_usage(taker_session(&t)->quota, QUOTA_MEMORY).used, memory.used);
    ck_assert_uint_eq(quota_usage(taker_session(&t)->quota, QUOTA_KERNEL).used, kernel.used);
    state_leave_session(old->session);
    core_settle(old);
    ck_assert_ptr_null(old->session);
    ck_assert_uint_eq(old->worker.fds_used, 0);
    ck_assert_int_eq(recv(peer, &byte, 1, MSG_DONTWAIT), -1);
    ck_assert_int_eq(errno, EAGAIN);

    ck_assert_int_eq(would_reset(taker_session(&t), 1), 1);
    state_resume(&t.core->worker);
    ck_assert_int_eq(would_reset(taker_session(&t), 1), 0);
    ck_assert_int_eq(write(peer, "hello", 5), 5);
    core_settle(t.core);
    ck_assert_uint_eq(core_completion(old, first).bytes, 5);
    ck_assert_int_eq(write(peer, "second", 6), 6);
    core_settle(t.core);
    ck_assert_uint_eq(core_completion(old, second).bytes, 6);
    taker_free(&t);
    close(peer);
    core_free(old);
}
END_TEST

/* The old process leaves it alone, also when the new one goes on before that has ended. */
START_TEST(test_an_attempt_moves)
{
    struct core *old = core_new();
    const struct happy_eyeballs *he;
    struct taker t;
    uint64_t token;

    core_open(old, 1);
    token = core_connect(old, 1, core_hole(old));
    core_settle(old);
    taker_init(&t);
    move(old, &t);
    he = &session_sock(taker_session(&t), 1)->connect->send.connect->he;
    ck_assert_uint_eq(he->running, 1);
    ck_assert_uint_eq(t.core->worker.fds_used, 1);
    ck_assert_int_eq(would_fd_reset(he->attempts[0].ns.fd), 1);
    state_resume(&t.core->worker);
    state_leave_session(old->session);
    core_settle(old);
    ck_assert_uint_eq(old->worker.fds_used, 0);
    core_settle(t.core);
    ck_assert_ptr_nonnull(session_find_op(taker_session(&t), token));
    ck_assert_int_eq(would_fd_reset(he->attempts[0].ns.fd), 0);
    ck_assert_uint_eq(he->count, 1);
    ck_assert_uint_eq(he->begun, 1);
    taker_free(&t);
    core_free(old);
}
END_TEST

/* It waits for its peer in the next process, and is charged there as here. */
START_TEST(test_a_drain_moves)
{
    struct core *old = core_new();
    int peer = core_connected(old, 1);
    struct worker *to;
    struct taker t;
    char byte;

    core_close(old, 1, 0);
    core_settle(old);
    ck_assert_uint_eq(old->worker.drain_count, 1);
    taker_init(&t);
    to = &t.core->worker;
    move(old, &t);
    ck_assert_uint_eq(to->drain_count, 1);
    ck_assert_uint_eq(quota_usage(to->quota, QUOTA_LINGERS).used,
                      quota_usage(old->worker.quota, QUOTA_LINGERS).used);
    ck_assert_uint_eq(quota_usage(to->quota, QUOTA_KERNEL).used,
                      quota_usage(old->worker.quota, QUOTA_KERNEL).used);
    state_leave_drains(&old->worker);
    core_settle(old);
    ck_assert_uint_eq(old->worker.drain_count, 0);
    ck_assert_uint_eq(old->worker.fds_used, 0);
    state_resume(to);
    ck_assert_int_eq(write(peer, "late", 4), 4);
    core_settle(t.core);
    ck_assert_uint_eq(to->drain_count, 1);
    ck_assert_int_eq(recv(peer, &byte, 1, 0), 0);
    close(peer);
    core_settle(t.core);
    ck_assert_uint_eq(to->drain_count, 0);
    state_leave_session(old->session);
    taker_free(&t);
    core_free(old);
}
END_TEST

/* Descriptors that come with the next bytes; -1: there are none. */
static int take_descriptors(int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control;
    static char data[65536];
    struct iovec iov = {data, sizeof(data)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof(control)};
    const struct cmsghdr *cmsg;
    int fds[8], count;

    if (recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
        return -1;
    cmsg = CMSG_FIRSTHDR(&msg);
    if (!cmsg)
        return 0;
    count = (int)((cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(fds, CMSG_DATA(cmsg), (size_t)count * sizeof(int));
    for (int i = 0; i < count; i++)
        close(fds[i]);
    return count;
}

/* The client's socket is full: they wait in the daemon's output, with the reply that has them. */
START_TEST(test_descriptors_that_were_not_sent_move)
{
    struct request request = {.verb = VERB_REGISTER, .reg = {.length = 4096, .status = true}};
    struct core *old = core_new();
    int count = 0, n;
    struct taker t;

    while (send(old->session->transport.fd, "x", 1, MSG_DONTWAIT) == 1)
        ;
    core_request(old, &request, NULL, 0);
    core_settle(old);
    ck_assert(!list_is_empty(&old->session->transport.passes));
    taker_init(&t);
    move(old, &t);
    state_leave_session(old->session);
    core_settle(old);
    state_resume(&t.core->worker);
    while ((n = take_descriptors(old->client)) >= 0) {
        count += n;
        core_settle(t.core);
    }
    ck_assert_int_eq(count, 2);
    ck_assert_uint_eq(taker_session(&t)->buffer_count, 1);
    core_free(old); /* with the client's end */
    taker_free(&t);
}
END_TEST

static void fill_output(struct transport *t)
{
    uint8_t *place;

    while (send(t->fd, "x", 1, MSG_DONTWAIT) == 1)
        ;
    for (size_t piece = 16384; piece > 0; piece /= 2)
        while ((place = transport_reserve(t, piece))) {
            memset(place, 'x', piece);
            transport_commit(t, piece);
        }
}

/* The next time that the kernel asks, the connection is made. */
static void empty_hole(struct core *core)
{
    int fd;

    for (size_t i = 1; i < sizeof(core->hole) / sizeof(core->hole[0]); i++) {
        close(core->hole[i]);
        core->hole[i] = 0;
    }
    ck_assert_int_eq(fcntl(core->hole[0], F_SETFL, O_NONBLOCK), 0);
    while ((fd = accept(core->hole[0], NULL, NULL)) >= 0)
        close(fd);
}

/*
 * A connect succeeds when the daemon's output is full, too: the reply that has the socket waits
 * behind that, also in a second process. A socket that ends before it was sent is missing.
 */
START_LOOP_TEST(test_a_lent_socket_whose_reply_has_no_room_moves, 0, 2)
{
    struct request lend = {.verb = VERB_CONNECT, .socket = 1, .connect = {.lend = LEND_GIVEN}};
    struct core *old = core_new();
    struct session *s;
    struct taker t, u;
    int count = 0, n;

    core_allow_lending(old);
    core_open(old, 1);
    core_settle(old);
    lend.connect.endpoint = (struct endpoint){.address_len = 4, .port = core_hole(old)};
    memcpy(lend.connect.endpoint.address, "\177\0\0\1", 4);
    core_request(old, &lend, NULL, 0);
    core_settle(old);
    fill_output(&old->session->transport);
    empty_hole(old);
    while (session_sock(old->session, 1)->state == SOCK_CONNECTING)
        ev_run(old->worker.loop, EVRUN_ONCE);
    core_settle(old);
    ck_assert_int_eq(session_sock(old->session, 1)->state, SOCK_LENT);
    ck_assert(list_is_empty(&old->session->transport.passes) &&
              !list_is_empty(&old->session->done));
    taker_init(&t);
    move(old, &t);
    state_leave_session(old->session);
    core_settle(old);
    taker_init(&u);
    move_session(t.core, taker_session(&t), &u);
    state_leave_session(taker_session(&t));
    core_settle(t.core);
    s = taker_session(&u);
    ck_assert_uint_eq(s->lending_count, 1);
    if (_i == 1)
        sock_kill(session_sock(s, 1), KILLER_ADMINISTRATOR);
    state_resume(&u.core->worker);
    while ((n = take_descriptors(old->client)) >= 0) {
        count += n;
        core_settle(u.core);
    }
    ck_assert_int_eq(count, _i == 1 ? 0 : 1);
    ck_assert_uint_eq(s->lending_count, 0);
    ck_assert_uint_eq(s->lent_unread, _i == 1 ? 0 : 1);
    ck_assert(list_is_empty(&s->done));
    core_free(old); /* with the client's end */
    taker_free(&t);
    taker_free(&u);
}
END_TEST

/* As a daemon that another process has taken over from; `own` sessions are not of that. */
static void stop(struct core *core, unsigned int own)
{
    core->worker.is_stopping = true;
    core_pass(core, 1000);
    ck_assert_uint_eq(quota_usage(core->worker.quota, QUOTA_CLIENTS).used, own);
}

static void check_in_flight(struct core *core, unsigned int clients, unsigned int sockets)
{
    core_settle(core);
    core_pass(core, 3 * UNREAD_MS);
    ck_assert_uint_eq(quota_usage(core->worker.quota, QUOTA_CLIENTS).used, 1 + clients);
    ck_assert_uint_eq(quota_usage(core->worker.quota, QUOTA_SOCKETS).used,
                      core->session->held.sockets + sockets);
}

/*
 * The kernel counts descriptors that the client of a session that has ended has not fetched: the
 * next process charges them, too, and the one behind that, until the client has read them, or has
 * closed its end.
 */
START_LOOP_TEST(test_what_an_ended_session_has_in_flight_moves, 0, 2)
{
    struct core *old = core_new();
    struct taker t, u;
    int count = 0, n;

    core_lend(old);
    session_end(old->session, ERR_CONNECTION_ABORTED, "test");
    core_settle(old);
    core_pass(old, 1000);
    ck_assert_ptr_nonnull(old->session);
    taker_init(&t);
    move_rest(old, &t, STATE_FORMAT_LAST);
    stop(old, 0);
    ck_assert_ptr_null(old->session);
    state_resume(&t.core->worker);
    check_in_flight(t.core, 1, 1);
    taker_init(&u);
    move_rest(t.core, &u, STATE_FORMAT_LAST);
    stop(t.core, 1);
    state_resume(&u.core->worker);
    check_in_flight(u.core, 1, 1);
    if (_i == 1)
        close(old->client);
    while (_i == 0 && (n = take_descriptors(old->client)) >= 0)
        count += n;
    ck_assert_int_eq(count, _i == 0);
    check_in_flight(u.core, 0, 0);
    if (_i == 1)
        old->client = -1;
    core_free(old);
    taker_free(&t);
    taker_free(&u);
}
END_TEST

/* Whether what the client reads ends with the session's last word. */
static bool reads_last_word(struct core *old, struct core *fresh)
{
    static char data[1 << 20];
    size_t len = 0;
    ssize_t n;

    do {
        core_settle(old);
        if (fresh)
            core_settle(fresh);
        n = recv(old->client, data + len, sizeof(data) - len, MSG_DONTWAIT);
        len += n > 0 ? (size_t)n : 0;
    } while (n > 0);
    return memmem(data, len, "the last word", 13) != NULL;
}

/* What had no room in the client's socket is still the old process's to write. */
START_LOOP_TEST(test_what_an_ended_session_still_has_to_say_is_not_cut, 0, 2)
{
    struct core *old = core_new();
    struct taker t;

    core_lend(old);
    while (send(old->session->transport.fd, "x", 1, MSG_DONTWAIT) == 1)
        ;
    session_end(old->session, ERR_CONNECTION_ABORTED, "the last word");
    core_settle(old);
    taker_init(&t);
    if (_i == 1) {
        move_rest(old, &t, STATE_FORMAT_LAST);
        old->worker.is_stopping = true;
        state_resume(&t.core->worker);
        core_settle(t.core);
    }
    ck_assert(reads_last_word(old, t.core));
    core_free(old);
    taker_free(&t);
}
END_TEST

/* A descriptor that an older reader does not know would make it refuse all of them. */
START_TEST(test_an_older_reader_gets_no_ended_session)
{
    struct core *old = core_new();
    struct taker t;

    core_lend(old);
    session_end(old->session, ERR_CONNECTION_ABORTED, "test");
    core_settle(old);
    taker_init(&t);
    move_rest(old, &t, STATE_FORMAT_ENDED - 1);
    ck_assert_uint_eq(t.r.descriptor_count, 1); /* the lock */
    state_resume(&t.core->worker);
    check_in_flight(t.core, 0, 0);
    core_free(old);
    taker_free(&t);
}
END_TEST

/* In the order of the last denials, with all counts; what one process learns adds to it. */
START_TEST(test_history_moves)
{
    const struct learn_past rule = {3, 10, 20, 1234, 1234, 443, 0, "example.org", "x.policy"};
    struct recent_denial denial = {.serial = 8, .until = 90000, .count = 4, .person = 1234};
    struct core *old = core_new();
    struct worker *from = &old->worker, *to;
    struct taker t;

    from->learn = learn_new();
    from->recent = recent_new(from);
    ck_assert_int_eq(learn_restore(from->learn, &rule), 0);
    learn_restore_dropped(from->learn, 5);
    denial.verb = "resolve";
    denial.unit = denial.user_unit = denial.listener = denial.rule = denial.reason = "";
    denial.host = "first.org";
    ck_assert_int_eq(recent_restore(from->recent, &denial), 0);
    denial.serial = 7;
    denial.host = "second.org";
    ck_assert_int_eq(recent_restore(from->recent, &denial), 0);
    taker_init(&t);
    taker_make_history(&t);
    to = &t.core->worker;
    ck_assert_int_eq(learn_restore(to->learn, &rule), 0);
    move(old, &t);
    ck_assert_uint_eq(learn_rule_at(to->learn, 0)->count, 6);
    ck_assert_str_eq(learn_rule_at(to->learn, 0)->file, "x.policy");
    ck_assert_uint_eq(learn_dropped(to->learn), 5);
    ck_assert_str_eq(recent_next(to->recent, NULL)->host, "first.org");
    ck_assert_str_eq(recent_next(to->recent, recent_next(to->recent, NULL))->host, "second.org");
    ck_assert_uint_eq(recent_from(to->recent, 8)->count, 4);
    learn_free(from->learn);
    recent_free(from->recent);
    state_leave_session(old->session);
    core_free(old);
    taker_free(&t);
}
END_TEST
