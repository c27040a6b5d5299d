/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/policy/learn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/identity/identity.h"
#include "daemon/names/host.h"
#include "daemon/policy/policy.h"
#include "daemon/policy/address.h"

struct learn {
    struct learn_rule *rules[LEARN_RULES_MAX];
    uint32_t count;
    size_t bytes;
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

/* Whose it is, and what it says. */
struct lesson {
    uint32_t uid, person;
    const char *file;
    uint16_t port;
    enum policy_protocol protocol;
};

static struct learn_rule *find(const struct learn *learn, const struct lesson *lesson,
                               const char *host)
{
    for (uint32_t i = 0; i < learn->count; i++) {
        struct learn_rule *rule = learn->rules[i];

        if (rule->port == lesson->port && rule->protocol == lesson->protocol &&
            rule->uid == lesson->uid && strcmp(rule->host, host) == 0 &&
            strcmp(rule->file, lesson->file) == 0)
            return rule;
    }
    return NULL;
}

/* Half of what others leave, rounded up. */
static bool is_within_share(uint64_t own, uint64_t all, uint64_t most)
{
    return all <= most && 2 * own <= most - (all - own) + 1;
}

static bool has_room(const struct learn *learn, uint32_t person, size_t size)
{
    uint64_t count = 1, bytes = size;

    for (uint32_t i = 0; i < learn->count; i++) {
        if (learn->rules[i]->person != person)
            continue;
        count++;
        bytes += learn->rules[i]->size;
    }
    return is_within_share(count, learn->count + 1, LEARN_RULES_MAX) &&
           is_within_share(bytes, learn->bytes + size, LEARN_BYTES_MAX);
}

/* -ENOSPC: no room. */
static int add(struct learn *learn, const struct lesson *lesson, const char *host,
               struct learn_rule **ret)
{
    size_t file_size = strlen(lesson->file) + 1, host_size = strlen(host) + 1;
    size_t size = sizeof(struct learn_rule) + file_size + host_size;
    struct learn_rule *rule;

    if (!has_room(learn, lesson->person, size))
        return -ENOSPC;
    rule = mem_zalloc(1, size);
    if (!rule)
        return -ENOMEM;
    rule->port = lesson->port;
    rule->protocol = (uint8_t)lesson->protocol;
    rule->uid = lesson->uid;
    rule->person = lesson->person;
    rule->size = (uint32_t)size;
    memcpy(rule->file, lesson->file, file_size);
    rule->host = memcpy(rule->file + file_size, host, host_size);
    rule->first = time(NULL);
    learn->bytes += size;
    learn->rules[learn->count++] = rule;
    *ret = rule;
    return 0;
}

static void note(struct learn *learn, const struct lesson *lesson, const char *host)
{
    struct learn_rule *rule = find(learn, lesson, host);

    if (!rule && add(learn, lesson, host, &rule) < 0) {
        learn->dropped++;
        return;
    }
    rule->count++;
    rule->last = time(NULL);
}

static void note_address(struct learn *learn, const struct lesson *lesson,
                         const struct policy_address *addr)
{
    char host[INET6_ADDRSTRLEN];

    note(learn, lesson, inet_ntop(addr->family, addr->bytes, host, sizeof(host)));
}

void learn_note(struct learn *learn, const struct identity *identity,
                const struct policy_nat64 *nat64, const struct policy_question *question,
                const struct policy_answer *answer)
{
    struct lesson lesson = {identity->uid, identity_user(identity),
                            answer->file ? answer->file : "", question->port, question->protocol};
    struct policy_address addr, embedded[POLICY_EMBEDDED_MAX];
    char name[HOST_TEXT_MAX + 1];
    unsigned int count;

    if (!learn)
        return;
    if (question->host) {
        snprintf(name, sizeof(name), "%s", question->host);
        host_lower(name);
        note(learn, &lesson, name);
        return;
    }
    if (!policy_address_from(question->addr, &addr))
        return;
    note_address(learn, &lesson, &addr);
    /* It takes a rule for each of them. */
    count = policy_address_embedded(&addr, nat64, embedded);
    for (unsigned int i = 0; i < count; i++)
        note_address(learn, &lesson, &embedded[i]);
}

int learn_restore(struct learn *learn, const struct learn_past *past)
{
    const struct lesson lesson = {past->uid, past->person, past->file, past->port, past->protocol};
    struct learn_rule *rule = find(learn, &lesson, past->host);
    int r = rule ? 0 : add(learn, &lesson, past->host, &rule);

    if (r == -ENOSPC)
        learn->dropped += past->count;
    if (r < 0)
        return r == -ENOSPC ? 0 : r;
    rule->count += past->count;
    rule->first = past->first;
    rule->last = past->last;
    return 0;
}

void learn_restore_dropped(struct learn *learn, uint64_t dropped)
{
    learn->dropped += dropped;
}

const struct learn_rule *learn_rule_at(const struct learn *learn, uint64_t number)
{
    return learn && number < learn->count ? learn->rules[number] : NULL;
}

uint64_t learn_dropped(const struct learn *learn)
{
    return learn ? learn->dropped : 0;
}
