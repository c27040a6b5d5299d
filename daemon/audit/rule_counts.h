/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_RULE_COUNTS_H
#define ASOCKD_RULE_COUNTS_H

/*
 * How many connects each rule of the policy in force has decided, for monitoring systems. The
 * number of rules that are counted apart has a bound; all others are "other". Rules of sessions'
 * own restrictions are "restriction", and what no rule decided is "none".
 */
#include <stdbool.h>
#include <stdint.h>

#define RULE_COUNTS_MAX 256u /* the three above included */

struct rule_counts;

struct rule_counts *rule_counts_new(void);                        /* NULL without memory */
struct rule_counts *rule_counts_free(struct rule_counts *counts); /* accepts NULL; returns it */

/* rule: "file:line"; "": none. counts may be NULL. */
void rule_counts_add(struct rule_counts *counts, const char *rule);
/*
 * What another process has counted. rule: as above, or a name that rule_counts_at() has for several
 * of them; an unknown one is "other". counts may be NULL.
 */
void rule_counts_restore(struct rule_counts *counts, const char *rule, uint64_t count);
/* Another policy is in force, whose lines are other rules. counts may be NULL. */
void rule_counts_clear(struct rule_counts *counts);
/* False: there are not so many. The name is printable ASCII and belongs to counts. */
bool rule_counts_at(const struct rule_counts *counts, unsigned int number, const char **ret_rule,
                    uint64_t *ret_count);

#endif
