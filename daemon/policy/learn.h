/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_LEARN_H
#define ASOCKD_POLICY_LEARN_H

/*
 * What learn mode has allowed: the rules that would have allowed it, each once per user id, with
 * the file that they belong into. Clients decide how much there is, so the memory is bounded: each
 * person may use half of what others leave. Connects for whose rules there is no room are only
 * counted.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct identity;
struct policy_answer;
struct policy_question;

#define LEARN_RULES_MAX 1024u /* looked through for each connect that learn mode lets pass */
#define LEARN_BYTES_MAX (256u * 1024) /* of all of them: names have 253, paths a few dozen */

struct learn_rule {
    uint64_t count;     /* of connects */
    time_t first, last; /* wall clock, for people */
    uint32_t uid;       /* of the client */
    uint32_t person;    /* whose share it is of */
    uint32_t size;      /* bytes of it */
    uint16_t port;
    uint8_t protocol; /* enum policy_protocol */
    const char *host; /* a name in lower case, or an address */
    char file[];      /* where it would stand; "": unknown */
};

struct learn;
struct policy_nat64;

struct learn *learn_new(void);                 /* NULL without memory */
struct learn *learn_free(struct learn *learn); /* accepts NULL; returns it */

/*
 * Notes an address that this client may try, because of an answer with is_learned. learn may be
 * NULL.
 */
void learn_note(struct learn *learn, const struct identity *identity,
                const struct policy_nat64 *nat64, const struct policy_question *question,
                const struct policy_answer *answer);

/* One that another process had; 0, or -ENOMEM. Without room for it, it is only counted. */
struct learn_past {
    uint64_t count;
    time_t first, last;
    uint32_t uid, person;
    uint16_t port;
    uint8_t protocol;
    const char *host, *file;
};
int learn_restore(struct learn *learn, const struct learn_past *past);
void learn_restore_dropped(struct learn *learn, uint64_t dropped);

/* NULL: there is no rule with this number; rules keep theirs, from 0 on. */
const struct learn_rule *learn_rule_at(const struct learn *learn, uint64_t number);
/* The number of connects for whose rules there was no room. */
uint64_t learn_dropped(const struct learn *learn);

#endif
