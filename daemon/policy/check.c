/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: the files are read as the daemon reads them; then the check warns about lines that
 * are valid but hardly do what their author meant.
 * Failures: files that the daemon rejects.
 */
#include "daemon/policy/check.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/names/hosts.h"
#include "daemon/policy/file.h"
#include "daemon/policy/overlap.h"
#include "daemon/policy/port_tree.h"
#include "daemon/policy/route.h"
#include "daemon/policy/shadow.h"

struct checking {
    const struct policy_file *file;
    size_t number;
    const struct policy *all; /* file is one of these, by its number */
    struct policy_check *check;
    struct file_table *hosts;      /* NULL: there is no such file */
    enum policy_protocol protocol; /* whose rules are looked at */
    struct port_tree *everybody;   /* the rules of all files that allow addresses, by number */
    struct port_tree *own;         /* those of this file, by their numbers in it */
    struct policy_shadows *shadows;
};

static void warn(const struct checking *c, unsigned int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void warn(const struct checking *c, unsigned int line, const char *format, ...)
{
    va_list args;

    if (policy_file_ignores(c->file, line))
        return;
    c->check->warnings++;
    fprintf(c->check->out, "%s:%u: ", c->file->path, line);
    va_start(args, format);
    vfprintf(c->check->out, format, args);
    va_end(args);
    fputc('\n', c->check->out);
}

/* ---- one rule behind another ---- */

static void warn_of_ports(const struct checking *c, unsigned int line, uint16_t first,
                          uint16_t last, unsigned int by)
{
    if (first == last)
        warn(c, line, "not reached for port %u: line %u decides first", first, by);
    else
        warn(c, line, "not reached for ports %u-%u: line %u decides first", first, last, by);
}

static void check_overlap(const struct checking *c, uint32_t number)
{
    struct policy_overlap overlap;

    if (policy_overlap_within(c->file, number, &overlap))
        warn_of_ports(c, c->file->rules[number].line, overlap.first, overlap.last,
                      overlap.by->line);
}

/* A line with a list of ports is one rule for each of them. */
static bool has_more_ports(const struct checking *c, uint32_t number)
{
    const struct policy_rule *rules = c->file->rules;
    unsigned int line = rules[number].line;

    return (number > 0 && rules[number - 1].line == line) ||
           (number + 1 < c->file->rule_count && rules[number + 1].line == line);
}

static void check_shadow(const struct checking *c, uint32_t number)
{
    uint32_t begin = (uint32_t)c->file->begin[c->protocol], by;
    const struct policy_rule *rule = &c->file->rules[number];
    bool is_alone;

    by = policy_shadow_of(c->shadows, number - begin, &is_alone);
    if (by == POLICY_INDEX_NONE) {
        check_overlap(c, number);
        return;
    }
    by = c->file->rules[begin + by].line;
    if (is_alone && has_more_ports(c, number))
        warn_of_ports(c, rule->line, rule->first, rule->last, by);
    else if (is_alone)
        warn(c, rule->line, "never reached: line %u decides first", by);
    else
        warn(c, rule->line, "never reached: line %u and lines before it decide first", by);
}

/* ---- one rule ---- */

static bool denies_name(const struct policy_rule *rule)
{
    return !rule->is_allow && (rule->host == RULE_NAME || rule->host == RULE_SUFFIX);
}

/* first: number of the file's first rule among those of all. */
static void put_allowed_addresses(struct port_tree *tree, const struct policy_file *file,
                                  enum policy_protocol protocol, uint32_t first)
{
    for (uint32_t i = 0; i < file->rule_count; i++) {
        const struct policy_rule *rule = &file->rules[i];

        if (rule->protocol == protocol && rule->is_allow &&
            (rule->host == RULE_ANY || rule->host == RULE_NET))
            policy_port_tree_put(tree, rule->first, rule->last, first + i);
    }
}

/* A rule by its number among those of all files, and its file. */
static const struct policy_rule *find_rule(const struct policy *policy, uint32_t number,
                                           const struct policy_file **ret)
{
    size_t i = 0;

    for (; number >= policy->files[i]->rule_count; i++)
        number -= (uint32_t)policy->files[i]->rule_count;
    *ret = policy->files[i];
    return &policy->files[i]->rules[number];
}

/*
 * If a client gives the name's address instead of the name, the rules for addresses of all files
 * judge it.
 */
static void check_denied_name(const struct checking *c, const struct policy_rule *rule)
{
    const struct policy_file *file;
    const struct policy_rule *allow;
    uint32_t other;

    if (!denies_name(rule))
        return;
    other = policy_port_tree_least(c->own, rule->first, rule->last);
    if (other != PORT_TREE_NONE) {
        warn(c, rule->line, "denies only the name: line %u allows addresses that the name may have",
             c->file->rules[other].line);
        return;
    }
    other = policy_port_tree_least(c->everybody, rule->first, rule->last);
    if (other != PORT_TREE_NONE) {
        allow = find_rule(c->all, other, &file);
        warn(c, rule->line, "denies only the name: %s:%u allows addresses that the name may have",
             file->path, allow->line);
    }
}

/*
 * Can the flag matter for the rule? Only if its network may contain addresses that need the flag.
 */
static bool is_useful(const struct policy_rule *rule, uint8_t flag)
{
    uint8_t class = policy_network_class(rule->family, rule->net, rule->prefix);

    if (rule->host != RULE_NET)
        return true;
    if (flag == POLICY_LOCAL)
        return class != POLICY_LOOPBACK;
    if (flag == class)
        return false; /* implied */
    /* Ranges of other classes may lie within a range; a single address has one class. */
    return rule->prefix < (rule->family == AF_INET ? 32 : 128) &&
           (class == 0 || class == POLICY_SPECIAL);
}

static void check_flags(const struct checking *c, const struct policy_rule *rule)
{
    for (uint8_t flag = 1; flag & POLICY_FLAGS_ALL; flag = (uint8_t)(flag << 1)) {
        if ((rule->flags & flag) && !is_useful(rule, flag))
            warn(c, rule->line, "%s has no effect on these addresses", policy_flag_name(flag));
    }
    if (rule->is_allow && rule->implied == POLICY_NEVER &&
        !(rule->protocol == POLICY_UDP &&
          policy_network_is_group(rule->family, rule->net, rule->prefix)))
        warn(c, rule->line, "connections to this kind of address are not possible");
}

/*
 * An address of the name in /etc/hosts needs a flag that the rule lacks. Other addresses of names
 * may change.
 */
static void check_hosts(const struct checking *c, const struct policy_rule *rule)
{
    struct resolver_result result;
    struct policy_address addr;
    char text[INET6_ADDRSTRLEN];

    if (!hosts_find(c->hosts, rule->name, AF_UNSPEC, &result) || result.error)
        return;
    for (unsigned int i = 0; i < result.count; i++) {
        uint8_t class;

        if (!policy_address_from(&result.addresses[i].any, &addr))
            continue;
        class = policy_address_class(&addr);
        if (class == 0 || class == POLICY_NEVER || (rule->flags & class))
            continue;
        warn(c, rule->line, "in /etc/hosts, %s has the address %s, which needs %s", rule->name,
             inet_ntop(addr.family, addr.bytes, text, sizeof(text)), policy_flag_name(class));
        return;
    }
}

static bool is_loopback_name(const struct policy_rule *rule)
{
    size_t len = strlen(rule->name);

    return strcmp(rule->name, "localhost") == 0 ||
           (len > 10 && strcmp(rule->name + len - 10, ".localhost") == 0) ||
           strcmp(rule->name, ".localhost") == 0;
}

static bool is_own(const struct policy_rule *rule)
{
    struct policy_address addr = {.family = rule->family};
    const struct policy_way way = {.port = rule->first};

    if (rule->prefix < (rule->family == AF_INET ? 32 : 128) || rule->implied == POLICY_LOOPBACK ||
        rule->implied == POLICY_NEVER)
        return false;
    memcpy(addr.bytes, rule->net, sizeof(addr.bytes));
    return policy_route_is_local(&addr, &way);
}

static void check_net(const struct checking *c, const struct policy_rule *rule)
{
    static const uint8_t classes[] = {POLICY_LOOPBACK, POLICY_PRIVATE, POLICY_LINKLOCAL};
    uint8_t has = rule->flags | rule->implied, within;

    if (!(rule->flags & POLICY_LOCAL) && is_own(rule))
        warn(c, rule->line, "an address of this host, which needs +local");
    if (rule->prefix == 0)
        return;
    within = policy_network_contains(rule->family, rule->net, rule->prefix);
    for (size_t i = 0; i < sizeof(classes); i++)
        if (within & (uint8_t)~has & classes[i])
            warn(c, rule->line, "some of these addresses need %s", policy_flag_name(classes[i]));
}

static void check_special(const struct checking *c, const struct policy_rule *rule)
{
    if (!rule->is_allow || rule->host == RULE_ANY)
        return;
    if (rule->host == RULE_NET)
        check_net(c, rule);
    else if (is_loopback_name(rule) && !(rule->flags & POLICY_LOOPBACK))
        warn(c, rule->line, "these are loopback addresses, which need +loopback");
    else if (rule->host == RULE_NAME && c->hosts && !is_loopback_name(rule))
        check_hosts(c, rule);
}

/* ---- the file, and those before it ---- */

static void tell_behind(const struct checking *c, const struct policy_file *earlier,
                        const struct policy_rule *rule, const struct policy_overlap *overlap,
                        size_t more)
{
    bool is_all = policy_audience(&earlier->match, &c->file->match) == POLICY_AUDIENCE_ALL;
    char ports[48] = "", others[48] = "";

    if (!overlap->is_whole && overlap->first == overlap->last)
        snprintf(ports, sizeof(ports), " for port %u", overlap->first);
    else if (!overlap->is_whole)
        snprintf(ports, sizeof(ports), " for ports %u-%u", overlap->first, overlap->last);
    if (more > 0)
        snprintf(others, sizeof(others), " (and %zu more %s)", more, more > 1 ? "rules" : "rule");
    warn(c, rule->line, "not reached%s%s: %s:%u decides first%s", ports,
         is_all ? "" : " for clients that both files apply to", earlier->path, overlap->by->line,
         others);
}

/* One warning for each earlier file: moving this file in front of it solves all of them. */
static void check_behind(const struct checking *c)
{
    for (size_t i = 0; i < c->number; i++) {
        const struct policy_file *earlier = c->all->files[i];
        const struct policy_rule *first = NULL;
        struct policy_overlap overlap, one;
        size_t count = 0;

        if (!policy_index_any(earlier->index[c->protocol]) ||
            policy_audience(&earlier->match, &c->file->match) == POLICY_AUDIENCE_NONE)
            continue;
        for (size_t k = 0; k < c->file->rule_count; k++) {
            const struct policy_rule *rule = &c->file->rules[k];

            if (rule->protocol != c->protocol || policy_file_ignores(c->file, rule->line) ||
                !policy_overlap_behind(earlier, rule, &one))
                continue;
            if (count++ == 0) {
                first = rule;
                overlap = one;
            }
        }
        if (first)
            tell_behind(c, earlier, first, &overlap, count - 1);
    }
}

/* ---- the file ---- */

static void check_names(const struct checking *c)
{
    const struct policy_rule *allow = NULL;

    for (size_t i = 0; i < c->file->rule_count; i++) {
        const struct policy_rule *rule = &c->file->rules[i];

        if (rule->is_allow && rule->host != RULE_NET)
            return;
        if (rule->is_allow && !allow)
            allow = rule;
    }
    if (allow)
        warn(c, allow->line, "the rules allow addresses only, so no name is resolved");
}

static void check_match(const struct checking *c)
{
    const struct match_values *listeners = &c->file->match.keys[MATCH_LISTENER];

    for (size_t i = 0; i < listeners->count; i++) {
        const struct match_value *value = &listeners->values[i];

        if (strcmp(value->text, "control") == 0)
            warn(c, value->line, "clients of the control listener cannot open network sockets");
        else if (c->check->has_listener && !c->check->has_listener(c->check->data, value->text))
            warn(c, value->line, "there is no listener %s", value->text);
    }
    if (c->file->match.keys[MATCH_UNIT].count > 0 && c->file->match.keys[MATCH_USER_UNIT].count > 0)
        warn(
            c, c->file->match.keys[MATCH_UNIT].line,
            "with UserUnit=, Unit= can match only user@UID.service, the system unit of such a client");
    if (c->file->match.keys[MATCH_GROUP].count > 0 && policy_file_is_strict(c->file))
        warn(
            c, c->file->match.keys[MATCH_GROUP].line,
            "Group= does not restrict clients that can leave the group (root, users with subordinate user IDs)");
}

static void check_learning(const struct checking *c)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (c->file->is_learning && now.tv_sec >= c->file->learn_until)
        warn(c, c->file->learn_line, "this date has passed, so learn mode is off");
}

static void check_rules(const struct checking *c)
{
    policy_port_tree_clear(c->own);
    put_allowed_addresses(c->own, c->file, c->protocol, 0);
    for (uint32_t i = 0; i < c->file->rule_count; i++) {
        if (c->file->rules[i].protocol != c->protocol)
            continue;
        check_shadow(c, i);
        check_denied_name(c, &c->file->rules[i]);
        check_flags(c, &c->file->rules[i]);
        check_special(c, &c->file->rules[i]);
    }
    check_behind(c);
}

static bool print_problem(void *data, const char *text)
{
    struct policy_check *check = data;

    check->warnings++;
    fprintf(check->out, "%s\n", text);
    return true;
}

static int check_protocol(struct checking *c)
{
    uint32_t number = 0;

    policy_port_tree_clear(c->everybody);
    for (size_t i = 0; i < c->all->file_count; i++) {
        put_allowed_addresses(c->everybody, c->all->files[i], c->protocol, number);
        number += (uint32_t)c->all->files[i]->rule_count;
    }
    for (size_t i = 0; i < c->all->file_count; i++) {
        c->file = c->all->files[i];
        c->number = i;
        c->shadows = policy_shadows_new(c->file, c->protocol);
        if (!c->shadows)
            return -ENOMEM;
        check_rules(c);
        policy_shadows_free(c->shadows);
    }
    return 0;
}

static int check_files(struct checking *c)
{
    int r = 0;

    for (size_t i = 0; i < c->all->file_count; i++) {
        c->file = c->all->files[i];
        check_match(c);
        check_learning(c);
        check_names(c);
    }
    for (int i = 0; i < POLICY_PROTOCOLS && r == 0; i++) {
        c->protocol = (enum policy_protocol)i;
        r = check_protocol(c);
    }
    return r;
}

static int check_all(struct policy_check *check, const struct policy *policy)
{
    struct checking c = {.all = policy, .check = check};
    int r = hosts_new(NULL, &c.hosts);

    check->files = policy->file_count;
    check->rules = policy->rule_count;
    policy_each_problem(policy, print_problem, check);
    c.everybody = policy_port_tree_new();
    c.own = policy_port_tree_new();
    if (r == 0)
        r = c.everybody && c.own ? check_files(&c) : -ENOMEM;
    policy_port_tree_free(c.everybody);
    policy_port_tree_free(c.own);
    file_table_free(c.hosts);
    if (r < 0)
        fputs("policy: out of memory\n", check->err);
    return r;
}

/* ---- where they come from ---- */

/* Reports a file that is invalid, and does not add it. */
static int read_file(struct policy *policy, const char *path, FILE *err)
{
    struct conf_reader reader;
    int r = asock_conf_open(&reader, path);

    if (r == 0)
        r = policy_file_parse(&reader, POLICY_FILE, POLICY_RULES_MAX - policy->rule_count,
                              &policy->files[policy->file_count]);
    if (r == 0)
        policy->rule_count += policy->files[policy->file_count++]->rule_count;
    else
        fprintf(err, "%s\n", reader.error);
    asock_conf_close(&reader);
    return r;
}

int policy_check_files(struct policy_check *check, char *const *paths)
{
    struct policy *policy = policy_new(POLICY_DENY);
    int r = policy ? 0 : -ENOMEM, failed;

    for (; policy && *paths; paths++) {
        if (policy->file_count == POLICY_FILES_MAX) {
            fprintf(check->err, "%s: more than %u files\n", *paths, POLICY_FILES_MAX);
            r = -E2BIG;
            break;
        }
        failed = read_file(policy, *paths, check->err);
        if (failed)
            r = failed;
    }
    if (policy) {
        failed = check_all(check, policy);
        r = failed ? failed : r;
    } else {
        fputs("policy: out of memory\n", check->err);
    }
    policy_unref(policy);
    return r;
}

/* ---- what a directory has beside them ---- */

static bool ends_in(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);

    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* Editors and package managers leave these behind on purpose. */
static bool is_left_behind(const char *name)
{
    return name[0] == '.' || ends_in(name, "~") || strstr(name, ".dpkg-") ||
           ends_in(name, ".rpmnew") || ends_in(name, ".rpmsave") || ends_in(name, ".rpmorig") ||
           strncmp(name, "README", 6) == 0;
}

static void check_directory(struct policy_check *check, const char *path)
{
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);

    for (int i = 0; i < count; i++) {
        if (!is_left_behind(entries[i]->d_name) && !ends_in(entries[i]->d_name, ".policy")) {
            check->warnings++;
            fprintf(check->out, "%s/%s: not read: its name does not end in .policy\n", path,
                    entries[i]->d_name);
        }
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

int policy_check_source(struct policy_check *check, const struct policy_source *source)
{
    char error[POLICY_ERROR_MAX];
    struct policy *policy;
    int r;

    for (unsigned int i = 0; source->file_count == 0 && i < source->dir_count; i++)
        check_directory(check, source->dirs[i]);
    r = policy_load(source, error, &policy);
    if (r < 0) {
        fprintf(check->err, "%s\n", error);
        return r;
    }
    if (policy->file_count == 0) {
        check->warnings++;
        fprintf(check->out, "no policy file in %s: everything is denied\n", source->dirs[0]);
    }
    r = check_all(check, policy);
    policy_unref(policy);
    return r;
}
