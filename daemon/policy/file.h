/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_FILE_H
#define ASOCKD_POLICY_FILE_H

/* A policy file as it was read: of policy*.c alone, and of what tests them. */
#include <stdint.h>

#include "daemon/policy/policy.h"
#include "daemon/policy/index.h"
#include "daemon/policy/listen.h"
#include "daemon/policy/match.h"
#include "daemon/policy/rule.h"

struct policy_file {
    char *path;
    char *text; /* as it was read, for another process; NULL: of a restriction */
    size_t len;
    int64_t modified; /* when, in seconds since 1970; 0: it is no file */
    struct policy_match match;
    struct policy_rule *rules; /* by protocol, those of each in the order of the file */
    size_t rule_count;
    size_t begin[POLICY_PROTOCOLS];               /* the first rule of each */
    struct policy_index *index[POLICY_PROTOCOLS]; /* of its rules, by their numbers from there on */
    struct policy_listen *listens;                /* Listen= and Reserve= */
    size_t listen_count;
    bool allows, allows_names;       /* some rule does; not addresses alone */
    struct policy_settings settings; /* of this file; unset keys are unset there too */
    bool has_allow, has_deny;        /* one of the rules is Allow=; Deny= */
    bool is_empty;                   /* not even a section */
    bool is_learning;
    unsigned int learn_line;
    unsigned int *ignored; /* lines that nothing is to be warned about, in order */
    size_t ignored_count;
    int64_t learn_until; /* learning ends at that second, of CLOCK_REALTIME */
};

enum policy_file_kind {
    POLICY_FILE,
    POLICY_RESTRICTION, /* [Rules] with Allow=, Deny= and Listen= only; ports are numbers */
};

/* Reads what reader was opened for. 0, or -errno with a message in reader->error. */
int policy_file_parse(struct conf_reader *reader, enum policy_file_kind kind, size_t rules_max,
                      struct policy_file **ret);
struct policy_file *policy_file_free(struct policy_file *file); /* accepts NULL; returns it */

bool policy_file_ignores(const struct policy_file *file, unsigned int line);

/*
 * Can the file take something from a client: does it deny, or limit, or say how connections are
 * recorded or leave? If not, a client that it may be about loses nothing by being treated as one
 * that it is not.
 */
bool policy_file_is_strict(const struct policy_file *file);

/* A line of [Limits], [Audit], [Egress]. 0 or -EBADMSG. */
int policy_settings_parse(struct policy_settings *settings, struct conf_reader *reader,
                          const struct conf_item *item);
/* "Key=value" of the number-th key that is set, with its section; false: there are less. */
#define POLICY_SETTING_MAX 256u
bool policy_settings_text(const struct policy_settings *settings, unsigned int number,
                          char ret[static POLICY_SETTING_MAX]);
/* What is unset in settings is taken from more. */
void policy_settings_merge(struct policy_settings *settings, const struct policy_settings *more);

/* ---- what a view is made of ---- */

struct policy {
    unsigned int refs;
    struct policy_file *files[POLICY_FILES_MAX];
    size_t file_count;
    size_t rule_count, listen_count;
    size_t unknown_count; /* users and groups that do not exist */
    int64_t loaded;
    bool looks_at_groups; /* some file does */
    bool is_built_in;     /* of --allow-any or --allow-public: there are no files */
    struct policy_nat64 nat64;
    char
        *invalid; /* of one that stands for files that could not be taken: why; NULL: of no other */
    char *instead; /* of one that is in force instead of such files: why; NULL: of no other */
};

struct policy_text {
    size_t len;
    char text[];
};

struct policy_view {
    const struct policy_view
        *base;             /* whose policy it has, and whose restrictions too; NULL: its own */
    struct policy *policy; /* NULL: base's, as all of what follows but restrictions */
    uint64_t matched[POLICY_FILES_MAX / 64]; /* a bit per file */
    const struct policy_file *unknown;       /* matches on what is not known; NULL: none does */
    struct match_doubt doubt;                /* of that file */
    char nobody[POLICY_REASON_MAX + 1]; /* no file is about the client: what it is; "": some are */
    struct policy_settings settings;
    struct policy_file *restrictions[POLICY_RESTRICTIONS_MAX];
    struct policy_text *texts[POLICY_RESTRICTIONS_MAX]; /* as they were said */
    unsigned int restriction_count;
    size_t restriction_rules;
};

/* The text of its own restriction with this number, from 0; NULL: it has no more. */
const char *policy_view_restriction(const struct policy_view *view, unsigned int number,
                                    size_t *ret_len);

static inline bool policy_view_has_file(const struct policy_view *view, size_t file)
{
    return view->matched[file / 64] >> file % 64 & 1;
}

/* The one whose files they are. */
const struct policy_view *policy_view_root(const struct policy_view *view);

#endif
