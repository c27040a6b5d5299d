/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: the lines of a file, section by section, and then what only the whole can be asked.
 * Failures: the first line that is doubtful ends it, and the file with it.
 */
#include "daemon/policy/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "daemon/names/services.h"

enum section {
    SECTION_MATCH,
    SECTION_RULES,
    SECTION_LIMITS,
    SECTION_AUDIT,
    SECTION_EGRESS,
    SECTION_COUNT
};

static const char *const sections[SECTION_COUNT] = {
    [SECTION_MATCH] = "Match", [SECTION_RULES] = "Rules",   [SECTION_LIMITS] = "Limits",
    [SECTION_AUDIT] = "Audit", [SECTION_EGRESS] = "Egress",
};

struct parsing {
    struct conf_reader *reader;
    struct policy_file *file;
    enum policy_file_kind kind;
    size_t rules_max, rules_cap;
    uint32_t *seen; /* numbers of rules + 1, by hash */
    size_t seen_mask;
    struct policy_listen_set listens_seen;
    enum section section;
    unsigned int section_lines[SECTION_COUNT]; /* 0: not seen */
    unsigned int section_keys[SECTION_COUNT];
    unsigned int mode_line;
    struct services *services; /* NULL: no name of one has come up yet */
};

/* ---- [Rules] ---- */

/*
 * The slot of a rule about the same host and ports, or the free one (0) where its number + 1
 * belongs.
 */
static uint32_t *find_seen(const struct parsing *p, const struct policy_rule *rule)
{
    for (size_t at = rule->hash;; at++) {
        uint32_t *slot = &p->seen[at & p->seen_mask];

        if (*slot == 0 || policy_rule_equals(&p->file->rules[*slot - 1], rule))
            return slot;
    }
}

/* Twice as many slots as there is room for rules. */
static int grow_seen(struct parsing *p, size_t cap)
{
    mem_free(p->seen);
    p->seen = mem_zalloc(2 * cap, sizeof(*p->seen));
    if (!p->seen)
        return -ENOMEM;
    p->seen_mask = 2 * cap - 1;
    for (size_t i = 0; i < p->file->rule_count; i++)
        *find_seen(p, &p->file->rules[i]) = (uint32_t)i + 1;
    return 0;
}

static int add_rule(struct parsing *p, const struct policy_rule *rule)
{
    uint32_t *slot = find_seen(p, rule);

    if (*slot > 0)
        return asock_conf_refuse(p->reader, "line %u already has the same host and port",
                                 p->file->rules[*slot - 1].line);
    p->file->rules[p->file->rule_count++] = *rule;
    *slot = (uint32_t)p->file->rule_count;
    p->file->allows |= rule->is_allow;
    p->file->allows_names |= rule->is_allow && rule->host != RULE_NET;
    return 0;
}

/* Of a restriction, each Listen= is one of its rules. */
static int check_room(const struct parsing *p)
{
    size_t count = p->file->rule_count;

    if (p->kind == POLICY_RESTRICTION)
        count += p->file->listen_count;
    if (count < p->rules_max)
        return 0;
    asock_conf_refuse(p->reader, "too many rules");
    return -E2BIG;
}

static int grow_rules(struct parsing *p)
{
    size_t cap = p->rules_cap ? p->rules_cap * 2 : 8; /* a power of two */
    struct policy_rule *grown;
    int r = check_room(p);

    if (r < 0)
        return r;
    if (p->file->rule_count < p->rules_cap)
        return 0;
    grown = mem_realloc(p->file->rules, cap * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    p->file->rules = grown;
    p->rules_cap = cap;
    return grow_seen(p, cap);
}

static int parse_one_rule(struct parsing *p, bool is_allow, const char *value)
{
    struct policy_rule rule;
    int r = grow_rules(p);

    if (r < 0)
        return r;
    r = policy_rule_parse(p->reader, is_allow, value, p->kind == POLICY_FILE ? &p->services : NULL,
                          &rule);
    if (r < 0)
        return r;
    r = add_rule(p, &rule);
    if (r < 0)
        policy_rule_deinit(&rule);
    p->file->has_allow |= r == 0 && is_allow;
    p->file->has_deny |= r == 0 && !is_allow;
    return r;
}

/* One for each of its ranges of ports. */
static int parse_rule(struct parsing *p, bool is_allow, const char *value)
{
    char one[CONF_LINE_MAX + 1];
    int r = 0;

    for (unsigned int i = 0; r == 0 && policy_rule_take(value, i, one) > 0; i++)
        r = parse_one_rule(p, is_allow, one);
    return r;
}

static int parse_mode(struct parsing *p, const char *value)
{
    if (p->mode_line)
        return asock_conf_refuse(p->reader, "Mode= is given twice");
    if (strcmp(value, "learn") != 0 && strcmp(value, "enforce") != 0)
        return asock_conf_refuse(p->reader, "Mode=%s is neither learn nor enforce", value);
    p->mode_line = p->reader->line;
    p->file->is_learning = value[0] == 'l';
    return 0;
}

/* "2026-12-01" to the second after that day. */
static int parse_date(const char *text, int64_t *ret)
{
    struct tm tm = {.tm_isdst = 0}, check;
    char again[16];
    time_t at;

    if (strlen(text) != 10 || !strptime(text, "%Y-%m-%d", &tm) || tm.tm_year < 100)
        return -EINVAL;
    at = timegm(&tm);
    /* There is no 31st of June. */
    if (!gmtime_r(&at, &check) || strftime(again, sizeof(again), "%Y-%m-%d", &check) != 10 ||
        strcmp(text, again) != 0)
        return -EINVAL;
    *ret = at + 24 * 3600;
    return 0;
}

static int parse_learn_until(struct parsing *p, const char *value)
{
    if (p->file->learn_line)
        return asock_conf_refuse(p->reader, "LearnUntil= is given twice");
    if (parse_date(value, &p->file->learn_until) < 0)
        return asock_conf_refuse(p->reader, "LearnUntil=%s is not a date such as 2030-12-31",
                                 value);
    p->file->learn_line = p->reader->line;
    return 0;
}

static int parse_listen(struct parsing *p, bool is_reserve, const char *value)
{
    int r = p->kind == POLICY_RESTRICTION ? check_room(p) : 0;

    if (r < 0)
        return r;
    return policy_listen_add(p->file, &p->listens_seen, p->reader, is_reserve, value,
                             p->kind == POLICY_FILE ? &p->services : NULL);
}

static int parse_rules_key(struct parsing *p, const struct conf_item *item)
{
    if (strcmp(item->key, "Allow") == 0)
        return parse_rule(p, true, item->value);
    if (strcmp(item->key, "Deny") == 0)
        return parse_rule(p, false, item->value);
    if (strcmp(item->key, "Listen") == 0)
        return parse_listen(p, false, item->value);
    if (p->kind == POLICY_FILE && strcmp(item->key, "Reserve") == 0)
        return parse_listen(p, true, item->value);
    if (p->kind == POLICY_FILE && strcmp(item->key, "Mode") == 0)
        return parse_mode(p, item->value);
    if (p->kind == POLICY_FILE && strcmp(item->key, "LearnUntil") == 0)
        return parse_learn_until(p, item->value);
    return asock_conf_refuse(p->reader, "unknown key %s= in [Rules]", item->key);
}

/* ---- sections ---- */

static int begin_section(struct parsing *p, const char *name)
{
    for (enum section i = 0; i < SECTION_COUNT; i++) {
        if (strcmp(sections[i], name) != 0)
            continue;
        if (p->kind == POLICY_RESTRICTION && i != SECTION_RULES)
            return asock_conf_refuse(p->reader,
                                     "[%s]: a restriction can have only the section "
                                     "[Rules]",
                                     name);
        if (p->section_lines[i])
            return asock_conf_refuse(p->reader, "[%s] is given twice", name);
        p->section = i;
        p->section_lines[i] = p->reader->line;
        return 0;
    }
    return asock_conf_refuse(p->reader, "unknown section [%s]", name);
}

static int ignore_line(struct parsing *p)
{
    struct policy_file *file = p->file;
    unsigned int *grown;

    if (!p->reader->is_ignored)
        return 0;
    if ((file->ignored_count & (file->ignored_count - 1)) ==
        0) { /* 0 or a power of two: it is full */
        size_t cap = file->ignored_count ? 2 * file->ignored_count : 1;

        grown = mem_realloc(file->ignored, cap * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        file->ignored = grown;
    }
    file->ignored[file->ignored_count++] = p->reader->line;
    return 0;
}

static int parse_item(struct parsing *p, const struct conf_item *item)
{
    if (ignore_line(p) < 0)
        return -ENOMEM;
    p->file->is_empty = false;
    if (!item->key)
        return begin_section(p, item->section);
    p->section_keys[p->section]++;
    if (!*item->value)
        return asock_conf_refuse(p->reader, "%s= is empty", item->key);
    if (p->section == SECTION_MATCH)
        return policy_match_parse(&p->file->match, p->reader, item);
    if (p->section == SECTION_RULES)
        return parse_rules_key(p, item);
    return policy_settings_parse(&p->file->settings, p->reader, item);
}

static int refuse_at(struct parsing *p, unsigned int line, const char *why)
{
    p->reader->line = line;
    return asock_conf_refuse(p->reader, "%s", why);
}

static int check_whole(struct parsing *p)
{
    if (p->section_lines[SECTION_MATCH] && p->section_keys[SECTION_MATCH] == 0)
        return refuse_at(p, p->section_lines[SECTION_MATCH],
                         "[Match] has no keys: remove the section if the file is for every client");
    if (p->file->is_learning && !p->file->learn_line)
        return refuse_at(p, p->mode_line, "Mode=learn requires LearnUntil=");
    if (!p->file->is_learning && p->file->learn_line)
        return refuse_at(p, p->file->learn_line, "LearnUntil= requires Mode=learn");
    return policy_match_check(&p->file->match, p->reader);
}

/* Those of UDP behind those of TCP. */
static int divide_rules(struct policy_file *file)
{
    struct policy_rule *divided = mem_alloc((file->rule_count + 1) * sizeof(*divided));
    size_t n = 0;

    if (!divided)
        return -ENOMEM;
    for (int protocol = 0; protocol < POLICY_PROTOCOLS; protocol++) {
        file->begin[protocol] = n;
        for (size_t i = 0; i < file->rule_count; i++)
            if (file->rules[i].protocol == protocol)
                divided[n++] = file->rules[i];
    }
    mem_free(file->rules);
    file->rules = divided;
    return 0;
}

static int index_rules(struct policy_file *file)
{
    int r = divide_rules(file);

    for (int i = 0; i < POLICY_PROTOCOLS && r == 0; i++) {
        size_t end = i + 1 < POLICY_PROTOCOLS ? file->begin[i + 1] : file->rule_count;

        r = policy_index_new(file->rules + file->begin[i], end - file->begin[i], &file->index[i]);
    }
    return r;
}

static int parse(struct parsing *p)
{
    struct conf_item item;
    int r;

    while ((r = asock_conf_next(p->reader, &item)) > 0) {
        r = parse_item(p, &item);
        if (r < 0)
            return r;
    }
    if (r == 0)
        r = check_whole(p);
    return r == 0 ? index_rules(p->file) : r;
}

static char *copy_path(const char *path)
{
    size_t len = strlen(path) + 1;
    char *copy = mem_alloc(len);

    return copy ? memcpy(copy, path, len) : NULL;
}

static int keep_text(struct policy_file *file, const struct conf_reader *reader)
{
    file->text = mem_alloc(reader->len + 1);
    if (!file->text)
        return -ENOMEM;
    if (reader->len > 0)
        memcpy(file->text, reader->text, reader->len);
    file->len = reader->len;
    return 0;
}

int policy_file_parse(struct conf_reader *reader, enum policy_file_kind kind, size_t rules_max,
                      struct policy_file **ret)
{
    struct parsing p = {.reader = reader, .kind = kind, .rules_max = rules_max};
    int r = -ENOMEM;

    p.file = mem_zalloc(1, sizeof(*p.file));
    if (p.file) {
        p.file->path = copy_path(reader->path);
        p.file->modified = reader->modified;
        p.file->is_empty = true;
    }
    if (p.file && p.file->path)
        r = parse(&p);
    if (r == 0 && kind == POLICY_FILE)
        r = keep_text(p.file, reader);
    mem_free(p.seen);
    policy_listen_set_deinit(&p.listens_seen);
    services_free(p.services);
    if (r == 0) {
        *ret = p.file;
        return 0;
    }
    if (r == -ENOMEM)
        snprintf(reader->error, sizeof(reader->error), "%s: out of memory", reader->path);
    policy_file_free(p.file);
    return r;
}

static int compare_lines(const void *a, const void *b)
{
    unsigned int x = *(const unsigned int *)a, y = *(const unsigned int *)b;

    return (x > y) - (x < y);
}

bool policy_file_ignores(const struct policy_file *file, unsigned int line)
{
    return file->ignored_count > 0 && bsearch(&line, file->ignored, file->ignored_count,
                                              sizeof(*file->ignored), compare_lines);
}

bool policy_file_is_strict(const struct policy_file *file)
{
    const struct policy_settings *settings = &file->settings;

    return file->has_deny || settings->limits.set || settings->audit != POLICY_AUDIT_UNSET ||
           settings->egress.has_source || settings->egress.device[0] ||
           settings->egress.has_options;
}

struct policy_file *policy_file_free(struct policy_file *file)
{
    if (!file)
        return NULL;
    for (size_t i = 0; i < file->rule_count; i++)
        policy_rule_deinit(&file->rules[i]);
    for (size_t i = 0; i < file->listen_count; i++)
        policy_listen_deinit(&file->listens[i]);
    mem_free(file->listens);
    for (int i = 0; i < POLICY_PROTOCOLS; i++)
        policy_index_free(file->index[i]);
    mem_free(file->rules);
    policy_match_deinit(&file->match);
    mem_free(file->ignored);
    mem_free(file->text);
    mem_free(file->path);
    return mem_free(file);
}
