/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JUDGE: a client and a connect that are only thought of are judged as real ones are: the name, then the
 * address if there is one. Nobody is asked for the name.
 */
#include "daemon/server/admin_policy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/server/admin_record.h"
#include "daemon/names/host.h"
#include "daemon/core/loop.h"
#include "daemon/identity/identity.h"
#include "daemon/identity/subids.h"
#include "daemon/policy/policy.h"
#include "daemon/policy/learn.h"
#include "daemon/policy/match.h"
#include "daemon/server/reload.h"
#include "daemon/names/services.h"
#include "daemon/session/complete.h"
#include "daemon/session/session.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"
#include "proto/endpoint.h"

int admin_reload(struct op *op, bool close)
{
    struct reload *reload = op->session->worker->reload;

    if (!reload)
        return -EOPNOTSUPP;
    reload_begin(reload, close, &op->waiting);
    return 0;
}

static void tell_reload(struct op *op, int r, const struct reload_report *report)
{
    uint8_t out[INSPECT_RECORD_MAX];
    struct record record;
    int error;

    if (r < 0) {
        error = tell_failure(op, r == -ENOMEM ? r : -EINVAL, report->error);
    } else {
        record_init(&record);
        record_number(&record, "cancelled", report->cancelled);
        record_number(&record, "denied", report->denied);
        record_number(&record, "closed", report->closed);
        if (report->lost > 0) {
            record_number(&record, "listeners_lost", report->lost);
            record_format(&record, "problem", "%.512s", report->problem);
        }
        error = tell_record(op, out, record_encode(&record, out, sizeof(out)));
    }
    if (error)
        complete(op, (uint32_t)error);
}

void admin_reloaded(struct list *waiting, int r, const struct reload_report *report)
{
    struct op *op;

    while ((op = list_first(waiting, struct op, waiting))) {
        list_remove(&op->waiting); /* what becomes of it is told by another class */
        tell_reload(op, r, report);
    }
}

/* ---- JUDGE ---- */

/*
 * What is not said of the client, it has not: values that nobody has, instead of unknown ones, which
 * policy would have to deny for.
 */
#define NOBODYS_ID (PEER_ID_UNKNOWN - 1)
#define NOBODYS_CGROUP "-"

struct question {
    struct peer peer;
    gid_t gids[PEER_GIDS_KEPT];
    char listener[32];
    char host[HOST_TEXT_MAX + 2]; /* a name may have its trailing dot */
    char service[CODEC_SERVICE_MAX + 1];
    char protocol[8];
    char address[INET6_ADDRSTRLEN];
    char *error; /* INSPECT_TEXT_MAX bytes */
};

static bool refuse(struct question *q, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The first complaint counts. */
static bool refuse(struct question *q, const char *format, ...)
{
    va_list args;

    if (q->error[0])
        return false;
    va_start(args, format);
    vsnprintf(q->error, INSPECT_TEXT_MAX, format, args);
    va_end(args);
    return false;
}

static bool take_text(struct question *q, const struct field *field)
{
    const struct {
        const char *name;
        char *to;
        size_t size;
    } texts[] = {
        {"unit", q->peer.unit, sizeof(q->peer.unit)},
        {"user_unit", q->peer.user_unit, sizeof(q->peer.user_unit)},
        {"cgroup", q->peer.cgroup, sizeof(q->peer.cgroup)},
        {"listener", q->listener, sizeof(q->listener)},
        {"protocol", q->protocol, sizeof(q->protocol)},
        {"host", q->host, sizeof(q->host)},
        {"service", q->service, sizeof(q->service)},
        {"address", q->address, sizeof(q->address)},
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strcmp(texts[i].name, field->name) != 0)
            continue;
        if (strlen(field->text) >= texts[i].size)
            return refuse(q, "%s is too long", field->name);
        strcpy(texts[i].to, field->text);
        return true;
    }
    return refuse(q, "\"%.40s\" is not a text that JUDGE takes", field->name);
}

/* In ascending order. */
static void add_group(struct peer *peer, gid_t gid)
{
    uint32_t at = peer->gid_count++;

    for (; at > 0 && peer->gids[at - 1] > gid; at--)
        peer->gids[at] = peer->gids[at - 1];
    peer->gids[at] = gid;
}

static bool take_number(struct question *q, const struct field *field)
{
    struct peer *peer = &q->peer;
    bool is_id = field->number >= 0 && field->number < NOBODYS_ID;

    if (strcmp(field->name, "uid") == 0 && is_id)
        peer->uid = (uid_t)field->number;
    else if (strcmp(field->name, "gid") == 0 && is_id && peer->gid_count < PEER_GIDS_KEPT)
        add_group(peer, (gid_t)field->number);
    else
        return refuse(q, "%.40s=%lld is not a number that JUDGE takes", field->name,
                      (long long)field->number);
    return true;
}

static void take_fields(const struct field *fields, size_t count, void *data)
{
    struct question *q = data;

    for (size_t i = 0; i < count; i++)
        if (!(fields[i].text ? take_text(q, &fields[i]) : take_number(q, &fields[i])))
            return;
}

static void init_question(struct question *q, char *error)
{
    memset(q, 0, sizeof(*q));
    q->error = error;
    q->peer.uid = q->peer.gid = NOBODYS_ID;
    q->peer.gids = q->gids;
    q->peer.gids_known = q->peer.units_known = true;
    q->peer.pidfd = -1;
    strcpy(q->peer.cgroup, NOBODYS_CGROUP);
}

/* Where a unit of a user is, the kernel says the manager that it belongs to as well. */
static void settle_units(struct question *q)
{
    if (q->peer.user_unit[0] && !q->peer.unit[0])
        snprintf(q->peer.unit, sizeof(q->peer.unit), "user@%u.service", (unsigned int)q->peer.uid);
}

/* The address that is connected to, if it is known; its family 0: it is not. */
static bool read_address(struct question *q, const struct host *host, uint16_t port,
                         struct host *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (host->kind == HOST_ADDRESS)
        *ret = *host;
    else if (q->address[0] && (host_parse(q->address, ret) < 0 || ret->kind != HOST_ADDRESS))
        return refuse(q, "\"%s\" is not an address", q->address);
    if (host->kind == HOST_ADDRESS && q->address[0])
        return refuse(q, "an address has no other address");
    asock_sockaddr_set_port(&ret->address.any, port);
    return true;
}

static bool check_unit(struct question *q, const char *unit)
{
    return !*unit || policy_match_is_unit(unit) ||
           refuse(q, "\"%s\" is not a unit with processes, like foo.service", unit);
}

/* A client that there cannot be would be denied, and that taken for an answer. */
static bool check_client(struct question *q)
{
    const char *cgroup = q->peer.cgroup;

    if (!check_unit(q, q->peer.unit) || !check_unit(q, q->peer.user_unit))
        return false;
    return *cgroup == '/' || strcmp(cgroup, NOBODYS_CGROUP) == 0 ||
           refuse(q, "\"%.200s\": a cgroup's path begins with /", cgroup);
}

static bool read_question(struct question *q, struct services *services, struct host *host,
                          struct host *address, uint16_t *port)
{
    if (q->error[0])
        return false;
    if (strcmp(q->protocol, "tcp") != 0)
        return refuse(q, "the protocol is not tcp");
    if (!check_client(q))
        return false;
    if (host_parse(q->host, host) < 0 || host_find_zone(host) < 0)
        return refuse(q, "\"%s\" is neither a name nor an address", q->host);
    if (services_port(services, q->service, port) < 0)
        return refuse(q, "\"%s\" is neither a port nor a service", q->service);
    return read_address(q, host, *port, address);
}

static void judge(const struct policy_view *view, const struct host *host,
                  const struct host *address, uint16_t port, struct record *ret)
{
    struct policy_question question = {.port = port};
    struct policy_answer answer = {.is_allowed = true};
    const char *about = "name";

    if (host->kind != HOST_ADDRESS) {
        question.host = host->name;
        answer = policy_judge(view, &question);
    }
    if (answer.is_allowed && address->address.any.sa_family) {
        about = "address";
        question.addr = &address->address.any;
        answer = policy_judge(view, &question);
    }
    record_text(ret, "verdict", answer.is_allowed ? "allow" : "deny");
    record_text(ret, "about", about);
    record_text(ret, "file", answer.file);
    record_number(ret, "line", answer.line);
    record_number(ret, "learned", answer.is_learned);
    record_text(ret, "reason", answer.reason);
}

long admin_judge(struct session *s, const uint8_t *question, size_t len, uint8_t *out, size_t cap,
                 char ret_text[static INSPECT_TEXT_MAX])
{
    struct host host, address;
    struct policy_view *view;
    struct record record;
    struct question q;
    uint16_t port;
    long n;

    init_question(&q, ret_text);
    if (asock_codec_decode_record(question, len, take_fields, &q) < 0)
        refuse(&q, "the question is not a record");
    if (!read_question(&q, s->worker->services, &host, &address, &port))
        return -EINVAL;
    subids_mark(s->worker->subids, &q.peer);
    settle_units(&q);
    view = policy_view_new(s->worker->policy, &q.peer, q.listener);
    if (!view)
        return -ENOMEM;
    record_init(&record);
    judge(view, &host, &address, port, &record);
    n = record_encode(&record, out, cap);
    policy_view_free(view);
    return n;
}

/* ---- LEARNED ---- */

#define PLACE_DROPPED (UINT64_MAX - 1) /* behind all rules; what is behind that is over */

static long tell_dropped(const struct learn *learn, struct inspect_cursor *cursor, uint8_t *out,
                         size_t cap)
{
    struct record record;

    if (cursor->place > PLACE_DROPPED || !learn_dropped(learn))
        return 0;
    cursor->place = PLACE_DROPPED;
    record_init(&record);
    record_number(&record, "dropped", learn_dropped(learn));
    return record_encode(&record, out, cap);
}

long admin_learned(struct session *s, struct inspect_cursor *cursor, uint8_t *out, size_t cap)
{
    const struct learn *learn = s->worker->learn;
    const struct learn_rule *rule = learn_rule_at(learn, cursor->place);
    struct record record;

    if (!rule)
        return tell_dropped(learn, cursor, out, cap);
    record_init(&record);
    record_text(&record, "file", rule->file);
    record_format(&record, "rule", "tcp %s %u", rule->host, rule->port);
    if (rule->uid != PEER_ID_UNKNOWN)
        record_number(&record, "uid", rule->uid);
    record_number(&record, "count", rule->count);
    record_number(&record, "first", (uint64_t)rule->first);
    record_number(&record, "last", (uint64_t)rule->last);
    return record_encode(&record, out, cap);
}
