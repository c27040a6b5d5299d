/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_MATCH_H
#define ASOCKD_POLICY_MATCH_H

/* [Match]: which clients a policy file applies to. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"

struct identity;

enum match_key {
    MATCH_USER,
    MATCH_GROUP,
    MATCH_UNIT,
    MATCH_USER_UNIT,
    MATCH_CGROUP,
    MATCH_LISTENER,
    MATCH_KEY_COUNT
};

struct match_value {
    char *text;
    uint32_t id;     /* MATCH_USER, MATCH_GROUP */
    bool is_unknown; /* there is no such user or group, and id is unused */
    bool is_not;     /* MATCH_USER: "!name", everybody else; text has the '!' too */
    unsigned int line;
};

struct match_values {
    struct match_value *values;
    size_t count;      /* 0: the key is not there */
    size_t unknown;    /* of them, without those that are not meant */
    size_t nots;       /* of them, those that are not meant */
    unsigned int line; /* of the first */
};

struct policy_match {
    struct match_values keys[MATCH_KEY_COUNT];
};

enum match_result {
    MATCH_NO,
    MATCH_YES,
    MATCH_UNKNOWN, /* a fact is not known, and what is known does not say no */
};

/* A line of [Match]. 0; -EBADMSG: refused, in reader; -ENOMEM. */
int policy_match_parse(struct policy_match *match, struct conf_reader *reader,
                       const struct conf_item *item);
/* What the whole section must be. */
int policy_match_check(const struct policy_match *match, struct conf_reader *reader);
/* "User". */
const char *policy_match_key_name(enum match_key key);
/* Of a kind that has processes, with its suffix and without wildcards. */
bool policy_match_is_unit(const char *text);
void policy_match_deinit(struct policy_match *match);

/* Why a match is MATCH_UNKNOWN: the line of the key, and a text for the client. */
struct match_doubt {
    unsigned int line;
    const char *why;
};

/* A section without keys matches everybody. */
enum match_result policy_match(const struct policy_match *match, const struct identity *identity,
                               const char *listener, struct match_doubt *ret_doubt);

/* 1u << key for each key that does not match the client. */
unsigned int policy_match_misses(const struct policy_match *match, const struct identity *identity,
                                 const char *listener);

/*
 * Calls back for each user and group that does not exist, until the callback returns false. Such a
 * value matches no client. For a client that matches no other value of the key, the result is
 * MATCH_UNKNOWN.
 */
bool policy_match_each_unknown(const struct policy_match *match,
                               bool (*callback)(void *data, const char *key,
                                                const struct match_value *value),
                               void *data);
bool policy_match_looks_at_groups(const struct policy_match *match);

#endif
