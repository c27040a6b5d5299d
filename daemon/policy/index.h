/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_INDEX_H
#define ASOCKD_POLICY_INDEX_H

/*
 * Finds rules of one file. A judgement wants the first rule, in the order of the file, whose host
 * and port fit; a search of all rules would make a connect as dear as the policy is long.
 *
 * Rules with the same host share a key. A name meets the key of "*", its own, and one per suffix: a
 * hash table has them. An address meets the keys of the prefixes that contain it: all addresses are
 * divided into ranges, each of which knows its longest prefix, and each prefix the next shorter
 * one. Each key knows, as ranges of ports that do not overlap, which of its rules comes first for a
 * port.
 *
 * A radix tree answers the same with a step per bit, each of them in another line of memory: with
 * 25,000 prefixes it took twice as long as the search in one array. Libraries for longest prefixes
 * (Debian has DPDK's librte-lpm for C) answer with the longest one alone, and the first rule may
 * have any other.
 */
#include <stddef.h>
#include <stdint.h>

#include "daemon/policy/rule.h"

struct policy_index;

#define POLICY_INDEX_NONE UINT32_MAX

/* The rules stay where they are while it lives. 0 or -ENOMEM. */
int policy_index_new(const struct policy_rule *rules, size_t count, struct policy_index **ret);
struct policy_index *policy_index_free(struct policy_index *index); /* accepts NULL; returns it */

/*
 * The number of the first rule about this port and either the name or the address; addr NULL: by
 * the name alone. POLICY_INDEX_NONE: there is none.
 */
uint32_t policy_index_find(const struct policy_index *index, const struct policy_name *name,
                           const struct policy_address *addr, uint16_t port);

/* The last port from this one on up to which the same rules are about the name and the address. */
uint16_t policy_index_until(const struct policy_index *index, const struct policy_name *name,
                            const struct policy_address *addr, uint16_t port);

/* What decides for each host that covers all of this rule's host: that host itself too. */
struct policy_decision;
typedef void (*policy_decision_fn)(void *data, const struct policy_decision *decision);
void policy_index_covering(const struct policy_index *index, const struct policy_rule *rule,
                           policy_decision_fn callback, void *data);
/* What decides for "*"; NULL: no rule is about it. */
const struct policy_decision *policy_index_any(const struct policy_index *index);
/* Of all decisions; between those of two hosts there may be unused ones, all zeros. */
struct policy_span;
const struct policy_span *policy_index_spans(const struct policy_index *index, uint32_t *ret_count);

#endif
