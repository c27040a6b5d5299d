/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/fake_names.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/destination.h"
#include "gateway/packet.h"

#define FIRST_BUCKETS 64u

static const uint8_t prefix4[] = {198, 18}; /* of 15 bits */
static const uint8_t prefix6[] = FAKE_PREFIX6;
/* Of the prefix, ::1:n; the link has ::0:n. */
#define SUBNET_BYTE 13

struct fake_name {
    struct fake_name *next; /* in its bucket */
    uint32_t hash;
    unsigned int number;
    char text[];
};

static uint32_t hash_of(const char *text)
{
    uint32_t hash = 2166136261u;

    while (*text)
        hash = (hash ^ (uint8_t)*text++) * 16777619u;
    return hash;
}

void fake_names_init(struct fake_names *names)
{
    *names = (struct fake_names){0};
}

void fake_names_deinit(struct fake_names *names)
{
    for (unsigned int i = 0; i < names->count; i++)
        free(names->by_number[i]);
    free(names->by_number);
    free(names->buckets);
    fake_names_init(names);
}

/* As many buckets as places for names. */
static bool grow(struct fake_names *names)
{
    unsigned int size = names->size ? names->size * 2 : FIRST_BUCKETS;
    struct fake_name **by_number, **buckets;

    if (names->count < names->size)
        return true;
    by_number = realloc(names->by_number, size * sizeof(struct fake_name *));
    if (!by_number)
        return false;
    names->by_number = by_number;
    buckets = calloc(size, sizeof(struct fake_name *));
    if (!buckets)
        return false;
    for (unsigned int i = 0; i < names->count; i++) {
        struct fake_name *name = by_number[i], **bucket = &buckets[name->hash & (size - 1)];

        name->next = *bucket;
        *bucket = name;
    }
    free(names->buckets);
    names->buckets = buckets;
    names->size = size;
    return true;
}

unsigned int fake_names_add(struct fake_names *names, const char *text)
{
    uint32_t hash = hash_of(text);
    size_t size = strlen(text) + 1;
    struct fake_name *name = NULL;

    if (names->size)
        name = names->buckets[hash & (names->size - 1)];
    while (name && (name->hash != hash || strcmp(name->text, text) != 0))
        name = name->next;
    if (name)
        return name->number;
    if (names->count == FAKE_NAMES_MAX || !grow(names))
        return 0;
    name = malloc(sizeof(*name) + size);
    if (!name)
        return 0;
    *name = (struct fake_name){.hash = hash, .number = names->count + 1};
    memcpy(name->text, text, size);
    name->next = names->buckets[hash & (names->size - 1)];
    names->buckets[hash & (names->size - 1)] = name;
    names->by_number[names->count++] = name;
    return name->number;
}

void fake_names_address(unsigned int number, int family, struct in6_addr *ret)
{
    uint8_t *bytes = ret->s6_addr;

    *ret = (struct in6_addr){0};
    if (family == AF_INET) {
        bytes[0] = prefix4[0];
        bytes[1] = prefix4[1] | 1;
        bytes[2] = (uint8_t)(number >> 8);
        bytes[3] = (uint8_t)number;
        return;
    }
    memcpy(bytes, prefix6, sizeof(prefix6));
    bytes[SUBNET_BYTE] = 1;
    bytes[14] = (uint8_t)(number >> 8);
    bytes[15] = (uint8_t)number;
}

const char *fake_names_find(const struct fake_names *names, const struct in6_addr *address,
                            bool *is_fake)
{
    const uint8_t *bytes = address->s6_addr;
    unsigned int number = (unsigned int)bytes[14] << 8 | bytes[15];
    struct in6_addr own;

    if (IN6_IS_ADDR_V4MAPPED(address)) {
        *is_fake = bytes[12] == prefix4[0] && (bytes[13] & 0xfe) == prefix4[1];
        if (!*is_fake || bytes[13] == prefix4[1])
            return NULL;
    } else {
        *is_fake = memcmp(bytes, prefix6, sizeof(prefix6)) == 0;
        fake_names_address(number, AF_INET6, &own);
        if (!*is_fake || memcmp(&own, address, sizeof(own)) != 0)
            return NULL;
    }
    return number >= 1 && number <= names->count ? names->by_number[number - 1]->text : NULL;
}

bool fake_names_destination(const struct fake_names *names, const struct flow *flow,
                            struct destination *ret)
{
    bool is_fake;
    const char *name = fake_names_find(names, &flow->target, &is_fake);
    char text[INET6_ADDRSTRLEN];

    if (is_fake && !name)
        return false;
    if (!name) {
        if (IN6_IS_ADDR_V4MAPPED(&flow->target))
            inet_ntop(AF_INET, &flow->target.s6_addr[12], text, sizeof(text));
        else
            inet_ntop(AF_INET6, &flow->target, text, sizeof(text));
        name = text;
    }
    return destination_set(ret, name, strlen(name), flow->target_port);
}
