/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: protocol, host, port, flags, reason, each in the one way that it may be written.
 * Failures: whatever a reader could take for something else than the daemon does is refused.
 */
#include "daemon/policy/rule.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "daemon/names/host.h"
#include "daemon/policy/policy.h"
#include "daemon/names/services.h"

#define DIGITS "0123456789"

static const struct {
    const char *name;
    uint8_t flag;
} flags[] = {
    {"+loopback", POLICY_LOOPBACK},     {"+private", POLICY_PRIVATE},
    {"+linklocal", POLICY_LINKLOCAL},   {"+local", POLICY_LOCAL},
    {"+special", POLICY_SPECIAL},       {"+lend", POLICY_LEND},
    {"+lend-given", POLICY_LEND_GIVEN},
};

#define FLAG_COUNT (sizeof(flags) / sizeof(flags[0]))

const char *policy_flag_name(uint8_t flag)
{
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        if (flags[i].flag == flag)
            return flags[i].name;
    }
    return NULL;
}

static bool consists_of(const char *text, const char *characters)
{
    return text[strspn(text, characters)] == '\0';
}

static char *copy_text(const char *text)
{
    size_t len = strlen(text) + 1;
    char *copy = mem_alloc(len);

    return copy ? memcpy(copy, text, len) : NULL;
}

/* ---- host ---- */

static int parse_prefix(struct conf_reader *reader, const char *text, struct policy_rule *rule)
{
    unsigned int most = rule->family == AF_INET ? 32 : 128;
    uint64_t bits;

    if (asock_conf_number(text, 0, most, &bits) < 0 || (text[0] == '0' && text[1]))
        return asock_conf_refuse(reader, "\"/%s\" is not a prefix length from 0 to %u", text, most);
    rule->prefix = (uint8_t)bits;
    return 0;
}

static int check_host_bits(struct conf_reader *reader, const struct policy_rule *rule)
{
    struct policy_address net = {.family = rule->family};
    char text[INET6_ADDRSTRLEN];

    for (unsigned int i = 0; i < rule->prefix; i++)
        net.bytes[i / 8] |= (uint8_t)(rule->net[i / 8] & (0x80 >> i % 8));
    if (memcmp(net.bytes, rule->net, 16) == 0)
        return 0;
    inet_ntop(rule->family, net.bytes, text, sizeof(text));
    return asock_conf_refuse(reader, "bits are set after the prefix: did you mean %s/%u?", text,
                             rule->prefix);
}

static int check_mapped(struct conf_reader *reader, const struct policy_rule *rule)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

    if (rule->family == AF_INET6 && rule->prefix >= 96 && memcmp(rule->net, mapped, 12) == 0)
        return asock_conf_refuse(reader, "this is an IPv4 address in IPv6 form: write it as IPv4");
    return 0;
}

int policy_rule_parse_network(struct conf_reader *reader, char *text, struct policy_rule *rule)
{
    char *slash = strchr(text, '/'), canonical[INET6_ADDRSTRLEN];
    int r = 0;

    if (slash)
        *slash++ = '\0';
    rule->host = RULE_NET;
    rule->family = strchr(text, ':') ? AF_INET6 : AF_INET;
    rule->prefix = rule->family == AF_INET ? 32 : 128;
    if (inet_pton(rule->family, text, rule->net) != 1)
        return asock_conf_refuse(reader, "\"%s\" is not an address", text);
    inet_ntop(rule->family, rule->net, canonical, sizeof(canonical));
    if (strcmp(text, canonical) != 0)
        return asock_conf_refuse(reader, "write \"%s\" as %s", text, canonical);
    if (slash)
        r = parse_prefix(reader, slash, rule);
    if (r == 0)
        r = check_host_bits(reader, rule);
    if (r == 0)
        r = check_mapped(reader, rule);
    if (r == 0)
        rule->implied = policy_network_class(rule->family, rule->net, rule->prefix);
    return r;
}

static int check_name(struct conf_reader *reader, const char *name)
{
    struct host host;

    for (const char *p = name; *p; p++) {
        if (*p & 0x80)
            return asock_conf_refuse(reader,
                                     "\"%s\": write names in ASCII, as idn2(1) prints them "
                                     "(xn--...)",
                                     name);
    }
    if (host_parse(name, &host) < 0 || host.kind == HOST_ADDRESS || strcmp(host.name, name) != 0)
        return asock_conf_refuse(
            reader,
            "\"%s\" is not a name, *.suffix, address, network or * (a name does not end with a dot)",
            name);
    for (const char *p = name; *p; p++) {
        if (*p >= 'A' && *p <= 'Z')
            return asock_conf_refuse(reader, "\"%s\": write names in lower case", name);
    }
    return 0;
}

static int parse_host(struct conf_reader *reader, char *text, struct policy_rule *rule)
{
    int r;

    if (strcmp(text, "*") == 0) {
        rule->host = RULE_ANY;
        return 0;
    }
    if (strchr(text, ':') || consists_of(text, DIGITS "./"))
        return policy_rule_parse_network(reader, text, rule);
    rule->host = strncmp(text, "*.", 2) == 0 ? RULE_SUFFIX : RULE_NAME;
    r = check_name(reader, rule->host == RULE_SUFFIX ? text + 2 : text);
    if (r < 0)
        return r;
    rule->name = copy_text(rule->host == RULE_SUFFIX ? text + 1 : text);
    return rule->name ? 0 : -ENOMEM;
}

/* ---- port ---- */

static int parse_port(struct conf_reader *reader, const char *text, struct services **services,
                      uint16_t *ret)
{
    uint64_t port;
    int r;

    if (consists_of(text, DIGITS)) {
        if (asock_conf_number(text, 1, UINT16_MAX, &port) < 0 || text[0] == '0')
            return asock_conf_refuse(reader, "\"%s\" is not a port from 1 to 65535", text);
        *ret = (uint16_t)port;
        return 0;
    }
    if (!services)
        return asock_conf_refuse(reader, "\"%s\" is not a port: a number, a range or *", text);
    r = *services ? 0 : services_new(NULL, services);
    if (r < 0)
        return r;
    r = services_port(*services, text, ret);
    return r == 0 ? 0
                  : asock_conf_refuse(reader, "\"%s\" is neither a port nor a TCP service", text);
}

int policy_rule_parse_ports(struct conf_reader *reader, char *text, struct services **services,
                            struct policy_rule *rule)
{
    char *dash = strchr(text, '-');
    int r;

    rule->first = 1;
    rule->last = UINT16_MAX;
    if (strcmp(text, "*") == 0)
        return 0;
    /* Names of services have dashes too. */
    if (!dash || text[strspn(text, DIGITS "-")]) {
        r = parse_port(reader, text, services, &rule->first);
        rule->last = rule->first;
        return r;
    }
    *dash = '\0';
    r = parse_port(reader, text, NULL, &rule->first);
    if (r == 0)
        r = parse_port(reader, dash + 1, NULL, &rule->last);
    if (r == 0 && rule->first >= rule->last)
        return asock_conf_refuse(reader, "%u-%u is not a range: the lower port must come first",
                                 rule->first, rule->last);
    return r;
}

/* ---- flags and reason ---- */

static int parse_flag(struct conf_reader *reader, const char *text, struct policy_rule *rule)
{
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        if (strcmp(text, flags[i].name) != 0)
            continue;
        if (!rule->is_allow)
            return asock_conf_refuse(reader, "%s: only Allow= takes flags", text);
        if (flags[i].flag & POLICY_LENDS && rule->protocol != POLICY_TCP)
            return asock_conf_refuse(reader, "%s: only TCP connections can be lent", text);
        if (rule->flags & flags[i].flag)
            return asock_conf_refuse(reader, "%s is given twice", text);
        rule->flags |= flags[i].flag;
        return 0;
    }
    return asock_conf_refuse(reader, "unknown \"%s\" after the port", text);
}

static int check_reason(struct conf_reader *reader, const char *text)
{
    const char *p = text;
    uint32_t point;

    while (*p) {
        p += asock_text_decode(p, TEXT_TO_NUL, &point);
        if (point == TEXT_INVALID || text_is_control(point))
            return asock_conf_refuse(reader, "the reason is not UTF-8 text");
    }
    if (p == text || p - text > POLICY_REASON_MAX)
        return asock_conf_refuse(reader, "the reason must be 1 to %u bytes", POLICY_REASON_MAX);
    return 0;
}

/* From the first '"'; what is before it stays in text. */
static int take_reason(struct conf_reader *reader, char *text, struct policy_rule *rule)
{
    char *begin = strchr(text, '"'), *end;
    int r;

    if (!begin)
        return 0;
    end = strchr(begin + 1, '"');
    if (!end || end[1] || begin == text || begin[-1] != ' ')
        return asock_conf_refuse(
            reader, "the reason must be a single double-quoted string at the end of the line");
    if (rule->is_allow)
        return asock_conf_refuse(reader, "only Deny= takes a reason");
    *begin = *end = '\0';
    r = check_reason(reader, begin + 1);
    if (r < 0)
        return r;
    rule->reason = copy_text(begin + 1);
    return rule->reason ? 0 : -ENOMEM;
}

/* ---- the whole ---- */

static uint32_t add_hash(uint32_t hash, const void *data, size_t len)
{
    const uint8_t *bytes = data;

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * 16777619u; /* FNV-1a */
    return hash;
}

static void set_hash(struct policy_rule *rule)
{
    uint32_t hash = add_hash(2166136261u, rule->net, sizeof(rule->net));
    struct policy_name name;

    hash = add_hash(hash, &rule->prefix, sizeof(rule->prefix));
    hash = add_hash(hash, &rule->first, sizeof(rule->first));
    hash = add_hash(hash, &rule->last, sizeof(rule->last));
    policy_name_init(&name, rule->name);
    rule->name_hash = name.tails[0];
    rule->name_len = (uint8_t)name.len;
    rule->hash = add_hash(hash, &rule->name_hash, sizeof(rule->name_hash));
}

static char *next_token(char **rest)
{
    char *token;

    *rest += strspn(*rest, " ");
    token = strsep(rest, " ");
    if (!*rest)
        *rest = token + strlen(token);
    return token;
}

const char *policy_protocol_name(enum policy_protocol protocol)
{
    static const char *const names[POLICY_PROTOCOLS] = {"tcp", "udp"};

    return names[protocol];
}

int policy_rule_parse_protocol(struct conf_reader *reader, const char *text,
                               struct policy_rule *rule)
{
    for (int protocol = 0; protocol < POLICY_PROTOCOLS; protocol++) {
        if (strcmp(text, policy_protocol_name((enum policy_protocol)protocol)) != 0)
            continue;
        rule->protocol = (uint8_t)protocol;
        return 0;
    }
    return asock_conf_refuse(reader, "unknown protocol \"%s\": use tcp or udp", text);
}

static int parse_tokens(struct conf_reader *reader, char *text, struct services **services,
                        struct policy_rule *rule)
{
    char *protocol = next_token(&text), *host = next_token(&text), *ports = next_token(&text);
    char *flag;
    int r;

    if (!*ports)
        return asock_conf_refuse(reader,
                                 "a rule has the form: protocol host port [flags] [\"reason\"]");
    r = policy_rule_parse_protocol(reader, protocol, rule);
    if (r == 0)
        r = parse_host(reader, host, rule);
    /* The table of services has those of TCP. */
    if (r == 0)
        r = policy_rule_parse_ports(reader, ports, rule->protocol == POLICY_TCP ? services : NULL,
                                    rule);
    while (r == 0 && *(flag = next_token(&text)))
        r = parse_flag(reader, flag, rule);
    return r;
}

/* A comment behind a rule begins with a '#' behind a space, and outside of a reason. */
static const char *find_comment(const char *text)
{
    bool is_quoted = false;

    for (const char *p = text; *p; p++) {
        is_quoted ^= *p == '"';
        if (!is_quoted && *p == '#' && p > text && p[-1] == ' ')
            return p;
    }
    return text + strlen(text);
}

/* The third word: where it begins, and how long it is. */
static const char *find_ports(const char *text, size_t *ret_len)
{
    for (int i = 0; i < 2; i++) {
        text += strspn(text, " ");
        text += strcspn(text, " ");
    }
    text += strspn(text, " ");
    *ret_len = strcspn(text, " ");
    return text;
}

int policy_rule_take(const char *value, unsigned int number, char ret[static CONF_LINE_MAX + 1])
{
    const char *end = find_comment(value), *ports, *part;
    size_t len, n;

    while (end > value && end[-1] == ' ')
        end--;
    ports = find_ports(value, &len);
    for (part = ports; number > 0; number--) {
        part = memchr(part, ',', (size_t)(ports + len - part));
        if (!part)
            return 0;
        part++;
    }
    n = strcspn(part, ", ");
    if (ports >= end)
        len = n = 0; /* the rule has no ports: its parser says so */
    snprintf(ret, CONF_LINE_MAX + 1, "%.*s%.*s%.*s", (int)((ports < end ? ports : end) - value),
             value, (int)n, part, (int)(ports < end ? end - (ports + len) : 0), ports + len);
    return 1;
}

int policy_rule_parse(struct conf_reader *reader, bool is_allow, const char *value,
                      struct services **services, struct policy_rule *ret)
{
    char text[CONF_LINE_MAX + 1];
    int r;

    memset(ret, 0, sizeof(*ret));
    ret->is_allow = is_allow;
    ret->line = reader->line;
    strcpy(text, value);
    r = take_reason(reader, text, ret);
    if (r == 0)
        r = parse_tokens(reader, text, services, ret);
    if (r < 0)
        policy_rule_deinit(ret);
    else
        set_hash(ret);
    return r;
}

void policy_rule_deinit(struct policy_rule *rule)
{
    rule->name = mem_free(rule->name);
    rule->reason = mem_free(rule->reason);
}

static void host_text(const struct policy_rule *rule, char ret[static HOST_TEXT_MAX + 3])
{
    char address[INET6_ADDRSTRLEN];

    if (rule->host == RULE_ANY)
        strcpy(ret, "*");
    else if (rule->name)
        snprintf(ret, HOST_TEXT_MAX + 3, "%s%s", rule->host == RULE_SUFFIX ? "*" : "", rule->name);
    else if (rule->prefix == (rule->family == AF_INET ? 32 : 128))
        inet_ntop(rule->family, rule->net, ret, HOST_TEXT_MAX + 3);
    else
        snprintf(ret, HOST_TEXT_MAX + 3, "%s/%u",
                 inet_ntop(rule->family, rule->net, address, sizeof(address)), rule->prefix);
}

void policy_rule_text(const struct policy_rule *rule, char ret[static POLICY_RULE_TEXT_MAX])
{
    char host[HOST_TEXT_MAX + 3], ports[16] = "*";
    size_t n;

    host_text(rule, host);
    if (rule->first == rule->last)
        snprintf(ports, sizeof(ports), "%u", rule->first);
    else if (rule->first > 1 || rule->last < UINT16_MAX)
        snprintf(ports, sizeof(ports), "%u-%u", rule->first, rule->last);
    n = (size_t)snprintf(ret, POLICY_RULE_TEXT_MAX, "%s=%s %s %s",
                         rule->is_allow ? "Allow" : "Deny",
                         policy_protocol_name((enum policy_protocol)rule->protocol), host, ports);
    for (size_t i = 0; i < FLAG_COUNT; i++)
        if (rule->flags & flags[i].flag)
            n += (size_t)snprintf(ret + n, POLICY_RULE_TEXT_MAX - n, " %s", flags[i].name);
    if (rule->reason)
        snprintf(ret + n, POLICY_RULE_TEXT_MAX - n, " \"%s\"", rule->reason);
}

bool policy_rule_equals(const struct policy_rule *a, const struct policy_rule *b)
{
    if (a->hash != b->hash || a->protocol != b->protocol || a->host != b->host ||
        a->first != b->first || a->last != b->last)
        return false;
    if (a->name)
        return strcmp(a->name, b->name) == 0;
    return a->family == b->family && a->prefix == b->prefix &&
           memcmp(a->net, b->net, sizeof(a->net)) == 0;
}

static uint8_t lower(char c)
{
    return (uint8_t)(c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c);
}

void policy_name_init(struct policy_name *name, const char *text)
{
    size_t len = text ? strlen(text) : 0;

    if (len > HOST_TEXT_MAX + 1)
        len = 0;
    name->is_there = text != NULL;
    name->len = len;
    name->text[len] = '\0';
    name->tails[len] = 2166136261u;
    for (; len > 0; len--) {
        name->text[len - 1] = (char)lower(text[len - 1]);
        name->tails[len - 1] = (name->tails[len] ^ lower(text[len - 1])) * 16777619u;
    }
}
