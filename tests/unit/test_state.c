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
#include "daemon/audit/recent.h"
#include "daemon/audit/rule_counts.h"
#include "daemon/core/quota.h"
#include "daemon/policy/kept.h"
#include "daemon/policy/learn.h"
#include "daemon/session/dgram.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_bound.h"
#include "daemon/session/sock_lend.h"
#include "daemon/wire/shm_buffer.h"
#include "daemon/wire/status_page.h"
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
    ck_assert_ptr_eq(ring_first(&sock->sends, struct op, node), send);
    ck_assert_ptr_eq(sock_chain(sock), chain);
    ck_assert_ptr_eq(ring_first(&sock->receives, struct op, node), receive);
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
    ck_assert_int_eq(sock->more->options->values[OPTION_NO_DELAY], 1);
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
static void check_format_2(struct taker *t, uint32_t accepts)
{
    struct session *s = taker_session(t);
    struct sock *sock = session_sock(s, 3);
    struct op *receive = session_find_op(s, 102);
    uint32_t first, end;

    ck_assert_ptr_nonnull(sock);
    ck_assert_int_eq(sock->state, SOCK_LISTENING);
    ck_assert_uint_eq(sock->more->bound->backlog, 5);
    ck_assert_uint_eq(sock->more->bound->accepted, 2);
    ck_assert_uint_eq(sock->more->bound->local.port, PARTS_PORT);
    accept_save(session_find_op(s, 103), &first, &end);
    ck_assert_uint_eq(first, 4);
    ck_assert_uint_eq(end - first, accepts);
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
    taker_make_format(&t, 2);
    ck_assert_int_eq(taker_take_prepared(&t, &p), 0);
    check_format_2(&t, 2);
    taker_free(&t);
}
END_TEST

/* Of what format 3 has beside. */
static void check_format_3(struct taker *t, uint32_t accepts)
{
    struct session *s = taker_session(t),
                   *sharee = container_of(s->node.next, struct session, node);
    struct sock *lingering = list_first(&s->lingering, struct sock, node);
    struct sock *udp = session_sock(s, 6), *connecting = session_sock(s, 8);

    ck_assert(udp && udp->more->dgram && udp->ns.fd >= 0);
    ck_assert_uint_eq(udp->more->dgram->dropped, 3);
    ck_assert_uint_eq(udp->more->dgram->verdicts[0].endpoint.port, 4433);
    ck_assert(connecting && connecting->state == SOCK_CONNECTING);
    ck_assert_uint_eq(connecting->connect->send.connect->he.count, 2);
    ck_assert_uint_eq(connecting->connect->send.connect->he.running, 1);
    ck_assert(lingering && lingering->state == SOCK_LINGERING && sock_close_op(lingering));
    ck_assert_uint_eq(sock_linger_until(lingering), 60000);
    ck_assert_uint_eq(sharee->id, 47);
    ck_assert_ptr_eq(sharee->sharing.sharer, s);
    ck_assert(sharee->sharing.may_not_lend);
    s->op_count -= 2; /* the others know nothing of these */
    check_format_2(t, accepts);
    s->op_count += 2;
}

START_TEST(test_all_of_format_3_comes_back)
{
    struct parts p;
    struct taker t;

    parts_fill(&p);
    parts_fill_format_2(&p);
    parts_fill_format_3(&p);
    taker_prepare(&t);
    taker_make_format(&t, 3);
    ck_assert_int_eq(taker_take_prepared(&t, &p), 0);
    check_format_3(&t, 2);
    taker_free(&t);
}
END_TEST

static void check_history(const struct worker *w)
{
    const struct learn_rule *rule = learn_rule_at(w->learn, 0);
    const struct recent_denial *denial = recent_next(w->recent, NULL);

    ck_assert(rule && denial);
    ck_assert_str_eq(rule->host, "example.org");
    ck_assert_str_eq(rule->file, "/etc/asock/policy.d/50-learn.policy");
    ck_assert_uint_eq(rule->count, 9);
    ck_assert_int_eq(rule->last, 1700000009);
    ck_assert_uint_eq(learn_dropped(w->learn), 2);
    ck_assert_uint_eq(denial->serial, 21);
    ck_assert_uint_eq(denial->count, 4);
    ck_assert_uint_eq(denial->until, 100000);
    ck_assert_str_eq(denial->verb, "connect");
    ck_assert_str_eq(denial->comm, "curl");
    ck_assert_str_eq(denial->reason, "no rule allows it");
    ck_assert_uint_eq(denial->remote.port, 443);
    ck_assert_uint_eq(recent_dropped(w->recent), 3);
    ck_assert_str_eq(quota_key(denial->quota), "1234");
    ck_assert_uint_eq(quota_usage(denial->quota, QUOTA_MEMORY).used,
                      denial->size + MEMORY_SOCKET_ALONE + 5); /* with what drains */
}

static void check_drain(const struct worker *w)
{
    const struct sock *sock = list_first(&w->drains, struct sock, node);
    struct drain_past past;

    ck_assert_uint_eq(w->drain_count, 1);
    ck_assert(sock->state == SOCK_DRAINING && !sock->session && sock->ns.fd >= 0);
    sock_drain_save(sock, &past);
    ck_assert_uint_eq(past.until, 30000);
    ck_assert_uint_eq(past.drained, 17);
    ck_assert_uint_eq(sock->serial, 40);
    ck_assert_uint_eq(quota_usage(sock_quota(sock), QUOTA_KERNEL).used, 2048);
    ck_assert_str_eq(quota_key(quota_at(sock_quota(sock), QUOTA_USER)), "1234");
    ck_assert_str_eq(quota_key(quota_at(sock_quota(sock), QUOTA_UNIT)), "sandbox.service");
}

/* Of what format 4 has beside, but for the socket that travels. */
static void check_most_of_format_4(struct taker *t)
{
    struct session *s = taker_session(t);
    const struct sock *held = session_sock(s, 1), *given = session_sock(s, 5);
    const struct connect *connect = session_sock(s, 8)->connect->send.connect;
    const struct shm_buffer *shm = session_buffer_at(s, 1)->shm;

    ck_assert(held->state == SOCK_LENT && held->ns.is_lent && !held->is_given &&
              !held->more->lending);
    ck_assert(given->state == SOCK_LENT && given->ns.is_lent && given->is_given);
    ck_assert(list_is_linked(&shm->pass.node) && shm->pass.second_fd == s->status->fd);
    ck_assert_ptr_eq(list_first(&s->transport.passes, struct fd_pass, node), &shm->pass);
    ck_assert_uint_eq(s->lent_unread, 3);
    ck_assert(connect->lend == LEND_HELD && connect->lending && connect->he.is_apart);
    ck_assert(lending_waits(connect->lending)); /* until all that is in the output is there */
    ck_assert_uint_eq(s->lending_count, 1);
    check_history(&t->core->worker);
    check_drain(&t->core->worker);
    check_format_3(t, 1);
}

static void check_format_4(struct taker *t)
{
    uint32_t at;

    check_most_of_format_4(t);
    ck_assert(sock_lending_at(session_sock(taker_session(t), 5), &at) && at > 0);
}

/* Of what format 5 has beside. */
static void check_format_5(struct taker *t)
{
    struct session *s = taker_session(t);
    const struct op *op = list_first(&s->done, struct op, node);
    const char *rule;
    uint64_t count;

    check_most_of_format_4(t);
    ck_assert(op->frame.lending && op->frame.lending == session_sock(s, 5)->more->lending);
    ck_assert(rule_counts_at(t->core->worker.rule_counts, 1, &rule, &count));
    ck_assert_uint_eq(count, 6);
}

START_TEST(test_all_of_format_4_comes_back)
{
    struct parts p;
    struct taker t;

    parts_fill(&p);
    parts_fill_format_2(&p);
    parts_fill_format_3(&p);
    parts_fill_format_4(&p);
    taker_prepare(&t);
    taker_make_history(&t);
    taker_make_format(&t, 4);
    ck_assert_int_eq(taker_take_prepared(&t, &p), 0);
    check_format_4(&t);
    taker_free(&t);
}
END_TEST

START_TEST(test_all_of_format_5_comes_back)
{
    struct parts p;
    struct taker t;

    parts_fill(&p);
    parts_fill_format_2(&p);
    parts_fill_format_3(&p);
    parts_fill_format_4(&p);
    parts_fill_format_5(&p);
    taker_prepare(&t);
    taker_make_history(&t);
    taker_make_format(&t, 5);
    ck_assert_int_eq(taker_take_prepared(&t, &p), 0);
    check_format_5(&t);
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
    taker_make_format(&t, 2);
    take_file(&t, 2);
    check_format_2(&t, 2);
    taker_free(&t);
}
END_TEST

START_TEST(test_a_state_of_format_3)
{
    struct taker t;

    taker_prepare(&t);
    taker_make_format(&t, 3);
    take_file(&t, 3);
    check_format_3(&t, 2);
    taker_free(&t);
}
END_TEST

START_TEST(test_a_state_of_format_4)
{
    struct taker t;

    taker_prepare(&t);
    taker_make_history(&t);
    taker_make_format(&t, 4);
    take_file(&t, 4);
    check_format_4(&t);
    taker_free(&t);
}
END_TEST

START_TEST(test_a_state_of_format_5)
{
    struct taker t;

    taker_prepare(&t);
    taker_make_history(&t);
    taker_make_format(&t, 5);
    take_file(&t, 5);
    check_format_5(&t);
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
