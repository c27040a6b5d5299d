/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The report of a CONNECT, which has ended or goes on: connect_report.h. Lookups and attempts note
 * their times and outcomes as they end; a report is made of them when one is needed.
 */
#include <string.h>

#include "base/time.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/verbs/connect.h"
#include "proto/errors.h"

static uint32_t age_ms(const struct connect *c)
{
    return (uint32_t)((time_now_ns() - c->began) / 1000000);
}

void connect_note_answer(struct connect *c, unsigned int i, const struct resolver_result *result)
{
    connect_report_answered(&c->lookups[i], age_ms(c), result);
}

/* The lookups as they are: one that goes on has `outcome`. */
static void take_lookups(const struct connect *c, struct report_lookup *lookups,
                         enum report_outcome outcome)
{
    memcpy(lookups, c->lookups, sizeof(c->lookups));
    for (unsigned int i = 0; i < REPORT_LOOKUPS; i++)
        if (c->queries[i].lookup)
            lookups[i] = (struct report_lookup){.outcome = (uint8_t)outcome, .ms = age_ms(c)};
}

void connect_note_unanswered(struct connect *c)
{
    struct report_lookup lookups[REPORT_LOOKUPS];

    take_lookups(c, lookups, REPORT_GIVEN_UP);
    memcpy(c->lookups, lookups, sizeof(lookups));
}

void connect_report_make(const struct connect *c, struct connect_report *ret)
{
    connect_report_init(ret);
    ret->ms = age_ms(c);
    take_lookups(c, ret->lookups, REPORT_RUNS);
    happy_eyeballs_report(&c->he, ret);
    strcpy(ret->rule, c->audit.rule);
}

void connect_report_end(struct connect *c, uint32_t error, struct connect_report *ret)
{
    struct sock *sock = c->op->sock;

    connect_report_make(c, ret);
    ret->error = error;
    connect_report_drop(sock->connect_report);
    sock->connect_report = connect_report_keep(&sock->session->reports, sock_quota(sock), ret);
}

void connect_explain(struct op *op, const struct connect_report *report)
{
    struct connect *c = op->send.connect;

    /* Of what the client has ended itself there is nothing to explain. */
    if (op->error == ERR_SUCCESS || op->error == ERR_OPERATION_ABORTED ||
        op->error == ERR_CONNECTION_ABORTED || op->text)
        return;
    connect_report_write_reason(report, op->error, c->text);
    if (c->text[0])
        op->text = c->text;
}
