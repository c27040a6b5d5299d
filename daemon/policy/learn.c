/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/policy/learn.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/names/host.h"
#include "daemon/policy/policy.h"
#include "daemon/policy/address.h"

struct learn {
    struct learn_rule *rules[LEARN_RULES_MAX];
    uint32_t count;
    size_t octets;
    uint64_t dropped;
};

struct learn *learn_new(void)
{
    return mem_zalloc(1, sizeof(struct learn));
}

struct learn *learn_free(struct learn *learn)
{
    if (!learn)
        return NULL;
    for (uint32_t i = 0; i < learn->count; i++)
        mem_free(learn->rules[i]);
    return mem_free(learn);
}

static struct learn_rule *find(const struct learn *learn, const char *file, const char *host,
                               uint16_t port)
{
    for (uint32_t i = 0; i < learn->count; i++) {
        struct learn_rule *rule = learn->rules[i];

        if (rule->port == port && strcmp(rule->host, host) == 0 && strcmp(rule->file, file) == 0)
            return rule;
    }
    return NULL;
}

/* NULL: no room. */
static struct learn_rule *add(struct learn *learn, const char *file, const char *host,
                              uint16_t port)
{
    size_t file_size = strlen(file) + 1, host_size = strlen(host) + 1;
    size_t size = sizeof(struct learn_rule) + file_size + host_size;
    struct learn_rule *rule;

    if (learn->count >= LEARN_RULES_MAX || size > LEARN_OCTETS_MAX - learn->octets)
        return NULL;
    rule = mem_zalloc(1, size);
    if (!rule)
        return NULL;
    rule->port = port;
    memcpy(rule->file, file, file_size);
    rule->host = memcpy(rule->file + file_size, host, host_size);
    rule->first = time(NULL);
    learn->octets += size;
    learn->rules[learn->count++] = rule;
    return rule;
}

static void note(struct learn *learn, const char *file, const char *host, uint16_t port)
{
    struct learn_rule *rule = find(learn, file, host, port);

    if (!rule)
        rule = add(learn, file, host, port);
    if (!rule) {
        learn->dropped++;
        return;
    }
    rule->count++;
    rule->last = time(NULL);
}

static void note_address(struct learn *learn, const char *file, const struct policy_address *addr,
                         uint16_t port)
{
    char host[INET6_ADDRSTRLEN];

    note(learn, file, inet_ntop(addr->family, addr->octets, host, sizeof(host)), port);
}

void learn_note(struct learn *learn, const struct policy_nat64 *nat64,
                const struct policy_question *question, const struct policy_answer *answer)
{
    struct policy_address addr, embedded[POLICY_EMBEDDED_MAX];
    const char *file = answer->file ? answer->file : "";
    char name[HOST_TEXT_MAX + 1];
    unsigned int count;

    if (!learn)
        return;
    if (question->host) {
        snprintf(name, sizeof(name), "%s", question->host);
        host_lower(name);
        note(learn, file, name, question->port);
        return;
    }
    if (!policy_address_from(question->addr, &addr))
        return;
    note_address(learn, file, &addr, question->port);
    /* It takes a rule for each of them. */
    count = policy_address_embedded(&addr, nat64, embedded);
    for (unsigned int i = 0; i < count; i++)
        note_address(learn, file, &embedded[i], question->port);
}

const struct learn_rule *learn_rule_at(const struct learn *learn, uint64_t number)
{
    return learn && number < learn->count ? learn->rules[number] : NULL;
}

uint64_t learn_dropped(const struct learn *learn)
{
    return learn ? learn->dropped : 0;
}
