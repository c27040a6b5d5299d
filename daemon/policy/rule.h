/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_RULE_H
#define ASOCKD_POLICY_RULE_H

/* One Allow= or Deny= line: how it is written, and what it is about. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "daemon/names/host.h"
#include "daemon/policy/address.h"

enum rule_host {
    RULE_ANY,    /* "*": names and addresses */
    RULE_NAME,   /* that name */
    RULE_SUFFIX, /* what ends in it, the dot included */
    RULE_NET,    /* addresses */
};

struct policy_rule {
    bool is_allow;
    enum rule_host host;
    uint8_t flags;   /* POLICY_LOOPBACK… that it has */
    uint8_t implied; /* that its network lies in the range of */
    uint8_t prefix;
    int family;
    uint8_t net[16];
    uint16_t first, last; /* ports */
    unsigned int line;
    uint32_t hash;      /* of what it is about */
    uint32_t name_hash; /* as in struct policy_name */
    uint8_t name_len;
    char *name;   /* RULE_NAME, RULE_SUFFIX: in lower case */
    char *reason; /* for the client; NULL: none */
};

/*
 * What stands behind "Allow=" or "Deny=". Names of services are looked up only if has_services. 0;
 * -EBADMSG: refused, in reader; -ENOMEM. On failure there is nothing to deinit.
 */
int policy_rule_parse(struct conf_reader *reader, bool is_allow, const char *value,
                      bool has_services, struct policy_rule *ret);
void policy_rule_deinit(struct policy_rule *rule);

/* The same host and the same ports, whatever it says about them. */
bool policy_rule_equals(const struct policy_rule *a, const struct policy_rule *b);

static inline bool policy_rule_has_port(const struct policy_rule *rule, uint16_t port)
{
    return port >= rule->first && port <= rule->last;
}

/*
 * A name that many rules are compared with: a hash of each of its tails, so that a rule about another name
 * costs one comparison. Clients decide how often all rules of a policy are gone through.
 */
struct policy_name {
    const char *text;
    size_t len;
    uint32_t tails[HOST_TEXT_MAX +
                   2]; /* from each octet to the end, whatever its case; a suffix has a dot more */
};

/* text stays where it is. NULL, or longer than any name: no rule is about it but those for all. */
void policy_name_init(struct policy_name *name, const char *text);

bool policy_rule_has_name(const struct policy_rule *rule, const struct policy_name *name);
bool policy_rule_has_address(const struct policy_rule *rule, const struct policy_address *addr);

/* "+loopback"; NULL: no single flag. */
const char *policy_flag_name(uint8_t flag);

#endif
