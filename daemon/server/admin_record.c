/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/log.h"
#include "daemon/server/admin_record.h"

#include <arpa/inet.h>
#include <assert.h>
#include <inttypes.h>
#include <linux/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/audit/audit.h"
#include "daemon/core/loop.h"
#include "daemon/net/tcp.h"
#include "daemon/identity/identity.h"
#include "daemon/core/quota.h"
#include "daemon/policy/policy.h"
#include "daemon/server/reload.h"
#include "daemon/net/udp.h"
#include "daemon/session/dgram.h"
#include "daemon/session/session.h"
#include "daemon/session/sharing.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_bound.h"
#include "proto/errors.h"

void record_init(struct record *record)
{
    record->count = record->used = 0;
}

static struct field *add_field(struct record *record, const char *name)
{
    struct field *field = &record->fields[record->count];

    assert(record->count < RECORD_FIELDS_MAX);
    record->count++;
    *field = (struct field){.name = name};
    return field;
}

void record_number(struct record *record, const char *name, uint64_t number)
{
    add_field(record, name)->number = number > INT64_MAX ? INT64_MAX : (int64_t)number;
}

void record_text(struct record *record, const char *name, const char *text)
{
    add_field(record, name)->text = text ? text : "";
}

void record_format(struct record *record, const char *name, const char *format, ...)
{
    char *to = record->texts + record->used;
    size_t room = sizeof(record->texts) - record->used;
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(to, room, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= room) {
        record_text(record, name, NULL);
        return;
    }
    record->used += (size_t)n + 1;
    record_text(record, name, to);
}

long record_encode(const struct record *record, uint8_t *out, size_t cap)
{
    return asock_codec_encode_record(record->fields, record->count, out, cap);
}

/* ---- a session ---- */

void record_endpoint(struct record *record, const char *name, const struct endpoint *endpoint)
{
    char text[INET6_ADDRSTRLEN];

    if (endpoint->address_len == 0)
        record_text(record, name, NULL);
    else if (endpoint->address_len == 4)
        record_format(record, name, "%s:%u",
                      inet_ntop(AF_INET, endpoint->address, text, sizeof(text)), endpoint->port);
    else if (endpoint->scope_id)
        record_format(record, name, "[%s%%%u]:%u",
                      inet_ntop(AF_INET6, endpoint->address, text, sizeof(text)),
                      (unsigned int)endpoint->scope_id, endpoint->port);
    else
        record_format(record, name, "[%s]:%u",
                      inet_ntop(AF_INET6, endpoint->address, text, sizeof(text)), endpoint->port);
}

void record_id(struct record *record, const char *name, uint32_t id)
{
    if (id == IDENTITY_ID_UNKNOWN)
        record_text(record, name, "unknown");
    else
        record_number(record, name, id);
}

static void add_peer(struct record *record, const struct session *s)
{
    record_number(record, "pid", s ? (uint64_t)s->identity.pid : 0);
    record_text(record, "unit", s ? s->identity.unit : NULL);
    record_text(record, "command", s ? s->identity.comm : NULL);
    if (s)
        record_id(record, "uid", s->identity.uid);
    if (s && s->sharing.sharer)
        record_number(record, "sharer", s->sharing.sharer->id);
}

/*
 * The session by whose listener it came, for the administrator only, and the sessions that came by
 * its own listeners.
 */
static void add_sharing(struct record *record, const struct session *s, bool sees_all)
{
    if (s->sharing.sharer && sees_all) {
        record_number(record, "sharer_pid", (uint64_t)s->sharing.sharer->identity.pid);
        record_text(record, "sharer_command", s->sharing.sharer->identity.comm);
        record_text(record, "sharer_unit", session_identity(s)->unit);
    }
    record_number(record, "shared_listeners", s->sharing.listener_count);
    record_number(record, "sharees", s->sharing.sharee_count);
}

/* As many as there is room for; "..." stands for the rest. */
static void add_groups(struct record *record, const struct identity *identity)
{
    char text[CODEC_FIELD_MAX / 2]; /* with everything else it fits into a record */
    size_t n = 0;

    text[0] = '\0';
    if (!identity->gids && identity->gid_count > 0)
        snprintf(text, sizeof(text), "%u groups", (unsigned int)identity->gid_count);
    for (uint32_t i = 0; identity->gids && i < identity->gid_count; i++) {
        if (sizeof(text) - n < 16) {
            strcpy(text + n, ",...");
            break;
        }
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%u", i ? "," : "",
                              (unsigned int)identity->gids[i]);
    }
    record_format(record, "groups", "%s", identity->gids_known ? text : "unknown");
}

static void add_peer_details(struct record *record, const struct session *s)
{
    if (s->identity.ownership == IDENTITY_SUBORDINATE)
        record_number(record, "owner", s->identity.owner);
    if (s->identity.ownership == IDENTITY_OWNER_UNKNOWN)
        record_text(record, "owner", "unknown");
    record_id(record, "gid", s->identity.gid);
    add_groups(record, &s->identity);
    record_text(record, "units", s->identity.units_known ? "known" : "unknown");
    record_text(record, "user_unit", s->identity.user_unit);
    record_text(record, "cgroup", s->identity.cgroup);
    record_text(record, "pidfd", identity_pidfd_source_name(s->identity.pidfd_source));
    record_text(record, "alive", identity_is_alive(&s->identity) ? "yes" : "unknown");
}

static void add_limits(struct record *record, const struct limits *limits)
{
    record_number(record, "limit_sockets", limits->sockets);
    record_number(record, "limit_ops", limits->ops);
    record_number(record, "limit_socket_ops", limits->socket_ops);
    record_number(record, "limit_send_window", limits->send_window);
    record_number(record, "limit_queued", limits->queued_max);
    record_number(record, "limit_shared", limits->shared_max);
    record_number(record, "limit_buffers", limits->buffers);
    record_number(record, "limit_kernel_buffers", limits->kernel_max);
    record_number(record, "limit_lingering", limits->lingers);
    record_number(record, "limit_resolutions", limits->lookups);
    record_number(record, "limit_connects_per_second", limits->connects_per_second);
}

/* "clients=1/64 hellos=0/16 ...": in use and the most there may be now; "-": no limit. */
static void add_quota(struct record *record, const char *name, const struct quota *q)
{
    char text[INSPECT_QUOTA_MAX];
    size_t n = 0;

    for (int i = 0; i < QUOTA_RESOURCES && n < sizeof(text); i++) {
        struct quota_usage usage = quota_usage(q, (enum quota_resource)i);
        char most[24] = "-";

        if (usage.most != QUOTA_NONE)
            snprintf(most, sizeof(most), "%" PRIu64, usage.most);
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s=%" PRIu64 "/%s", i ? " " : "",
                              quota_resource_name((enum quota_resource)i), usage.used, most);
    }
    record_format(record, name, "%s", text);
}

/* A client sees its own session; only the administrator sees the sessions that it shares with. */
static void add_quotas(struct record *record, const struct session *s, bool sees_all)
{
    static const char *const names[] = {"quota_daemon", "quota_listener", "quota_user",
                                        "quota_unit", "quota_session"};

    for (int level = QUOTA_SESSION; level >= (sees_all ? QUOTA_DAEMON : QUOTA_SESSION); level--) {
        const struct quota *q = quota_at(s->quota, (enum quota_level)level);

        if (q)
            add_quota(record, names[level], q);
    }
}

static uint64_t age(const struct worker *w, uint64_t created)
{
    uint64_t now = w->clock();

    return now > created ? now - created : 0;
}

static void add_session_use(struct record *record, const struct session *s)
{
    record_number(record, "sockets", s->socket_count);
    record_number(record, "queued", s->queued);
    record_number(record, "buffers", s->buffer_count);
    record_number(record, "shared", s->shared);
    record_number(record, "ops", s->op_count);
    record_number(record, "ops_done", s->ops_done);
    record_number(record, "bytes_in", s->bytes_in);
    record_number(record, "bytes_out", s->bytes_out);
    record_number(record, "age_ms", age(s->worker, s->created));
}

static const char *session_state(const struct session *s)
{
    if (s->has_ended || s->is_condemned)
        return "ending";
    return s->has_hello ? "open" : "new";
}

void record_session_row(struct record *record, const struct session *s)
{
    record_number(record, "id", s->id);
    add_peer(record, s);
    record_text(record, "user_unit", s->identity.user_unit);
    record_text(record, "listener", s->listener);
    record_text(record, "state", session_state(s));
    record_number(record, "restrictions", policy_view_restrictions(s->view));
    add_session_use(record, s);
    record_number(record, "sharees", s->sharing.sharee_count);
    add_limits(record, &s->limits);
    record_text(record, "name", s->name);
}

void record_session(struct record *record, const struct session *s, bool sees_all)
{
    record_number(record, "id", s->id);
    add_peer(record, s);
    add_session_use(record, s);
    record_text(record, "name", s->name);
    add_peer_details(record, s);
    record_text(record, "listener", s->listener);
    record_number(record, "restrictions", policy_view_restrictions(s->view));
    add_sharing(record, s, sees_all);
    add_limits(record, &s->limits);
    add_quotas(record, s, sees_all);
}

void record_session_stats(struct record *record, const struct session *s)
{
    add_session_use(record, s);
    add_limits(record, &s->limits);
    add_quotas(record, s, false);
}

/* ---- a socket ---- */

#define TCP_STATE_CLOSE 7u /* <linux/tcp.h> has no names for states */

/*
 * The state of a connection that the kernel has given up, before the client learns of it. The error
 * itself is not read, because the kernel reports it only once, and it belongs to the client.
 */
static const char *lost_state(const struct sock *sock)
{
    uint8_t error = sock->lost_error ? sock->lost_error : sock->receive_error;
    struct tcp_info info;
    size_t len = sizeof(info);

    memset(&info, 0, sizeof(info));
    if (netsock_tcp_info(&sock->ns, &info, &len) < 0 || info.tcpi_state != TCP_STATE_CLOSE)
        return sock_state_name(sock->state);
    if (!error && !netsock_has_error(&sock->ns))
        return "ended"; /* by both sides, whether or not the client has read to the end */
    if (error == ERR_TIMED_OUT || (!error && info.tcpi_backoff > 0))
        return "timed_out";
    return "reset";
}

static void look_at_ends(const struct sock *sock, struct endpoint *local, struct endpoint *remote,
                         const char **state)
{
    if (netsock_local(&sock->ns, local) < 0)
        *local = (struct endpoint){0};
    if (netsock_remote(&sock->ns, remote) == 0)
        return;
    *remote = sock->remote;
    if (sock->state == SOCK_CONNECTED || sock->state == SOCK_LINGERING)
        *state = lost_state(sock);
}

void record_sock(struct record *record, const struct sock *sock)
{
    struct endpoint local = {0}, remote = {0};
    const char *state = sock_state_name(sock->state);
    uint64_t in = sock->bytes_in, out = sock->bytes_out;

    if (sock->ns.fd >= 0 && sock->ns.is_lent)
        netsock_bytes(&sock->ns, &in, &out);
    if (sock->ns.fd >= 0)
        look_at_ends(sock, &local, &remote, &state);
    record_number(record, "id", sock->serial);
    add_peer(record, sock->session);
    if (sock->session) {
        record_number(record, "session", sock->session->id);
        record_text(record, "listener", sock->session->listener);
    }
    record_number(record, "socket", sock->id);
    record_text(record, "state", state);
    record_endpoint(record, "local", &local);
    record_endpoint(record, "remote", &remote);
    record_text(record, "host", sock->host);
    record_number(record, "port", sock->port);
    record_number(record, "denied", !sock_judge(sock).is_allowed);
    record_number(record, "queued", sock->queued);
    record_number(record, "ops", sock->op_count);
    record_number(record, "bytes_in", in);
    record_number(record, "bytes_out", out);
    record_number(record, "age_ms", age(sock->worker, sock->created));
    record_text(record, "name", sock->session ? sock->session->name : NULL);
    record_text(record, "protocol", sock->more->dgram ? "udp" : "tcp");
}

/* The kernel's value where there is a socket yet, else what the client has set. */
static void add_options(struct record *record, const struct sock *sock)
{
    static const struct {
        enum option option;
        const char *name;
    } options[] = {
        {OPTION_NO_DELAY, "option_no_delay"},
        {OPTION_KEEP_ALIVE, "option_keep_alive"},
        {OPTION_KEEP_ALIVE_TIME, "option_keep_alive_time"},
        {OPTION_KEEP_ALIVE_INTERVAL, "option_keep_alive_interval"},
        {OPTION_KEEP_ALIVE_COUNT, "option_keep_alive_count"},
        {OPTION_SEND_BUFFER, "option_send_buffer"},
        {OPTION_RECEIVE_BUFFER, "option_receive_buffer"},
        {OPTION_HOP_LIMIT, "option_hop_limit"},
        {OPTION_TRAFFIC_CLASS, "option_traffic_class"},
        {OPTION_USER_TIMEOUT, "option_user_timeout"},
    };

    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        uint32_t option = options[i].option;
        int64_t value;

        if (sock->more->dgram && !udp_has_option(option))
            continue;
        if (sock->ns.fd >= 0 && netsock_get_option(&sock->ns, option, &value) == 0)
            record_number(record, options[i].name, (uint64_t)value);
        else if (sock->more->options && sock->more->options->set & (UINT32_C(1) << option))
            record_number(record, options[i].name, (uint64_t)sock->more->options->values[option]);
    }
}

static const char *tcp_state_name(unsigned int state)
{
    static const char *const names[] = {"",           "established", "syn_sent",  "syn_received",
                                        "fin_wait1",  "fin_wait2",   "time_wait", "close",
                                        "close_wait", "last_ack",    "listen",    "closing"};

    return state < sizeof(names) / sizeof(names[0]) ? names[state] : "";
}

static void add_tcp_info(struct record *record, const struct sock *sock)
{
    struct tcp_info info;
    size_t len = sizeof(info);

    memset(&info, 0, sizeof(info)); /* an older kernel fills in less */
    if (sock->ns.fd < 0 || netsock_tcp_info(&sock->ns, &info, &len) < 0)
        return;
    record_text(record, "tcp_state", tcp_state_name(info.tcpi_state));
    record_number(record, "tcp_rtt_us", info.tcpi_rtt);
    record_number(record, "tcp_rtt_var_us", info.tcpi_rttvar);
    record_number(record, "tcp_retransmits", info.tcpi_total_retrans);
    record_number(record, "tcp_cwnd", info.tcpi_snd_cwnd);
    record_number(record, "tcp_mss", info.tcpi_snd_mss);
    record_number(record, "tcp_unacked", info.tcpi_unacked);
    record_number(record, "tcp_not_sent", info.tcpi_notsent_bytes);
}

static uint64_t count_nodes(const struct list *list)
{
    uint64_t n = 0;

    list_for_each (list, it)
        n++;
    return n;
}

/* For a lent socket only "tcp_state" shows what its client does with it. */
static const char *side_of(const struct sock *sock, unsigned int side)
{
    if (sock->state == SOCK_LENT)
        return "lent";
    return side == SIDE_OPEN ? "open" : side == SIDE_BROKEN ? "broken" : "shut";
}

void record_sock_details(struct record *record, const struct sock *sock)
{
    const struct session *s = sock->session;

    record_text(record, "send_side", side_of(sock, sock->send_side));
    record_text(record, "receive_side", side_of(sock, sock->receive_side));
    if (sock->state == SOCK_LENT || sock->ns.is_lent)
        record_text(record, "lent", sock->is_given ? "given" : "held");
    if (s) {
        add_peer_details(record, s);
        record_number(record, "limit_ops", s->limits.socket_ops);
        record_number(record, "limit_send_window", s->limits.send_window);
    }
    if (sock->more->bound && sock->more->bound->backlog > 0) {
        record_number(record, "backlog", sock->more->bound->backlog);
        record_number(record, "accepts_pending", count_nodes(&sock->more->bound->accepts));
        record_number(record, "accepted", sock->more->bound->accepted);
        record_number(record, "refused", sock->more->bound->refused);
    }
    record_number(record, "kernel_buffers",
                  sock->kernel[0] + (uint64_t)sock->kernel[1] +
                      (sock->more->bound ? sock->more->bound->charged : 0));
    add_options(record, sock);
    if (!sock->more->dgram) {
        add_tcp_info(record, sock);
        return;
    }
    record_number(record, "datagrams_dropped", sock->more->dgram->dropped);
    record_number(record, "datagrams_refused", sock->more->dgram->refused);
}

void record_sock_denial(struct record *record, const struct sock *sock)
{
    struct policy_answer answer = sock_judge(sock);

    if (answer.is_allowed)
        return;
    if (answer.file)
        record_format(record, "denied_by", "%s:%u", answer.file, answer.line);
    record_text(record, "denied_reason", answer.reason);
}

/* ---- the daemon ---- */

static void add_audit(struct record *record, struct audit *audit)
{
    struct audit_stats stats = audit_stats(audit);

    record_number(record, "audit_entries", stats.entries);
    record_number(record, "audit_queued", stats.queued);
    record_number(record, "audit_dropped", stats.dropped);
    record_number(record, "audit_refused", stats.refused);
}

/* What is wrong with it only where something is. */
static void add_policy(struct record *record, const struct worker *w)
{
    char problem[POLICY_PROBLEM_MAX];
    size_t count = policy_problems(w->policy, problem);

    record_number(record, "policy_files", policy_file_count(w->policy));
    record_number(record, "policy_rules", policy_rule_count(w->policy));
    record_number(record, "policy_invalid", policy_is_invalid(w->policy));
    record_number(record, "policy_problems", count);
    if (count > 0)
        record_format(record, "policy_problem", "%.512s", problem);
    if (w->reload && w->reload->error[0])
        record_format(record, "reload_error", "%.512s", w->reload->error);
}

void record_daemon_stats(struct record *record, const struct worker *w)
{
    const struct stats *stats = &w->stats;

    record_text(record, "version", PACKAGE_VERSION);
    record_number(record, "uptime_ms", age(w, w->started));
    record_number(record, "clients", count_nodes(&w->sessions));
    record_number(record, "sockets", worker_sockets(w));
    record_number(record, "sockets_max", w->fds_max);
    record_number(record, "draining", w->drain_count);
    record_number(record, "buffers", w->buffer_count);
    record_number(record, "shared_listeners", w->shared_listener_count);
    if (w->sharing && w->sharing->problem)
        record_text(record, "sharing_problem", w->sharing->problem);
    record_number(record, "clients_total", stats->sessions);
    record_number(record, "sockets_total", stats->sockets);
    record_number(record, "requests", stats->requests);
    record_number(record, "ops_done", stats->ops_done);
    record_number(record, "ops_failed", stats->ops_failed);
    record_number(record, "connects_denied", stats->connects_denied);
    record_number(record, "listens_denied", stats->listens_denied);
    record_number(record, "accepts_refused", stats->accepts_refused);
    record_number(record, "resolves", stats->resolves);
    record_number(record, "resolves_denied", stats->resolves_denied);
    record_number(record, "protocol_errors", stats->protocol_errors);
    record_number(record, "reloads", stats->reloads);
    record_number(record, "reloads_failed", stats->reloads_failed);
    add_policy(record, w);
    record_number(record, "accept_stalls", stats->accept_stalls);
    record_number(record, "log_lost", asock_log_lost());
    record_number(record, "bytes_in", stats->bytes_in);
    record_number(record, "bytes_out", stats->bytes_out);
    record_number(record, "turns", stats->turns);
    if (w->audit)
        add_audit(record, w->audit);
    add_limits(record, &w->limits);
    add_quota(record, "quota_daemon", w->quota);
}
