/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_OVERLAP_H
#define ASOCKD_POLICY_OVERLAP_H

/*
 * Finds rules that decide less than they say, because an earlier rule about more hosts decides
 * otherwise. An earlier rule about fewer hosts, or about some ports of the same hosts, is an
 * intended exception.
 */
#include <stdbool.h>
#include <stdint.h>

struct policy_file;
struct policy_match;
struct policy_rule;

struct policy_overlap {
    const struct policy_rule *by;
    uint16_t first, last; /* ports that it takes */
    bool is_whole;        /* nothing is left, perhaps by other rules too */
};

/*
 * Compares rule `number` of the file with those before it. False: none overlaps it, or they hide it
 * completely.
 */
bool policy_overlap_within(const struct policy_file *file, uint32_t number,
                           struct policy_overlap *ret);

/* Clients that two files are about. */
enum policy_audience {
    POLICY_AUDIENCE_NONE, /* of the later one: the earlier one is about none */
    POLICY_AUDIENCE_SOME, /* perhaps */
    POLICY_AUDIENCE_ALL,
};

enum policy_audience policy_audience(const struct policy_match *earlier,
                                     const struct policy_match *later);

/* A rule behind the rules for "*" of an earlier file, which say something else. */
bool policy_overlap_behind(const struct policy_file *earlier, const struct policy_rule *rule,
                           struct policy_overlap *ret);

#endif
