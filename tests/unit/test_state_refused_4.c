/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* As test_state_refused.c: what format 4 has beside, and sessions that have ended. */

#include <errno.h>
#include <string.h>

#include "daemon/audit/recent.h"
#include "daemon/policy/learn.h"
#include "tests/lib/suite.h"
#include "tests/unit/state_parts.h"

static void lent_without(struct parts *p)
{
    p->four.lent.descriptor = 0;
}
static void lent_is_client(struct parts *p)
{
    p->four.lent.descriptor = SHAREE;
    p->three.sharee.descriptor = LENT;
}
static void lent_is_udp(struct parts *p)
{
    p->four.lent.descriptor = UDP;
    p->three.udp.descriptor = LENT;
}
static void lent_has_another_cookie(struct parts *p)
{
    p->four.lent.cookie = 1;
}
static void not_lent(struct parts *p)
{
    p->four.lent.lent = NULL;
}
static void connected_is_lent(struct parts *p)
{
    p->four.lent.state = ASOCKD__STATE__SOCKET__STATE__CONNECTED;
}
static void lent_is_bound(struct parts *p)
{
    p->four.lent.bound = &p->bound;
}
static void given_has_a_descriptor(struct parts *p)
{
    p->four.given.travel = NULL;
}
static void travels_behind_the_output(struct parts *p)
{
    p->four.travel.at = (uint32_t)p->session.output.len;
}
static void travel_with_the_same_frame(struct parts *p)
{
    p->four.travel.at = p->four.buffer_travel.at;
}
static void travels_with_no_reply(struct parts *p)
{
    p->four.travel.reply = 2;
}
static void travels_with_the_same_reply(struct parts *p)
{
    p->four.travel.reply = 1;
    p->four.held.travel = &p->four.travel;
}
static void buffer_travels_behind_the_output(struct parts *p)
{
    p->four.buffer_travel.at = UINT32_MAX;
}
static void buffer_that_has_gone_travels(struct parts *p)
{
    p->buffer.descriptor = 0;
    p->buffer.length = 0;
}
static void travels_with_no_page(struct parts *p)
{
    p->session.status = 0;
}
static void has_many_lent_unread(struct parts *p)
{
    p->session.lent_unread = p->session.sockets_max;
}
static void lent_in_an_unknown_way(struct parts *p)
{
    p->three.connect.lend = LEND_HELD_IF_ALLOWED + 1;
}
static void lent_with_data(struct parts *p)
{
    p->three.connect.lend = LEND_HELD;
    p->three.connect.total = p->three.connect.received = 4;
    p->three.connect.data = (ProtobufCBinaryData){4, (uint8_t *)(uintptr_t) "data"};
}
static void drain_of_nothing(struct parts *p)
{
    p->four.drain.socket = NULL;
}
static void drain_is_client(struct parts *p)
{
    p->four.drained.descriptor = SHAREE;
    p->three.sharee.descriptor = DRAINING;
}
static void drain_has_a_descriptor_of_others(struct parts *p)
{
    p->four.drained.descriptor = LENT;
}
static void drain_without(struct parts *p)
{
    p->four.drained.descriptor = 0;
}
static void drain_costs_nothing(struct parts *p)
{
    p->four.drain.charged = 0;
}
static void drain_of_a_later_id(struct parts *p)
{
    p->four.drained.serial = 50;
}
static void drain_with_a_long_key(struct parts *p)
{
    static char key[600];

    p->four.drain.unit = memset(key, 'a', sizeof(key) - 1);
}
static void drain_that_is_given(struct parts *p)
{
    p->four.drained.lent = &p->four.given;
}
static void (*const wrongs[])(struct parts *p) = {
    lent_without,
    lent_is_client,
    lent_is_udp,
    lent_has_another_cookie,
    not_lent,
    connected_is_lent,
    lent_is_bound,
    given_has_a_descriptor,
    travels_behind_the_output,
    travel_with_the_same_frame,
    travels_with_no_reply,
    travels_with_the_same_reply,
    buffer_travels_behind_the_output,
    buffer_that_has_gone_travels,
    travels_with_no_page,
    has_many_lent_unread,
    lent_in_an_unknown_way,
    lent_with_data,
    drain_of_nothing,
    drain_is_client,
    drain_has_a_descriptor_of_others,
    drain_without,
    drain_costs_nothing,
    drain_of_a_later_id,
    drain_with_a_long_key,
    drain_that_is_given,
};

START_LOOP_TEST(test_what_cannot_be_is_refused, 0, sizeof(wrongs) / sizeof(wrongs[0]))
{
    struct parts p;
    struct taker t;

    parts_fill(&p);
    parts_fill_format_2(&p);
    parts_fill_format_3(&p);
    parts_fill_format_4(&p);
    wrongs[_i](&p);
    taker_prepare(&t);
    taker_make_history(&t);
    taker_make_format(&t, 4);
    ck_assert_int_eq(taker_take_prepared(&t, &p), -EBADMSG);
    ck_assert_ptr_nonnull(t.r.what);
    taker_free(&t);
}
END_TEST

/* ---- sessions that have ended ---- */

static void nothing(struct parts *p)
{
    (void)p;
}
static void ended_with_a_socket(struct parts *p)
{
    p->session.sockets = 1;
}
static void ended_with_nothing_unread(struct parts *p)
{
    p->session.lent_unread = 0;
}
static void ended_with_more_than_it_may_have(struct parts *p)
{
    p->session.lent_unread = p->session.sockets_max + 1;
}
static void ended_without_a_connection(struct parts *p)
{
    p->session.descriptor = 0;
}
static void ended_is_tcp(struct parts *p)
{
    p->session.descriptor = CONNECTION;
}
static void ended_has_another_cookie(struct parts *p)
{
    p->session.cookie = 1;
}
static void ended_at_no_listener(struct parts *p)
{
    p->session.listener = (char *)(uintptr_t) "gone";
}
static void ended_of_a_later_id(struct parts *p)
{
    p->session.id = 50;
}
static void ended_below_nobody(struct parts *p)
{
    p->session.sharer = 42;
}

/* The first one is as it should be; what the first ENDED_FORGOTTEN have is no reason to refuse. */
#define ENDED_FORGOTTEN 6
static void (*const ended_wrongs[])(struct parts *p) = {
    nothing,
    ended_without_a_connection,
    ended_is_tcp,
    ended_has_another_cookie,
    ended_at_no_listener,
    ended_below_nobody,
    ended_with_a_socket,
    ended_with_nothing_unread,
    ended_with_more_than_it_may_have,
    ended_of_a_later_id,
};

START_LOOP_TEST(test_what_cannot_have_ended_is_refused, 0,
                sizeof(ended_wrongs) / sizeof(ended_wrongs[0]))
{
    struct state_writer w;
    const uint8_t *data;
    struct parts p;
    struct taker t;
    size_t len;

    parts_fill(&p);
    p.session.sockets = 0;
    p.session.lent_unread = 1;
    ended_wrongs[_i](&p);
    taker_prepare(&t);
    parts_write_ended(&p, &w);
    ck_assert_int_eq(state_finish(&w, &data, &len), 0);
    ck_assert_int_eq(taker_take(&t, data, len), _i < ENDED_FORGOTTEN ? 0 : -EBADMSG);
    state_writer_deinit(&w);
    taker_free(&t);
}
END_TEST

/* ---- what the administrator looks at: no connection depends on it ---- */

static void learned_of_nobody(struct parts *p)
{
    p->four.learned.host = (char *)(uintptr_t) "*\nAllow=tcp";
}
static void learned_no_port(struct parts *p)
{
    p->four.learned.port = 65536;
}
static void learned_of_a_later_protocol(struct parts *p)
{
    p->four.learned.protocol = 2;
}
static void denial_of_a_later_verb(struct parts *p)
{
    p->four.denial.verb = (char *)(uintptr_t) "think";
}
static void denial_without_serial(struct parts *p)
{
    p->four.denial.serial = 0;
}
static void denial_with_a_long_command(struct parts *p)
{
    static char comm[100];

    p->four.denial.comm = memset(comm, 'a', sizeof(comm) - 1);
}
static void denial_of_a_later_family(struct parts *p)
{
    static Asockd__State__Endpoint odd;

    asockd__state__endpoint__init(&odd);
    odd.address = (ProtobufCBinaryData){3, p->address};
    p->four.denial.local = &odd;
}

static const struct unknown {
    void (*spoil)(struct parts *p);
    uint64_t learned, denied; /* that are only counted then */
} unknowns[] = {
    {learned_of_nobody, 2 + 9, 3},           {learned_no_port, 2 + 9, 3},
    {learned_of_a_later_protocol, 2 + 9, 3}, {denial_of_a_later_verb, 2, 3 + 4},
    {denial_without_serial, 2, 3 + 4},       {denial_with_a_long_command, 2, 3 + 4},
    {denial_of_a_later_family, 2, 3 + 4},
};

/* A later version may have others. The entry is counted, and all clients stay. */
START_LOOP_TEST(test_what_is_not_known_is_counted, 0, sizeof(unknowns) / sizeof(unknowns[0]))
{
    const struct unknown *unknown = &unknowns[_i];
    struct worker *w;
    struct parts p;
    struct taker t;

    parts_fill(&p);
    parts_fill_format_2(&p);
    parts_fill_format_3(&p);
    parts_fill_format_4(&p);
    unknown->spoil(&p);
    taker_prepare(&t);
    taker_make_history(&t);
    taker_make_format(&t, 4);
    w = &t.core->worker;
    ck_assert_int_eq(taker_take_prepared(&t, &p), 0);
    ck_assert(!taker_session(&t)->is_unfit);
    ck_assert_uint_eq(learn_dropped(w->learn), unknown->learned);
    ck_assert_uint_eq(recent_dropped(w->recent), unknown->denied);
    ck_assert_int_eq(!learn_rule_at(w->learn, 0), unknown->learned > 2);
    ck_assert_int_eq(!recent_next(w->recent, NULL), unknown->denied > 3);
    taker_free(&t);
}
END_TEST
