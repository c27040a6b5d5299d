/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What goes from one daemon to the next: all of it. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/audit/connect_report.h"
#include "daemon/core/quota.h"
#include "daemon/policy/kept.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_bound.h"
#include "daemon/verbs/connect.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"
#include "tests/lib/suite.h"
#include "tests/unit/state_parts.h"

static void check_ops(const struct session *s, struct sock *sock)
{
    struct op *send = session_find_op((struct session *)s, 100);
    struct op *chain = session_find_op((struct session *)s, 101);
    struct op *receive = session_find_op((struct session *)s, 102);

    ck_assert(send && chain && receive);
    ck_assert_ptr_eq(list_first(&sock->sends, struct op, node), send);
    ck_assert_ptr_eq(sock->chain, chain);
    ck_assert_ptr_eq(list_first(&sock->receives, struct op, node), receive);
    ck_assert_uint_eq(send->bytes, 6);
    ck_assert_uint_eq(send->deadline->deadline.timer.deadline, 5000);
    ck_assert_int_eq(memcmp(send->send.first->data + send->send.first->start, "rest", 4), 0);
    ck_assert_uint_eq(chain->send.received, 5);
    ck_assert_uint_eq(receive->bytes, 300);
    ck_assert_uint_eq(receive->receive_flags, RECEIVE_WAIT_ALL);
    ck_assert_uint_eq(sock->queued, 9);
    ck_assert_uint_eq(s->queued, 9);
    ck_assert_uint_eq(s->op_count, 3);
}

static void check_whole(struct taker *t)
{
    struct session *s = taker_session(t);
    struct sock *sock = session_sock(s, 2);
    size_t len;

    ck_assert_uint_eq(s->id, 41);
    ck_assert_str_eq(s->name, "carried");
    ck_assert_str_eq(s->identity.unit, "sandbox.service");
    ck_assert(s->has_hello && !deadline_is_set(&s->hello));
    ck_assert_uint_eq(s->limits.sockets, 8);
    ck_assert_uint_eq(s->limits.send_window, 1024 * 1024);
    ck_assert_uint_eq(policy_view_restrictions(s->view), 1);
    ck_assert_uint_eq(s->restrictions, 5000);
    ck_assert_int_eq(memcmp(transport_input(&s->transport, &len), "\x09\0\0\0\x04", 5), 0);
    ck_assert_uint_eq(len, 5);
    ck_assert_uint_eq(session_slot(s, 7)->dropping, 77);
    ck_assert_ptr_nonnull(sock);
    ck_assert_uint_eq(sock->serial, 42);
    ck_assert_int_eq(sock->state, SOCK_CONNECTED);
    ck_assert_str_eq(sock->host, "example.org");
    ck_assert_uint_eq(sock->remote.port, 443);
    ck_assert_uint_eq(sock->bytes_in, 7000);
    ck_assert_uint_eq(sock->kernel[0], 4096);
    ck_assert_int_eq(sock->options->values[OPTION_NO_DELAY], 1);
    check_ops(s, sock);
    ck_assert_uint_eq(t->core->worker.stats.requests, 1234);
    ck_assert_uint_eq(t->core->worker.stats.verbs[VERB_SEND], 567);
    ck_assert_uint_eq(t->core->worker.next_id, 50);
}

START_TEST(test_all_of_it_comes_back)
{
    struct parts p;
    struct taker t;

    parts_fill(&p);
    ck_assert_int_eq(taker_take_parts(&t, &p), 0);
    check_whole(&t);
    taker_free(&t);
}
END_TEST

/* Without it the session could do more than it may: it ends, and nobody else's take-over does. */
START_TEST(test_a_restriction_that_is_not_understood)
{
    struct parts p;
    struct taker t;
    uint8_t said[1000];
    ssize_t len;

    parts_fill(&p);
    p.restrictions[0].len = 12;
    ck_assert_int_eq(taker_take_parts(&t, &p), 0);
    ck_assert_uint_eq(t.r.lost, 1);
    state_resume(&t.core->worker);
    core_settle(t.core);
    len = recv(t.client, said, sizeof(said), MSG_DONTWAIT);
    ck_assert_int_gt(len, 0);
    ck_assert_ptr_nonnull(memmem(said, (size_t)len, "could not take over all", 23));
    taker_free(&t);
}
END_TEST

/* A daemon that did not count them has taken them: the session keeps what it may have. */
START_TEST(test_a_restriction_with_many_listens)
{
    static char text[32768];
    char *at = text + sprintf(text, "[Rules]\nAllow=tcp 127.0.0.1 *\n");
    char error[POLICY_ERROR_MAX];
    struct parts p;
    struct taker t;

    for (int port = 1; port <= 1000; port++)
        at += sprintf(at, "Listen=tcp 127.0.0.1 %d\n", port);
    parts_fill(&p);
    p.restrictions[0] = (ProtobufCBinaryData){(size_t)(at - text), (uint8_t *)text};
    ck_assert_int_eq(taker_take_parts(&t, &p), 0);
    ck_assert(!taker_session(&t)->is_unfit);
    ck_assert_uint_eq(policy_view_restrictions(taker_session(&t)->view), 1);
    ck_assert_int_eq(policy_view_restrict(taker_session(&t)->view, text, strlen(text), error),
                     -E2BIG);
    taker_free(&t);
}
END_TEST

/*
 * A client can have more bytes and ops freed than its window, if it overran it. That must not end
 * the take-over for all others.
 */
START_TEST(test_a_client_that_overran_its_window)
{
    struct parts p;
    struct taker t;

    parts_fill(&p);
    p.socket.send_freed = 1u << 30;
    p.socket.ops_freed = 100000;
    ck_assert_int_eq(taker_take_parts(&t, &p), 0);
    taker_free(&t);
}
END_TEST

/* Of what format 2 has beside. */
static void check_format_2(struct taker *t)
{
    struct session *s = taker_session(t);
    struct sock *sock = session_sock(s, 3);
    struct op *receive = session_find_op(s, 102);
    uint32_t first, end;

    ck_assert_ptr_nonnull(sock);
    ck_assert_int_eq(sock->state, SOCK_LISTENING);
    ck_assert_uint_eq(sock->bound->backlog, 5);
    ck_assert_uint_eq(sock->bound->accepted, 2);
    ck_assert_uint_eq(sock->bound->local.port, PARTS_PORT);
    accept_save(session_find_op(s, 103), &first, &end);
    ck_assert_uint_eq(first, 4);
    ck_assert_uint_eq(end, 6);
    ck_assert_uint_eq(s->buffer_count, 1);
    ck_assert_uint_eq(s->shared, 4096);
    ck_assert_ptr_nonnull(s->status);
    ck_assert(receive->is_reference);
    ck_assert_uint_eq(receive->slices.first->offset, 100);
    ck_assert_uint_eq(receive->slices.first->length, 700);
    s->op_count--; /* check_whole() knows nothing of the accept */
    check_whole(t);
    s->op_count++;
}

START_TEST(test_all_of_format_2_comes_back)
{
    struct parts p;
    struct taker t;

    parts_fill(&p);
    parts_fill_format_2(&p);
    taker_prepare(&t);
    taker_make_format_2(&t);
    ck_assert_int_eq(taker_take_prepared(&t, &p), 0);
    check_format_2(&t);
    taker_free(&t);
}
END_TEST

/*
 * Of each format, as it was written when that was the last one: it is read for as long as there is
 * this program. Whoever changes what is written leaves the files as they are.
 */
static void take_file(struct taker *t, unsigned int format)
{
    const char *dir = getenv("ASOCK_TEST_SRCDIR");
    static uint8_t data[65536];
    char path[4096];
    size_t len;
    FILE *f;

    snprintf(path, sizeof(path), "%s/tests/unit/state-format-%u", dir ? dir : ".", format);
    f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "%s", path);
    len = fread(data, 1, sizeof(data), f);
    fclose(f);
    ck_assert_uint_eq(data[8], format);
    ck_assert_int_eq(taker_take(t, data, len), 0);
}

START_TEST(test_a_state_of_format_1)
{
    struct taker t;

    taker_prepare(&t);
    take_file(&t, 1);
    check_whole(&t);
    taker_free(&t);
}
END_TEST

START_TEST(test_a_state_of_format_2)
{
    struct taker t;

    taker_prepare(&t);
    taker_make_format_2(&t);
    take_file(&t, 2);
    check_format_2(&t);
    taker_free(&t);
}
END_TEST

/* ---- the policy ---- */

static char problem[POLICY_PROBLEM_MAX];

/* What a daemon whose files are invalid makes of that text; its problems are in problem. */
static bool is_invalid_with(const char *text)
{
    const struct policy_source source = {.nat64 = {.count = 1}};
    Asockd__State__PolicyFile file = ASOCKD__STATE__POLICY_FILE__INIT, *files = &file;
    Asockd__State__Policy policy = ASOCKD__STATE__POLICY__INIT;
    bool is_invalid;
    struct parts p;
    struct taker t;

    parts_fill(&p);
    file.path = (char *)(uintptr_t) "kept.policy";
    file.text = (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
    file.modified = 12;
    policy.files = &files;
    policy.n_files = 1;
    policy.loaded = 34;
    p.daemon.policy = &policy;
    taker_prepare(&t);
    policy_unref(t.core->worker.policy);
    t.core->worker.policy = policy_new_invalid(&source, "disk.policy:1: it is wrong");
    ck_assert_int_eq(taker_take_prepared(&t, &p), 0);
    is_invalid = policy_is_invalid(t.core->worker.policy);
    policy_problems(t.core->worker.policy, problem);
    if (!is_invalid) {
        ck_assert_int_eq(policy_loaded(t.core->worker.policy), 34);
        ck_assert_int_eq(policy_keep(t.core->worker.policy, 0).modified, 12);
        ck_assert_uint_eq(policy_nat64(t.core->worker.policy)->count, 1);
        ck_assert(policy_view_has(taker_session(&t)->view, t.core->worker.policy));
    }
    taker_free(&t);
    return is_invalid;
}

/* It judges the session that comes with it. One that this version cannot read is no policy. */
START_TEST(test_the_last_good_policy)
{
    ck_assert(!is_invalid_with("[Rules]\nAllow=tcp 127.0.0.1 *\n"));
    ck_assert_ptr_nonnull(strstr(
        problem, "stays in force, because the files are invalid: disk.policy:1: it is wrong"));
    ck_assert(is_invalid_with("[Rules]\nAllow=later 127.0.0.1 *\n"));
    ck_assert_str_eq(problem, "disk.policy:1: it is wrong");
}
END_TEST

START_TEST(test_a_valid_policy_is_not_replaced)
{
    Asockd__State__Policy policy = ASOCKD__STATE__POLICY__INIT;
    struct parts p;
    struct taker t;

    parts_fill(&p);
    p.daemon.policy = &policy;
    ck_assert_int_eq(taker_take_parts(&t, &p), 0);
    ck_assert_uint_eq(policy_file_count(t.core->worker.policy), 1); /* --allow-any */
    taker_free(&t);
}
END_TEST

/* ---- from one to the other ---- */

/* All that `from` has, by descriptors of its own. */
static void move(struct core *from, struct taker *to)
{
    struct state_writer w;
    struct state_reader in;
    const uint8_t *data;
    size_t len;
    int lock = memfd_create("lock", 0);

    ck_assert(state_carries(from->session));
    ck_assert_int_eq(state_writer_init(&w), 0);
    state_save_daemon(&w, &from->worker, lock, 0, 1);
    state_save_session(&w, from->session);
    ck_assert_int_eq(state_finish(&w, &data, &len), 0);
    state_end_in_reset(from->session, true);
    for (uint32_t i = 0; i < w.descriptor_count; i++)
        to->descriptors[i] = dup(w.descriptors[i]);
    to->r.descriptor_count = w.descriptor_count;
    ck_assert_int_eq(state_read(&in, data, len), 0);
    ck_assert_int_eq(state_restore(&to->r, &in), 0);
    state_writer_deinit(&w);
    close(lock);
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
