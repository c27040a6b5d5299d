/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: the count of each rule is saved with the rule's name, which is its file and line, and
 * a hash of that line. In the next process it belongs to the same line of the same file. If lines
 * were added or removed before it, it belongs to the line that has this text now.
 * Failures: the rule does not exist any more, or has another text: its count is dropped.
 */
#include "daemon/state/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "base/hash.h"
#include "daemon/audit/entry.h"
#include "daemon/policy/kept.h"
#include "daemon/state/save.h"

/* A count whose rule is in the file that is being read. */
struct wanted {
    Asockd__State__RuleCount *count;
    unsigned int line;
    uint64_t text; /* of that line now; 0: there is no such line */
};

struct wanted_lines {
    struct wanted lines[RULE_COUNTS_MAX]; /* in the order of the file */
    size_t count;
};

/* The line of that name, if it is one of this file; 0: it is not. */
static unsigned int line_in(const char *rule, const char *path)
{
    uint64_t line = 0;

    /* In the names of rules another character stands for one that cannot be printed. */
    for (; *path; path++, rule++)
        if (*rule != (*path >= ' ' && *path <= '~' ? *path : '?'))
            return 0;
    if (*rule != ':' || asock_conf_number(rule + 1, 1, UINT32_MAX, &line) < 0)
        return 0;
    return (unsigned int)line;
}

static int compare_lines(const void *a, const void *b)
{
    const struct wanted *x = a, *y = b;

    return x->line < y->line ? -1 : x->line > y->line;
}

static void find_wanted(struct wanted_lines *wanted, Asockd__State__RuleCount *const *counts,
                        size_t count, const char *path)
{
    wanted->count = 0;
    for (size_t i = 0; i < count && i < RULE_COUNTS_MAX; i++) {
        unsigned int line = line_in(counts[i]->rule, path);

        if (line > 0)
            wanted->lines[wanted->count++] = (struct wanted){counts[i], line, 0};
    }
    qsort(wanted->lines, wanted->count, sizeof(wanted->lines[0]), compare_lines);
}

/* As the reader of the file takes it: spaces at its end do not count. Never 0. */
static uint64_t hash_line(const char *text, size_t len)
{
    uint64_t hash;

    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
        len--;
    hash = hash_bytes(text, len);
    return hash ? hash : 1;
}

/* Calls back for each line, until that returns false. */
static void each_line(const struct policy_kept *file,
                      bool (*callback)(struct wanted_lines *wanted, unsigned int line,
                                       const char *text, size_t len, void *data),
                      struct wanted_lines *wanted, void *data)
{
    const char *at = file->text, *end = at + file->len;

    for (unsigned int line = 1; at < end; line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t len = (size_t)((newline ? newline : end) - at);

        if (!callback(wanted, line, at, len, data))
            return;
        at += len + 1;
    }
}

/* data: how many of them are behind it. */
static bool on_line(struct wanted_lines *wanted, unsigned int line, const char *text, size_t len,
                    void *data)
{
    size_t *next = data;

    for (; *next < wanted->count && wanted->lines[*next].line <= line; ++*next)
        if (wanted->lines[*next].line == line)
            wanted->lines[*next].text = hash_line(text, len);
    return *next < wanted->count;
}

static void read_wanted(const struct policy_kept *file, struct wanted_lines *wanted)
{
    size_t next = 0;

    if (file->text && wanted->count > 0)
        each_line(file, on_line, wanted, &next);
}

/* ---- the old one ---- */

static void fill_texts(const struct policy *policy, struct rules_room *room, size_t count)
{
    struct wanted_lines wanted;

    for (size_t i = 0; i < policy_file_count(policy); i++) {
        struct policy_kept file = policy_keep(policy, i);

        find_wanted(&wanted, room->at, count, file.path);
        read_wanted(&file, &wanted);
        for (size_t n = 0; n < wanted.count; n++)
            wanted.lines[n].count->text = wanted.lines[n].text;
    }
}

void rules_save(const struct worker *w, struct rules_room *room, Asockd__State__Daemon *to)
{
    const char *rule;
    uint64_t count;
    unsigned int n = 0;

    for (; n < RULE_COUNTS_MAX && rule_counts_at(w->rule_counts, n, &rule, &count); n++) {
        asockd__state__rule_count__init(&room->counts[n]);
        room->counts[n].rule = save_text(rule);
        room->counts[n].count = count;
        room->at[n] = &room->counts[n];
    }
    if (n > 0)
        fill_texts(w->policy, room, n);
    to->rule_counts = room->at;
    to->n_rule_counts = n;
}

/* ---- the new one ---- */

struct restoring {
    struct rule_counts *counts;
    const char *path;
};

static void give(const struct restoring *r, unsigned int line, struct wanted *wanted)
{
    char rule[AUDIT_RULE_MAX + 16];

    /* Not the name that was saved: what cannot be printed is a part of the path. */
    if (snprintf(rule, sizeof(rule), "%s:%u", r->path, line) < (int)sizeof(rule))
        rule_counts_restore(r->counts, rule, wanted->count->count);
    wanted->count = NULL;
}

/* data: what is being restored. */
static bool on_moved(struct wanted_lines *wanted, unsigned int line, const char *text, size_t len,
                     void *data)
{
    uint64_t hash = hash_line(text, len);
    size_t left = 0;

    for (size_t i = 0; i < wanted->count; i++) {
        struct wanted *one = &wanted->lines[i];

        if (one->count && one->count->text == hash)
            give(data, line, one);
        left += one->count != NULL;
    }
    return left > 0;
}

static void restore_file(struct restoring *r, const struct policy_kept *file,
                         const Asockd__State__Daemon *from)
{
    struct wanted_lines wanted;
    bool has_moved = false;

    r->path = file->path;
    find_wanted(&wanted, from->rule_counts, from->n_rule_counts, file->path);
    read_wanted(file, &wanted);
    for (size_t i = 0; i < wanted.count; i++) {
        struct wanted *one = &wanted.lines[i];

        if (one->text && one->text == one->count->text)
            give(r, one->line, one);
        else
            has_moved = true;
    }
    if (has_moved && file->text)
        each_line(file, on_moved, &wanted, r);
}

void rules_restore(struct worker *w, const Asockd__State__Daemon *from)
{
    struct restoring r = {w->rule_counts, NULL};

    for (size_t i = 0; i < from->n_rule_counts && i < RULE_COUNTS_MAX; i++)
        if (!strchr(from->rule_counts[i]->rule, ':'))
            rule_counts_restore(r.counts, from->rule_counts[i]->rule, from->rule_counts[i]->count);
    for (size_t i = 0; i < policy_file_count(w->policy); i++) {
        struct policy_kept file = policy_keep(w->policy, i);

        restore_file(&r, &file, from);
    }
}
