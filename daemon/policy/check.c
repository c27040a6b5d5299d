/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: the files are read as the daemon reads them; then what is allowed to stand there but will
 * hardly do what it was written for is told.
 * Failures: what the daemon refuses.
 */
#include "daemon/policy/check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "daemon/policy/file.h"
#include "daemon/policy/port_tree.h"
#include "daemon/policy/shadow.h"

struct checking {
    const struct policy_file *file;
    const struct policy *all; /* file is one of these */
    FILE *out;
    struct port_tree *everybody; /* numbers of all files' rules that allow addresses */
    struct port_tree *own;       /* those of the file, by their numbers in it */
    struct policy_shadows *shadows;
};

static void warn(const struct checking *c, unsigned int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void warn(const struct checking *c, unsigned int line, const char *format, ...)
{
    va_list args;

    fprintf(c->out, "%s:%u: ", c->file->path, line);
    va_start(args, format);
    vfprintf(c->out, format, args);
    va_end(args);
    fputc('\n', c->out);
}

/* ---- one rule behind another ---- */

static void check_shadow(const struct checking *c, uint32_t number)
{
    bool is_alone;
    uint32_t by = policy_shadow_of(c->shadows, number, &is_alone);

    if (by == POLICY_INDEX_NONE)
        return;
    if (is_alone)
        warn(c, c->file->rules[number].line, "never reached: line %u decides first",
             c->file->rules[by].line);
    else
        warn(c, c->file->rules[number].line,
             "never reached: line %u and lines before it decide first", c->file->rules[by].line);
}

/* ---- one rule ---- */

static bool denies_name(const struct policy_rule *rule)
{
    return !rule->is_allow && (rule->host == RULE_NAME || rule->host == RULE_SUFFIX);
}

/* first: number of the file's first rule among those of all. */
static void put_allowed_addresses(struct port_tree *tree, const struct policy_file *file,
                                  uint32_t first)
{
    for (uint32_t i = 0; i < file->rule_count; i++) {
        const struct policy_rule *rule = &file->rules[i];

        if (rule->is_allow && (rule->host == RULE_ANY || rule->host == RULE_NET))
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

/* The name's address, said as such, is judged by the rules for addresses, of whatever file. */
static void check_denied_name(const struct checking *c, const struct policy_rule *rule)
{
    const struct policy_file *file;
    const struct policy_rule *allow;
    uint32_t other;

    if (!denies_name(rule))
        return;
    other = policy_port_tree_least(c->own, rule->first, rule->last);
    if (other != PORT_TREE_NONE) {
        warn(c, rule->line, "denies a name only: line %u allows addresses, perhaps of that host",
             c->file->rules[other].line);
        return;
    }
    other = policy_port_tree_least(c->everybody, rule->first, rule->last);
    if (other != PORT_TREE_NONE) {
        allow = find_rule(c->all, other, &file);
        warn(c, rule->line, "denies a name only: %s:%u allows addresses, perhaps of that host",
             file->path, allow->line);
    }
}

/* A special address is in a network of its own class only, or in one that is larger. */
static bool is_useful(const struct policy_rule *rule, uint8_t flag)
{
    uint8_t class = policy_network_class(rule->family, rule->net, rule->prefix);

    if (rule->host != RULE_NET)
        return true;
    if (flag == POLICY_LOCAL)
        return class != POLICY_LOOPBACK;
    if (flag == class)
        return false; /* implied */
    /* Within the ranges of one class others may lie; a single address has one class. */
    return rule->prefix < (rule->family == AF_INET ? 32 : 128) &&
           (class == 0 || class == POLICY_SPECIAL);
}

static void check_flags(const struct checking *c, const struct policy_rule *rule)
{
    for (uint8_t flag = 1; flag & POLICY_FLAGS_ALL; flag = (uint8_t)(flag << 1)) {
        if ((rule->flags & flag) && !is_useful(rule, flag))
            warn(c, rule->line, "%s changes nothing for these addresses", policy_flag_name(flag));
    }
    if (rule->is_allow && rule->implied == POLICY_NEVER)
        warn(c, rule->line, "nothing can be connected to there");
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
        warn(c, allow->line, "the rules admit addresses only: no name is resolved");
}

static void check_match(const struct checking *c)
{
    const struct match_values *listeners = &c->file->match.keys[MATCH_LISTENER];

    for (size_t i = 0; i < listeners->count; i++) {
        if (strcmp(listeners->values[i].text, "control") == 0)
            warn(c, listeners->line, "the control listener serves no sockets");
    }
    if (c->file->match.keys[MATCH_UNIT].count > 0 && c->file->match.keys[MATCH_USER_UNIT].count > 0)
        warn(c, c->file->match.keys[MATCH_UNIT].line,
             "what has a user's unit has the system's unit user@UID.service");
    if (c->file->match.keys[MATCH_GROUP].count > 0 && policy_file_is_strict(c->file))
        warn(
            c, c->file->match.keys[MATCH_GROUP].line,
            "Group= does not hold clients that can leave the group: root, users with subordinate ids");
}

static void check_learning(const struct checking *c)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (c->file->is_learning && now.tv_sec >= c->file->learn_until)
        warn(c, c->file->learn_line, "that day is over: nothing is learned");
}

static void check_file(const struct checking *c)
{
    policy_port_tree_clear(c->own);
    put_allowed_addresses(c->own, c->file, 0);
    check_match(c);
    check_learning(c);
    check_names(c);
    for (uint32_t i = 0; i < c->file->rule_count; i++) {
        check_shadow(c, i);
        check_denied_name(c, &c->file->rules[i]);
        check_flags(c, &c->file->rules[i]);
    }
}

static void print_problem(void *data, const char *text)
{
    fprintf(data, "%s\n", text);
}

static int check_files(struct checking *c)
{
    uint32_t number = 0;

    for (size_t i = 0; i < c->all->file_count; i++) {
        put_allowed_addresses(c->everybody, c->all->files[i], number);
        number += (uint32_t)c->all->files[i]->rule_count;
    }
    for (size_t i = 0; i < c->all->file_count; i++) {
        c->file = c->all->files[i];
        c->shadows = policy_shadows_new(c->file);
        if (!c->shadows)
            return -ENOMEM;
        check_file(c);
        policy_shadows_free(c->shadows);
    }
    return 0;
}

static int check_all(const struct policy *policy, FILE *out, FILE *err)
{
    struct checking c = {.all = policy, .out = out};
    int r = -ENOMEM;

    policy_each_problem(policy, print_problem, out);
    c.everybody = policy_port_tree_new();
    c.own = policy_port_tree_new();
    if (c.everybody && c.own)
        r = check_files(&c);
    policy_port_tree_free(c.everybody);
    policy_port_tree_free(c.own);
    if (r < 0)
        fputs("policy: out of memory\n", err);
    return r;
}

/* ---- where they come from ---- */

/* One that is refused is told, and not added. */
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

int policy_check_files(char *const *paths, FILE *out, FILE *err)
{
    struct policy *policy = policy_new(POLICY_DENY);
    int r = policy ? 0 : -ENOMEM, failed;

    for (; policy && *paths; paths++) {
        if (policy->file_count == POLICY_FILES_MAX) {
            fprintf(err, "%s: more than %u files\n", *paths, POLICY_FILES_MAX);
            r = -E2BIG;
            break;
        }
        failed = read_file(policy, *paths, err);
        if (failed)
            r = failed;
    }
    if (policy) {
        failed = check_all(policy, out, err);
        r = failed ? failed : r;
    } else {
        fputs("policy: out of memory\n", err);
    }
    policy_unref(policy);
    return r;
}

int policy_check_source(const struct policy_source *source, FILE *out, FILE *err)
{
    char error[POLICY_ERROR_MAX];
    struct policy *policy;
    int r = policy_load(source, error, &policy);

    if (r < 0) {
        fprintf(err, "%s\n", error);
        return r;
    }
    if (policy->file_count == 0)
        fprintf(out, "no policy file in %s: everything is denied\n", source->dirs[0]);
    r = check_all(policy, out, err);
    policy_unref(policy);
    return r;
}
