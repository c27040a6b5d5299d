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

struct services;

/* The members that a judgement reads come first: with many rules, each access is a cache miss. */
struct policy_rule {
    bool is_allow;
    uint8_t protocol; /* enum policy_protocol */
    uint8_t flags;    /* as written: POLICY_LOOPBACK…, POLICY_LEND… */
    uint8_t implied;  /* flags of the range that contains its network */
    uint8_t prefix;
    uint16_t first, last; /* ports */
    enum rule_host host;
    unsigned int line;
    char *reason; /* for the client; NULL: none */
    char *name;   /* RULE_NAME, RULE_SUFFIX: in lower case */
    int family;
    uint8_t net[16];
    uint32_t hash;      /* of what it is about */
    uint32_t name_hash; /* as in struct policy_name */
    uint8_t name_len;
};

/*
 * Parses the value of "Allow=" or "Deny=". services NULL: ports must be numbers; otherwise
 * *services is loaded when the first name of a service occurs. 0; -EBADMSG: invalid, see reader;
 * -ENOMEM. On failure there is nothing to deinit.
 */
int policy_rule_parse(struct conf_reader *reader, bool is_allow, const char *value,
                      struct services **services, struct policy_rule *ret);
/*
 * A line may have several ranges of ports ("80,443"), each of which becomes a rule. Copies the
 * value to ret with only one of them, range `number`, from 0 on. 1: done; 0: there are fewer
 * ranges.
 */
int policy_rule_take(const char *value, unsigned int number, char ret[static CONF_LINE_MAX + 1]);
void policy_rule_deinit(struct policy_rule *rule);

/*
 * Parse the parts of a rule, also for other kinds of rules. They change text. 0; -EBADMSG: invalid;
 * -ENOMEM.
 */
int policy_rule_parse_protocol(struct conf_reader *reader, const char *text,
                               struct policy_rule *rule);
int policy_rule_parse_network(struct conf_reader *reader, char *text, struct policy_rule *rule);
int policy_rule_parse_ports(struct conf_reader *reader, char *text, struct services **services,
                            struct policy_rule *rule);

/* As it is written, with numbers for the names of services: "Allow=tcp example.com 443". */
#define POLICY_RULE_TEXT_MAX 640u
void policy_rule_text(const struct policy_rule *rule, char ret[static POLICY_RULE_TEXT_MAX]);

/* True: both have the same host and the same ports. */
bool policy_rule_equals(const struct policy_rule *a, const struct policy_rule *b);

/*
 * A name with a hash of each of its tails, by which the rules for it and for its suffixes are
 * found.
 */
struct policy_name {
    bool is_there;
    size_t len;                        /* 0: no rule is about it but those for all */
    char text[HOST_TEXT_MAX + 2];      /* in lower case; a suffix has a dot more than a name */
    uint32_t tails[HOST_TEXT_MAX + 2]; /* from each character to the end */
};

/* NULL: there is none. Longer than any name: no rule is about it but those for all. */
void policy_name_init(struct policy_name *name, const char *text);

/* "+loopback"; NULL: no single flag. */
const char *policy_flag_name(uint8_t flag);

#endif
