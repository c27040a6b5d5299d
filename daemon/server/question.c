/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/server/question.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/names/services.h"
#include "daemon/policy/match.h"
#include "daemon/policy/policy.h"
#include "proto/endpoint.h"

/*
 * Attributes that are not given are absent: they get values that no client has. Policy would have
 * to deny because of unknown ones.
 */
#define NO_CGROUP "-"

/* The first complaint counts. */
bool question_refuse(struct question *q, const char *format, ...)
{
    va_list args;

    if (q->error[0])
        return false;
    va_start(args, format);
    vsnprintf(q->error, INSPECT_TEXT_MAX, format, args);
    va_end(args);
    return false;
}

bool question_no_memory(struct question *q)
{
    q->is_out_of_memory = !q->error[0];
    return question_refuse(q, "out of memory");
}

void question_init(struct question *q, char *error)
{
    memset(q, 0, sizeof(*q));
    q->error = error;
    error[0] = '\0';
    q->identity.uid = q->identity.gid = IDENTITY_ID_NOBODY;
    q->identity.gids = q->gids;
    q->identity.gids_known = q->identity.units_known = true;
    q->identity.pidfd = -1;
    strcpy(q->identity.cgroup, NO_CGROUP);
    strcpy(q->listener, "default");
}

void question_deinit(struct question *q)
{
    if (q->is_process)
        identity_deinit(&q->identity);
}

/* ---- fields ---- */

/* A fact of a session that could not be determined there either. */
static bool take_unknown(struct question *q, const char *fact)
{
    struct identity *identity = &q->identity;

    if (strcmp(fact, "uid") == 0)
        identity->uid = IDENTITY_ID_UNKNOWN;
    else if (strcmp(fact, "gid") == 0)
        identity->gid = IDENTITY_ID_UNKNOWN;
    else if (strcmp(fact, "groups") == 0)
        identity->gids_known = false;
    else if (strcmp(fact, "units") == 0)
        identity->units_known = false;
    else if (strcmp(fact, "cgroup") == 0)
        identity->cgroup[0] = '\0';
    else
        return question_refuse(q, "unknown=%.40s is not an attribute of a client", fact);
    return true;
}

static bool take_text(struct question *q, const struct field *field)
{
    const struct {
        const char *name;
        char *to;
        size_t size;
        unsigned int given;
    } texts[] = {
        {"unit", q->identity.unit, sizeof(q->identity.unit), 1u << MATCH_UNIT},
        {"user_unit", q->identity.user_unit, sizeof(q->identity.user_unit), 1u << MATCH_USER_UNIT},
        {"cgroup", q->identity.cgroup, sizeof(q->identity.cgroup), 1u << MATCH_CGROUP},
        {"listener", q->listener, sizeof(q->listener), 1u << MATCH_LISTENER},
        {"protocol", q->protocol, sizeof(q->protocol), 0},
        {"verb", q->verb, sizeof(q->verb), 0},
        {"host", q->host, sizeof(q->host), 0},
        {"service", q->service, sizeof(q->service), 0},
        {"address", q->address, sizeof(q->address), 0},
    };

    if (strcmp(field->name, "unknown") == 0)
        return take_unknown(q, field->text);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strcmp(texts[i].name, field->name) != 0)
            continue;
        if (strlen(field->text) >= texts[i].size)
            return question_refuse(q, "%s is too long", field->name);
        strcpy(texts[i].to, field->text);
        q->given |= texts[i].given;
        return true;
    }
    return question_refuse(q, "\"%.40s\" is not a text field of JUDGE", field->name);
}

/* In ascending order. */
static void add_group(struct identity *identity, gid_t gid)
{
    uint32_t at = identity->gid_count++;

    for (; at > 0 && identity->gids[at - 1] > gid; at--)
        identity->gids[at] = identity->gids[at - 1];
    identity->gids[at] = gid;
}

static bool take_id(struct question *q, const struct field *field)
{
    struct identity *identity = &q->identity;

    if (field->number < 0 || field->number >= IDENTITY_ID_NOBODY)
        return false;
    if (strcmp(field->name, "uid") == 0) {
        identity->uid = (uid_t)field->number;
        q->given |= 1u << MATCH_USER;
    } else if (strcmp(field->name, "gid") == 0 && identity->gid_count < IDENTITY_GIDS_KEPT) {
        add_group(identity, (gid_t)field->number);
        q->given |= 1u << MATCH_GROUP;
    } else {
        return false;
    }
    return true;
}

static bool take_number(struct question *q, const struct field *field)
{
    const struct {
        const char *name;
        bool *has;
        uint64_t *to;
    } numbers[] = {
        {"id", &q->has_id, &q->id},
        {"also", &q->has_also, &q->also},
        {"row", &q->has_row, &q->row},
        {"restriction", &q->has_restriction, &q->restriction},
    };

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]) && field->number >= 0; i++) {
        if (strcmp(numbers[i].name, field->name) != 0)
            continue;
        *numbers[i].has = true;
        *numbers[i].to = (uint64_t)field->number;
        return true;
    }
    if (strcmp(field->name, "pid") == 0 && field->number > 0 && field->number <= INT32_MAX) {
        q->has_pid = true;
        q->pid = (pid_t)field->number;
        return true;
    }
    return take_id(q, field) || question_refuse(q, "%.40s=%lld is not a number field of JUDGE",
                                                field->name, (long long)field->number);
}

bool question_take(struct question *q, const struct field *field)
{
    return field->text ? take_text(q, field) : take_number(q, field);
}

/* ---- the client ---- */

static bool check_unit(struct question *q, const char *unit)
{
    return !*unit || policy_match_is_unit(unit) ||
           question_refuse(q, "\"%s\" is not a unit with processes, such as foo.service", unit);
}

static bool look_at_process(struct question *q)
{
    int r;

    if (q->given & ~(1u << MATCH_LISTENER))
        return question_refuse(q, "give a process or attributes of a client, not both");
    r = identity_read_process(q->pid, &q->identity);
    if (r == -ENOMEM)
        return question_no_memory(q);
    if (r < 0)
        return question_refuse(q, "process %d: %s", (int)q->pid,
                               r == -ESRCH ? "no such process" : strerror(-r));
    q->is_process = true;
    q->given = ~0u;
    return true;
}

/* A client that there cannot be would be denied, and that taken for an answer. */
bool question_settle_client(struct question *q)
{
    const char *cgroup = q->identity.cgroup;

    if (q->error[0])
        return false;
    if (q->has_pid)
        return look_at_process(q);
    if (!check_unit(q, q->identity.unit) || !check_unit(q, q->identity.user_unit))
        return false;
    if (*cgroup && *cgroup != '/' && strcmp(cgroup, NO_CGROUP) != 0)
        return question_refuse(q, "\"%.200s\": a cgroup path must begin with /", cgroup);
    /* Where a unit of a user is, the kernel says the manager that it belongs to as well. */
    if (q->identity.user_unit[0] && !q->identity.unit[0])
        snprintf(q->identity.unit, sizeof(q->identity.unit), "user@%u.service",
                 (unsigned int)q->identity.uid);
    return true;
}

/* ---- the connect ---- */

static bool read_address(struct question *q, struct destination *ret)
{
    memset(&ret->address, 0, sizeof(ret->address));
    if (ret->host.kind == HOST_ADDRESS)
        ret->address = ret->host;
    else if (q->address[0] &&
             (host_parse(q->address, &ret->address) < 0 || ret->address.kind != HOST_ADDRESS))
        return question_refuse(q, "\"%s\" is not an address", q->address);
    if (ret->host.kind == HOST_ADDRESS && q->address[0])
        return question_refuse(q, "the host is an address already");
    asock_sockaddr_set_port(&ret->address.address.any, ret->port);
    return true;
}

/*
 * As a connect does it: names of services and interfaces are for those who may reach something. The
 * services are TCP's.
 */
static bool find_port(struct question *q, struct services *services, const struct policy_view *view,
                      struct destination *ret)
{
    int r = services_port(NULL, q->service, &ret->port);

    if (r == -ENOENT && policy_denies_all(view))
        ret->is_unknown = true;
    else if (r == -ENOENT && ret->protocol == POLICY_TCP)
        r = services_port(services, q->service, &ret->port);
    return r == 0 || ret->is_unknown ||
           question_refuse(q, "\"%s\" is neither a port nor a service", q->service);
}

static bool find_zone(struct question *q, const struct policy_view *view, struct destination *ret)
{
    const struct policy_question question = {
        .protocol = ret->protocol,
        .port = ret->port,
        .addr = &ret->host.address.any,
    };

    if (ret->host.kind != HOST_ADDRESS || !ret->host.zone[0] || ret->is_unknown)
        return true;
    if (!policy_judge(view, &question).is_allowed)
        return true; /* what is denied needs no interface */
    return host_find_zone(&ret->host) == 0 ||
           question_refuse(q, "\"%s\" is neither a name nor an address", q->host);
}

static bool read_protocol(struct question *q, struct destination *ret)
{
    for (int i = 0; i < POLICY_PROTOCOLS; i++) {
        ret->protocol = (enum policy_protocol)i;
        if (strcmp(q->protocol, policy_protocol_name(ret->protocol)) == 0)
            return true;
    }
    return question_refuse(q, "the protocol is neither tcp nor udp");
}

/* ---- the listener ---- */

static bool read_literal(struct question *q, const char *text, struct host *ret)
{
    ret->kind = HOST_ADDRESS;
    if (inet_pton(AF_INET, text, &ret->address.in.sin_addr) == 1)
        ret->address.in.sin_family = AF_INET;
    else if (inet_pton(AF_INET6, text, &ret->address.in6.sin6_addr) == 1)
        ret->address.in6.sin6_family = AF_INET6;
    else
        return question_refuse(q, "\"%s\" is not an address", text);
    return true;
}

/* As BIND takes it: a literal address, also the one of all addresses, and a number, also 0. */
static bool read_listen(struct question *q, struct destination *ret)
{
    ret->is_listen = true;
    if (!read_literal(q, q->host, &ret->host))
        return false;
    if (q->address[0] && !read_literal(q, q->address, &ret->address))
        return false;
    if (strcmp(q->service, "0") != 0 && services_port(NULL, q->service, &ret->port) < 0)
        return question_refuse(q, "\"%s\" is not a port number", q->service);
    asock_sockaddr_set_port(&ret->host.address.any, ret->port);
    return true;
}

bool question_read(struct question *q, struct services *services, const struct policy_view *view,
                   struct destination *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (q->error[0])
        return false;
    if (!read_protocol(q, ret))
        return false;
    if (q->verb[0])
        return strcmp(q->verb, "listen") == 0
                   ? read_listen(q, ret)
                   : question_refuse(q, "verb=%s is not a verb that JUDGE knows", q->verb);
    if (host_parse(q->host, &ret->host) < 0)
        return question_refuse(q, "\"%s\" is neither a name nor an address", q->host);
    return find_port(q, services, view, ret) && find_zone(q, view, ret) && read_address(q, ret);
}
