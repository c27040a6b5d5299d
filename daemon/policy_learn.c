/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/policy_learn.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/host.h"
#include "daemon/policy.h"

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

/* Not tolower(3): names are ASCII here, and the locale has no say in them. */
static void lower(const char *text, char ret[static HOST_TEXT_MAX + 1])
{
    size_t i;

    for (i = 0; text[i] && i < HOST_TEXT_MAX; i++)
        ret[i] = text[i] >= 'A' && text[i] <= 'Z' ? (char)(text[i] + 'a' - 'A') : text[i];
    ret[i] = '\0';
}

static void write_host(const struct policy_question *question, char ret[static HOST_TEXT_MAX + 1])
{
    const struct sockaddr *addr = question->addr;

    if (question->host)
        lower(question->host, ret);
    else if (addr->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)addr)->sin_addr, ret, HOST_TEXT_MAX + 1);
    else
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)addr)->sin6_addr, ret,
                  HOST_TEXT_MAX + 1);
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

void learn_note(struct learn *learn, const struct policy_question *question,
                const struct policy_answer *answer)
{
    const char *file = answer->file ? answer->file : "";
    char host[HOST_TEXT_MAX + 1];
    struct learn_rule *rule;

    if (!learn)
        return;
    write_host(question, host);
    rule = find(learn, file, host, question->port);
    if (!rule)
        rule = add(learn, file, host, question->port);
    if (!rule) {
        learn->dropped++;
        return;
    }
    rule->count++;
    rule->last = time(NULL);
}

const struct learn_rule *learn_rule_at(const struct learn *learn, uint64_t number)
{
    return learn && number < learn->count ? learn->rules[number] : NULL;
}

uint64_t learn_dropped(const struct learn *learn)
{
    return learn ? learn->dropped : 0;
}
