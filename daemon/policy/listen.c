/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: a file that applies to the client has a rule with the address and the port, and the
 * peer is in one of the rule's networks; no file that does not apply to the client has reserved
 * them; each restriction of the session has such a rule too.
 * Failures: everything else is denied.
 */
#include "daemon/policy/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "daemon/policy/file.h"

/* The lowest port of "*"; lower ones must be written out. */
#define PORT_UNPRIVILEGED 1024u

/* ---- reading ---- */

static char *next_token(char **rest, const char *between)
{
    char *token;

    *rest += strspn(*rest, " ");
    token = strsep(rest, between);
    if (!*rest)
        *rest = token + strlen(token);
    return token;
}

static int parse_address(struct conf_reader *reader, char *text, struct policy_rule *rule)
{
    rule->host = RULE_ANY;
    return strcmp(text, "*") == 0 ? 0 : policy_rule_parse_network(reader, text, rule);
}

static int parse_ports(struct conf_reader *reader, char *text, struct services **services,
                       struct policy_rule *rule)
{
    rule->first = rule->last = 0;
    if (strcmp(text, "0") == 0)
        return 0;
    if (strcmp(text, "*") != 0)
        return policy_rule_parse_ports(reader, text, services, rule);
    rule->first = PORT_UNPRIVILEGED;
    rule->last = UINT16_MAX;
    return 0;
}

static int parse_from(struct conf_reader *reader, char *text, struct policy_listen *listen)
{
    struct policy_net nets[POLICY_FROM_MAX];
    size_t count = 0;

    if (!*text || text[strlen(text) - 1] == ',')
        return asock_conf_refuse(reader, "\"from\" requires networks separated by commas");
    while (*text) {
        struct policy_rule rule = {.line = reader->line};
        int r;

        if (count == POLICY_FROM_MAX)
            return asock_conf_refuse(reader, "more than %u networks", POLICY_FROM_MAX);
        r = policy_rule_parse_network(reader, next_token(&text, ","), &rule);
        if (r < 0)
            return r;
        nets[count] = (struct policy_net){.family = rule.family, .prefix = rule.prefix};
        memcpy(nets[count++].net, rule.net, sizeof(rule.net));
    }
    listen->from = mem_alloc(count * sizeof(*nets));
    if (!listen->from)
        return -ENOMEM;
    memcpy(listen->from, nets, count * sizeof(*nets));
    listen->from_count = count;
    return 0;
}

static int parse_tokens(struct conf_reader *reader, char *text, struct services **services,
                        struct policy_listen *listen)
{
    char *protocol = next_token(&text, " "), *address = next_token(&text, " ");
    char *ports = next_token(&text, " "), *from = next_token(&text, " ");
    char *nets = next_token(&text, " ");
    int r;

    if (!*ports)
        return asock_conf_refuse(reader, "a rule has the form: protocol address port%s",
                                 listen->is_reserve ? "" : " [from network,...]");
    r = policy_rule_parse_protocol(reader, protocol, &listen->rule);
    if (r == 0)
        r = parse_address(reader, address, &listen->rule);
    if (r == 0)
        /* The table of services has those of TCP. */
        r = parse_ports(reader, ports, listen->rule.protocol == POLICY_TCP ? services : NULL,
                        &listen->rule);
    if (r == 0 && listen->is_reserve && listen->rule.first == 0)
        return asock_conf_refuse(reader, "port 0 cannot be reserved");
    if (r < 0 || !*from)
        return r;
    if (listen->is_reserve || strcmp(from, "from") != 0 || *text)
        return asock_conf_refuse(reader, "unknown \"%s\" after the port", *text ? text : from);
    return parse_from(reader, nets, listen);
}

int policy_listen_parse(struct conf_reader *reader, bool is_reserve, const char *value,
                        struct services **services, struct policy_listen *ret)
{
    char text[CONF_LINE_MAX + 1];
    int r;

    memset(ret, 0, sizeof(*ret));
    ret->is_reserve = is_reserve;
    ret->rule.is_allow = true;
    ret->rule.line = reader->line;
    strcpy(text, value);
    r = parse_tokens(reader, text, services, ret);
    if (r < 0)
        policy_listen_deinit(ret);
    return r;
}

void policy_listen_deinit(struct policy_listen *listen)
{
    listen->from = mem_free(listen->from);
}

static void net_text(const struct policy_net *net, char ret[static INET6_ADDRSTRLEN + 8])
{
    size_t len;

    inet_ntop(net->family, net->net, ret, INET6_ADDRSTRLEN);
    len = strlen(ret);
    if (net->prefix < (net->family == AF_INET ? 32 : 128))
        snprintf(ret + len, 8, "/%u", net->prefix);
}

void policy_listen_text(const struct policy_listen *listen, char *ret, size_t cap)
{
    char rule[POLICY_RULE_TEXT_MAX], net[INET6_ADDRSTRLEN + 8];
    size_t n;

    policy_rule_text(&listen->rule, rule);
    n = (size_t)snprintf(ret, cap, "%s%s%s", listen->is_reserve ? "Reserve" : "Listen",
                         strchr(rule, '='), listen->from_count > 0 ? " from " : "");
    for (size_t i = 0; i < listen->from_count; i++) {
        net_text(&listen->from[i], net);
        if (n + strlen(net) + sizeof(",...") >= cap) {
            snprintf(ret + n, cap - n, ",...");
            return;
        }
        n += (size_t)snprintf(ret + n, cap - n, "%s%s", i ? "," : "", net);
    }
}

static bool is_same_place(const struct policy_listen *a, const struct policy_listen *b)
{
    const struct policy_rule *x = &a->rule, *y = &b->rule;

    return a->is_reserve == b->is_reserve && x->protocol == y->protocol && x->host == y->host &&
           x->first == y->first && x->last == y->last && x->family == y->family &&
           x->prefix == y->prefix && memcmp(x->net, y->net, sizeof(x->net)) == 0;
}

static uint64_t hash_place(const struct policy_listen *listen)
{
    const struct policy_rule *rule = &listen->rule;
    struct {
        uint8_t net[16], kind[5];
        uint16_t ports[2];
    } key;

    memset(&key, 0, sizeof(key));
    memcpy(key.net, rule->net, sizeof(key.net));
    key.kind[0] = listen->is_reserve;
    key.kind[1] = rule->protocol;
    key.kind[2] = (uint8_t)rule->host;
    key.kind[3] = (uint8_t)rule->family;
    key.kind[4] = rule->prefix;
    key.ports[0] = rule->first;
    key.ports[1] = rule->last;
    return hash_bytes(&key, sizeof(key));
}

/* The slot of one with the same place, or the free one where its number + 1 belongs. */
static uint16_t *find_slot(const struct policy_listen_set *set, const struct policy_file *file,
                           const struct policy_listen *listen)
{
    for (uint64_t at = hash_place(listen);; at++) {
        uint16_t *slot = &set->slots[at % POLICY_LISTEN_SLOTS];

        if (*slot == 0 || is_same_place(&file->listens[*slot - 1], listen))
            return slot;
    }
}

static int grow(struct policy_file *file, struct policy_listen_set *set)
{
    size_t count = file->listen_count;
    struct policy_listen *grown;

    if (!set->slots)
        set->slots = mem_zalloc(POLICY_LISTEN_SLOTS, sizeof(*set->slots));
    if (!set->slots)
        return -ENOMEM;
    if (count & (count - 1)) /* neither 0 nor a power of two: there is room */
        return 0;
    grown = mem_realloc(file->listens, (count ? 2 * count : 1) * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    file->listens = grown;
    return 0;
}

int policy_listen_add(struct policy_file *file, struct policy_listen_set *set,
                      struct conf_reader *reader, bool is_reserve, const char *value,
                      struct services **services)
{
    struct policy_listen listen;
    uint16_t *slot;
    int r;

    if (file->listen_count == POLICY_LISTENS_MAX)
        return asock_conf_refuse(reader, "more than %u Listen= and Reserve= lines",
                                 POLICY_LISTENS_MAX);
    r = grow(file, set);
    if (r < 0)
        return r;
    r = policy_listen_parse(reader, is_reserve, value, services, &listen);
    if (r < 0)
        return r;
    slot = find_slot(set, file, &listen);
    if (*slot > 0) {
        policy_listen_deinit(&listen);
        return asock_conf_refuse(reader, "line %u already has the same address and port",
                                 file->listens[*slot - 1].rule.line);
    }
    file->listens[file->listen_count++] = listen;
    *slot = (uint16_t)file->listen_count;
    return 0;
}

void policy_listen_set_deinit(struct policy_listen_set *set)
{
    set->slots = mem_free(set->slots);
}

/* ---- judging ---- */

struct listening {
    const struct policy_view *view;
    struct policy_address local, peer;
    uint16_t port;
    uint8_t protocol; /* enum policy_protocol */
    bool has_peer;
};

static bool is_unspecified(const struct policy_address *addr)
{
    static const uint8_t none[16];

    return memcmp(addr->bytes, none, sizeof(none)) == 0;
}

static bool has_port(const struct policy_rule *rule, uint8_t protocol, uint16_t port)
{
    /* "*" includes port 0, the kernel's choice. */
    bool is_star = rule->first == PORT_UNPRIVILEGED && rule->last == UINT16_MAX;

    return rule->protocol == protocol &&
           ((port >= rule->first && port <= rule->last) || (port == 0 && is_star));
}

static bool has_address(const struct policy_rule *rule, const struct policy_address *addr)
{
    return rule->host == RULE_ANY ||
           policy_address_within(addr, rule->family, rule->net, rule->prefix);
}

static bool has_peer(const struct policy_listen *listen, const struct policy_address *peer)
{
    for (size_t i = 0; i < listen->from_count; i++) {
        const struct policy_net *from = &listen->from[i];

        if (policy_address_within(peer, from->family, from->net, from->prefix))
            return true;
    }
    return listen->from_count == 0;
}

/*
 * Does listening at addr collide with the reservation of rule? It does
 * - if addr is a reserved address;
 * - if addr is the unspecified address, because a listener there takes the reserved address too;
 * - if the unspecified address is reserved, which stands for every address of its family. That of
 *   IPv6 also stands for every address of IPv4, which a listener in dual mode takes.
 */
static bool overlaps(const struct policy_rule *rule, const struct policy_address *addr)
{
    const struct policy_address all = {.family = rule->family};

    if (has_address(rule, addr) || (is_unspecified(addr) && rule->family == addr->family))
        return true;
    return has_address(rule, &all) && (rule->family == AF_INET6 || addr->family == AF_INET);
}

static struct policy_answer deny(const char *reason)
{
    return (struct policy_answer){.reason = reason};
}

/* The first rule that allows it, or the reason of the denial. */
static struct policy_answer judge_file(const struct listening *l, const struct policy_file *file)
{
    struct policy_answer answer = {0};

    for (size_t i = 0; i < file->listen_count; i++) {
        const struct policy_listen *listen = &file->listens[i];

        if (listen->is_reserve || !has_port(&listen->rule, l->protocol, l->port) ||
            !has_address(&listen->rule, &l->local))
            continue;
        answer.file = file->path;
        answer.line = listen->rule.line;
        answer.is_allowed = !l->has_peer || has_peer(listen, &l->peer);
        if (answer.is_allowed)
            return answer;
        answer.reason = "no rule allows this peer to connect to the listener";
    }
    return answer;
}

static bool is_matched(const struct policy_view *view, size_t i)
{
    return view->matched[i / 64] >> i % 64 & 1;
}

static const struct policy_listen *reserved(const struct listening *l,
                                            const struct policy_view *root, const char **ret_path)
{
    for (size_t i = 0; l->port > 0 && i < root->policy->file_count; i++) {
        const struct policy_file *file = root->policy->files[i];

        for (size_t k = 0; k < file->listen_count && !is_matched(root, i); k++) {
            const struct policy_listen *listen = &file->listens[k];

            if (!listen->is_reserve || !has_port(&listen->rule, l->protocol, l->port) ||
                !overlaps(&listen->rule, &l->local))
                continue;
            *ret_path = file->path;
            return listen;
        }
    }
    return NULL;
}

static struct policy_answer judge_files(const struct listening *l)
{
    const struct policy_view *root = policy_view_root(l->view);
    struct policy_answer answer = {0}, one;
    const struct policy_listen *kept;
    const char *path;

    if (root->policy->invalid)
        return deny("the daemon's policy files are invalid: everything is denied");
    if (root->unknown)
        return (struct policy_answer){
            .reason = root->doubt.why, .file = root->unknown->path, .line = root->doubt.line};
    kept = reserved(l, root, &path);
    if (kept)
        return (struct policy_answer){.reason = "this port is reserved for another client",
                                      .file = path,
                                      .line = kept->rule.line};
    for (size_t i = 0; i < root->policy->file_count && !answer.is_allowed; i++) {
        if (!is_matched(root, i))
            continue;
        one = judge_file(l, root->policy->files[i]);
        if (one.file)
            answer = one;
    }
    return answer.file ? answer : deny("no rule allows this client to listen there");
}

static struct policy_answer judge_one(const struct listening *l)
{
    struct policy_answer answer = judge_files(l), narrower;

    if (policy_address_class(&l->local) == POLICY_NEVER && !is_unspecified(&l->local))
        return deny("a socket cannot listen on such an address");
    for (const struct policy_view *view = l->view; view; view = view->base) {
        for (unsigned int i = 0; i < view->restriction_count && answer.is_allowed; i++) {
            narrower = judge_file(l, view->restrictions[i]);
            if (!narrower.is_allowed)
                answer =
                    narrower.file
                        ? narrower
                        : deny("no rule of this session's restriction allows this client to listen "
                               "there");
        }
    }
    return answer;
}

static uint16_t port_of(const struct sockaddr *addr)
{
    return ntohs(addr->sa_family == AF_INET
                     ? ((const struct sockaddr_in *)(const void *)addr)->sin_port
                     : ((const struct sockaddr_in6 *)(const void *)addr)->sin6_port);
}

struct policy_answer policy_judge_listen(const struct policy_view *view,
                                         enum policy_protocol protocol,
                                         const struct sockaddr *local, bool is_dual,
                                         const struct sockaddr *peer)
{
    struct listening l = {.view = view,
                          .port = port_of(local),
                          .protocol = (uint8_t)protocol,
                          .has_peer = peer != NULL};
    const struct policy_address any4 = {.family = AF_INET};
    struct policy_answer answer;
    bool is_all;

    if (!policy_address_from(local, &l.local) || (peer && !policy_address_from(peer, &l.peer)))
        return deny("neither IPv4 nor IPv6");
    is_all = is_dual && l.local.family == AF_INET6 && is_unspecified(&l.local);
    if (is_all && peer && l.peer.family == AF_INET)
        l.local = any4;
    answer = judge_one(&l);
    if (!is_all || peer || !answer.is_allowed)
        return answer;
    l.local = any4;
    return judge_one(&l);
}

bool policy_is_reserved(const struct policy_view *view, enum policy_protocol protocol,
                        const struct sockaddr *local, bool is_dual)
{
    struct listening l = {.view = view, .port = port_of(local), .protocol = (uint8_t)protocol};
    const char *path;
    bool is_all;

    if (!policy_address_from(local, &l.local))
        return true;
    is_all = is_dual && l.local.family == AF_INET6 && is_unspecified(&l.local);
    if (reserved(&l, policy_view_root(view), &path))
        return true;
    l.local = (struct policy_address){.family = AF_INET};
    return is_all && reserved(&l, policy_view_root(view), &path);
}
