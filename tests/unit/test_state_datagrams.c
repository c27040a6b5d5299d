/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A datagram socket that goes from one daemon to the next. */

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/core/quota.h"
#include "daemon/session/dgram.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "proto/errors.h"
#include "tests/lib/suite.h"
#include "tests/unit/state_parts.h"

#define SEGMENT 4u

static Asockd__State__Datagrams datagrams;
static Asockd__State__Endpoint peer, others[3], *other_at[3];
static Asockd__State__Bound bound;
static Asockd__State__Datagram alone, segments;
static uint64_t keys[] = {5, 7};
static int ours, theirs; /* sockets that are connected with each other */
static bool has_no_peer;

static int udp(struct sockaddr_in *ret)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    socklen_t len = sizeof(*ret);

    *ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ck_assert_int_eq(bind(fd, (struct sockaddr *)ret, sizeof(*ret)), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)ret, &len), 0);
    return fd;
}

static void make_sockets(struct parts *p)
{
    struct sockaddr_in our, their;

    ours = udp(&our);
    theirs = udp(&their);
    if (!has_no_peer)
        ck_assert_int_eq(connect(ours, (struct sockaddr *)&their, sizeof(their)), 0);
    ck_assert_int_eq(connect(theirs, (struct sockaddr *)&our, sizeof(our)), 0);
    peer.address = p->remote.address;
    peer.port = p->remote.port = ntohs(their.sin_port);
}

static void fill_ops(struct parts *p)
{
    asockd__state__datagram__init(&alone);
    asockd__state__datagram__init(&segments);
    p->send.datagram = &alone;
    p->send.bytes = 0;
    p->send.total = p->send.received = 4;
    p->send.until = 0;
    /* Two of its segments have gone, one after the other. */
    p->chain.datagram = &segments;
    p->chain.data = (ProtobufCBinaryData){10, (uint8_t *)(uintptr_t) "gonegonemo"};
    p->chain.total = p->chain.received = 10;
    p->chain.bytes = 8;
    segments.segment = SEGMENT;
    p->receive.receive_flags = 0;
    p->receive.bytes = 0;
}

/* One with a peer, two sends and a receive. */
static void fill(struct parts *p)
{
    parts_fill(p);
    asockd__state__datagrams__init(&datagrams);
    asockd__state__endpoint__init(&peer);
    make_sockets(p);
    for (size_t i = 0; i < 3; i++) {
        asockd__state__endpoint__init(&others[i]);
        others[i].address = p->remote.address;
        others[i].port = 1000 + (uint32_t)i;
        other_at[i] = &others[i];
    }
    p->socket.datagrams = &datagrams;
    p->socket.family = FAMILY_INET;
    p->socket.chain = 0;
    p->socket.options_set = 0;
    datagrams.peer = &peer;
    datagrams.has_no_segments = true;
    datagrams.hears_peer_alone = true;
    datagrams.dropped = 3;
    datagrams.refused = 4;
    datagrams.destinations = other_at;
    datagrams.n_destinations = 2;
    fill_ops(p);
}

/* It becomes one that is bound, without ops. */
static void bind_it(struct parts *p)
{
    struct sockaddr_in local;
    socklen_t len = sizeof(local);

    ck_assert_int_eq(getsockname(ours, (struct sockaddr *)&local, &len), 0);
    asockd__state__bound__init(&bound);
    others[2].port = ntohs(local.sin_port);
    bound.asked = bound.local = &others[2];
    p->socket.bound = &bound;
    p->socket.state = ASOCKD__STATE__SOCKET__STATE__BOUND;
    datagrams.peer = NULL;
    datagrams.heard = other_at;
    datagrams.n_heard = 2;
    datagrams.keys = keys;
    datagrams.n_keys = 2;
    alone.to = segments.to = &others[0];
}

static int take(struct taker *t, struct parts *p)
{
    struct state_writer w;
    const uint8_t *data;
    size_t len;
    int r;

    parts_write(p, &w);
    ck_assert_int_eq(state_finish(&w, &data, &len), 0);
    taker_init(t);
    taker_make_descriptors(t);
    close(t->descriptors[CONNECTION - 1]);
    t->descriptors[CONNECTION - 1] = ours;
    r = taker_take(t, data, len);
    state_writer_deinit(&w);
    return r;
}

static void check_heard(const char *expected)
{
    char data[100];
    ssize_t n = recv(theirs, data, sizeof(data), MSG_DONTWAIT);

    ck_assert_int_eq(n, (ssize_t)strlen(expected));
    ck_assert_int_eq(memcmp(data, expected, (size_t)n), 0);
}

START_TEST(test_what_it_has_comes_back)
{
    struct endpoint destination = {{127, 0, 0, 1}, .address_len = 4, .port = 1001};
    struct sock *sock;
    struct parts p;
    struct taker t;

    fill(&p);
    ck_assert_int_eq(take(&t, &p), 0);
    sock = session_sock(taker_session(&t), 2);
    ck_assert_ptr_nonnull(sock->more->dgram);
    ck_assert_uint_eq(sock->more->dgram->dropped, 3);
    ck_assert_uint_eq(sock->more->dgram->refused, 4);
    ck_assert(sock->more->dgram->hears_peer_alone);
    ck_assert_uint_eq(sock->more->dgram->peer.port, peer.port);
    ck_assert_mem_eq(&sock->more->dgram->verdicts[1].endpoint, &destination, sizeof(destination));
    ck_assert(sock->more->dgram->verdicts[1].is_sent_to &&
              !sock->more->dgram->verdicts[1].is_allowed);
    ck_assert_uint_eq(sock->queued, 4 + 2); /* what has not gone */
    ck_assert_uint_eq(taker_session(&t)->queued, 6);
    taker_free(&t);
    close(theirs);
}
END_TEST

START_TEST(test_what_waits_leaves_whole_and_once)
{
    char data[10];
    struct parts p;
    struct taker t;

    fill(&p);
    p.session.n_restrictions = 0; /* it may send there */
    ck_assert_int_eq(take(&t, &p), 0);
    state_resume(&t.core->worker);
    core_settle(t.core);
    check_heard("rest");
    check_heard("mo");
    ck_assert_int_lt(recv(theirs, data, sizeof(data), MSG_DONTWAIT), 0);
    ck_assert_uint_eq(taker_session(&t)->queued, 0);
    taker_free(&t);
    close(theirs);
}
END_TEST

/* Its memory is charged as at the bind, and it knows whom it may answer. */
START_TEST(test_one_that_is_bound)
{
    struct endpoint heard = {{127, 0, 0, 1}, .address_len = 4, .port = 1001};
    uint64_t before;
    struct sock *sock;
    struct parts p;
    struct taker t;

    has_no_peer = true;
    fill(&p);
    bind_it(&p);
    ck_assert_int_eq(take(&t, &p), 0);
    sock = session_sock(taker_session(&t), 2);
    ck_assert_int_eq(sock->state, SOCK_BOUND);
    ck_assert(dgram_has_heard(sock, &heard));
    heard.port = 1002;
    ck_assert(!dgram_has_heard(sock, &heard));
    ck_assert_uint_eq(sock->more->dgram->answers->keys[0], 5);
    before = quota_usage(sock_quota(sock), QUOTA_MEMORY).used;
    dgram_unbound(sock);
    ck_assert_uint_eq(before - quota_usage(sock_quota(sock), QUOTA_MEMORY).used,
                      sizeof(struct dgram_answers));
    taker_free(&t);
    close(theirs);
}
END_TEST

/* Somebody has disconnected it: what comes from others has to be judged. */
START_TEST(test_one_whose_peer_was_taken_from_it)
{
    struct parts p;
    struct taker t;

    has_no_peer = true;
    fill(&p);
    ck_assert_int_eq(take(&t, &p), 0);
    ck_assert(!session_sock(taker_session(&t), 2)->more->dgram->hears_peer_alone);
    taker_free(&t);
    close(theirs);
}
END_TEST

/* ---- wrong ---- */

static void is_stream(struct parts *p)
{
    p->socket.datagrams = NULL;
}
static void other_family(struct parts *p)
{
    p->socket.family = FAMILY_INET6;
}
static void other_peer(struct parts *p)
{
    (void)p;
    peer.port++;
}
static void no_peer(struct parts *p)
{
    (void)p;
    datagrams.peer = NULL;
}
static void peer_of_none(struct parts *p)
{
    p->socket.state = ASOCKD__STATE__SOCKET__STATE__OPEN;
    datagrams.peer = NULL;
}
static void it_listens(struct parts *p)
{
    bind_it(p);
    p->socket.state = ASOCKD__STATE__SOCKET__STATE__LISTENING;
    bound.backlog = 1;
}
static void other_port(struct parts *p)
{
    bind_it(p);
    others[2].port++;
}
static void heard_without_bind(struct parts *p)
{
    (void)p;
    datagrams.heard = other_at;
    datagrams.n_heard = 1;
}
static void half_a_key(struct parts *p)
{
    bind_it(p);
    datagrams.n_keys = 1;
}
static void heard_nobody(struct parts *p)
{
    bind_it(p);
    others[0].address.len = 0;
    datagrams.n_destinations = 0;
}
static void many_groups(struct parts *p)
{
    static Asockd__State__Endpoint *many[DGRAM_GROUPS_MAX + 1];

    bind_it(p);
    for (size_t i = 0; i <= DGRAM_GROUPS_MAX; i++)
        many[i] = &others[0];
    datagrams.groups = many;
    datagrams.n_groups = DGRAM_GROUPS_MAX + 1;
}
static void send_without_way(struct parts *p)
{
    p->send.datagram = NULL;
}
static void half_a_datagram(struct parts *p)
{
    p->send.bytes = 2;
}
static void half_a_segment(struct parts *p)
{
    p->chain.bytes = 7;
}
static void segments_together(struct parts *p)
{
    (void)p;
    datagrams.has_no_segments = false;
}
static void one_segment(struct parts *p)
{
    (void)p;
    segments.segment = 10;
}
static void long_datagram(struct parts *p)
{
    p->send.total = DGRAM_MAX + 1;
}
static void fewer_bytes(struct parts *p)
{
    p->send.data.len--;
}
static void odd_source(struct parts *p)
{
    (void)p;
    others[0].address.len = 3;
    datagrams.n_destinations = 0;
    alone.source = &others[0];
}
static void received_part(struct parts *p)
{
    p->receive.bytes = 1;
}
static void waits_for_all(struct parts *p)
{
    p->receive.receive_flags = RECEIVE_WAIT_ALL;
}
static void a_shutdown(struct parts *p)
{
    p->send.verb = VERB_SHUTDOWN;
}
static void a_hangup(struct parts *p)
{
    p->receive.verb = VERB_HANGUP;
    p->receive.queue = ASOCKD__STATE__OP__QUEUE__HANGUP;
}
static void a_chain(struct parts *p)
{
    p->socket.chain = 101;
}

static void (*const wrongs[])(struct parts *p) = {
    is_stream,          other_family,   other_peer,        no_peer,
    peer_of_none,       it_listens,     other_port,        half_a_key,
    heard_without_bind, heard_nobody,   many_groups,       send_without_way,
    half_a_datagram,    half_a_segment, segments_together, one_segment,
    long_datagram,      fewer_bytes,    odd_source,        received_part,
    waits_for_all,      a_shutdown,     a_hangup,          a_chain,
};

START_LOOP_TEST(test_what_cannot_be_is_refused, 0, sizeof(wrongs) / sizeof(wrongs[0]))
{
    struct parts p;
    struct taker t;

    fill(&p);
    wrongs[_i](&p);
    ck_assert_msg(take(&t, &p) == -EBADMSG, "%s", t.r.what);
    taker_free(&t);
    close(theirs);
}
END_TEST
