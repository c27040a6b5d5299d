/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: each rule gets the key of its host; then the rules of each key, in order, claim the
 * ports that none before them has claimed.
 * Failures: no memory.
 */
#include "daemon/policy/index.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "daemon/policy/ports.h"

#define NONE POLICY_INDEX_NONE

/* A host that rules are about. */
struct key {
    struct policy_decision decision;
    uint32_t place, rules; /* of their numbers in index->numbers */
};

struct name_entry {
    struct policy_decision decision;
    uint32_t key;
    uint32_t len;
    char text[]; /* in lower case, padded to whole words */
};

struct slot {
    uint32_t hash, place; /* of the entry, in words of index->names; NONE: the slot is free */
    uint32_t rule;        /* the first one */
};

/* A prefix that rules are about. */
struct net {
    struct policy_decision decision;
    uint32_t key;
    uint32_t prefix;
    uint32_t outer; /* the longest other prefix that contains it; NONE: there is none */
};

/*
 * All addresses of a family, in order: from one begin to the next the longest prefix is the same.
 */
struct ranges {
    uint64_t *high, *low; /* of where they begin */
    uint32_t *net;        /* NONE: no rule is about them */
    size_t count;
};

struct policy_index {
    const struct policy_rule *rules;
    struct key *keys;
    uint32_t key_count;
    uint32_t any;      /* the key of "*" */
    uint32_t *numbers; /* of rules, by key; NULL once it is built */
    struct policy_span *spans;
    uint32_t span_count;
    struct slot *slots; /* names and suffixes */
    uint32_t slot_mask;
    uint32_t *names; /* struct name_entry, one behind the other */
    size_t names_used;
    uint64_t suffixes[5]; /* a bit per length that a suffix has */
    struct net *nets;
    uint32_t net_count;
    struct ranges ranges[2]; /* IPv4, IPv6 */
};

/* ---- names ---- */

/* Words of an entry for a name of so many characters. */
static size_t entry_words(size_t len)
{
    return (sizeof(struct name_entry) + len + sizeof(uint32_t) - 1) / sizeof(uint32_t);
}

static struct name_entry *entry_at(const struct policy_index *index, uint32_t place)
{
    return (struct name_entry *)(void *)(index->names + place);
}

/* The slot of a name in lower case, or the free one where it belongs. */
static struct slot *find_slot(const struct policy_index *index, uint32_t hash, const char *text,
                              size_t len)
{
    for (uint32_t at = hash;; at++) {
        struct slot *slot = &index->slots[at & index->slot_mask];
        const struct name_entry *entry;

        if (slot->place == NONE)
            return slot;
        if (slot->hash != hash)
            continue;
        __builtin_prefetch(&index->rules[slot->rule]); /* on its way while the name is compared */
        entry = entry_at(index, slot->place);
        if (entry->len == len && memcmp(entry->text, text, len) == 0)
            return slot;
    }
}

/* The entry of the name from there on; NULL: no rule is about it. */
static const struct name_entry *find_name(const struct policy_index *index,
                                          const struct policy_name *name, size_t at)
{
    const struct slot *slot;

    if (!index->slots)
        return NULL;
    slot = find_slot(index, name->tails[at], name->text + at, name->len - at);
    if (slot->place == NONE)
        return NULL;
    return entry_at(index, slot->place);
}

static bool has_suffix_of(const struct policy_index *index, size_t len)
{
    return index->suffixes[len / 64] >> len % 64 & 1;
}

/* ---- addresses ---- */

struct place {
    uint64_t high, low;
};

static struct place place_of_net(const uint8_t *bytes)
{
    uint64_t word[2];

    memcpy(word, bytes, sizeof(word));
    return (struct place){be64toh(word[0]), be64toh(word[1])};
}

static int compare_places(struct place a, struct place b)
{
    if (a.high != b.high)
        return a.high < b.high ? -1 : 1;
    return (a.low > b.low) - (a.low < b.low);
}

/* The first address behind the prefix; false: there is none. */
static bool find_end(const struct policy_rule *rule, struct place *ret)
{
    *ret = place_of_net(rule->net);
    if (rule->prefix == 0)
        return false;
    if (rule->prefix > 64) {
        ret->low += UINT64_C(1) << (128 - rule->prefix);
        return ret->low != 0 || ++ret->high != 0;
    }
    ret->high += UINT64_C(1) << (64 - rule->prefix);
    return ret->high != 0;
}

/* The last range that begins there or before. */
static size_t find_range(const struct ranges *ranges, struct place place)
{
    size_t low = 0, n = ranges->count;

    while (n > 1) {
        size_t half = n / 2, at = low + half;
        bool is_behind = ranges->high[at] < place.high ||
                         (ranges->high[at] == place.high && ranges->low[at] <= place.low);

        low = is_behind ? at : low;
        n -= half;
    }
    return low;
}

/* The longest prefix that contains an address, or the prefix itself; NONE. */
static uint32_t find_net(const struct policy_index *index, int family, const uint8_t *bytes)
{
    const struct ranges *ranges = &index->ranges[family == AF_INET6];

    return ranges->net[find_range(ranges, place_of_net(bytes))];
}

/* ---- prefixes into ranges ---- */

static int compare_nets(const void *a, const void *b)
{
    const struct policy_rule *x = *(const struct policy_rule *const *)a;
    const struct policy_rule *y = *(const struct policy_rule *const *)b;
    int r = memcmp(x->net, y->net, sizeof(x->net));

    if (x->family != y->family)
        return x->family == AF_INET ? -1 : 1;
    return r ? r : (x->prefix > y->prefix) - (x->prefix < y->prefix);
}

static void begin_range(struct ranges *ranges, struct place at, uint32_t net)
{
    size_t last = ranges->count - 1;

    if (ranges->count > 0 &&
        compare_places((struct place){ranges->high[last], ranges->low[last]}, at) == 0) {
        ranges->net[last] = net;
        return;
    }
    ranges->high[ranges->count] = at.high;
    ranges->low[ranges->count] = at.low;
    ranges->net[ranges->count++] = net;
}

/*
 * Prefixes that the next one does not lie in end before it; rules: of each prefix, by its number.
 */
static uint32_t end_nets(struct policy_index *index, const struct policy_rule *const *rules,
                         uint32_t open, const struct policy_rule *next)
{
    struct place end;

    while (open != NONE) {
        bool has_end = find_end(rules[open], &end);
        bool is_next_behind = !next || next->family != rules[open]->family ||
                              (has_end && compare_places(end, place_of_net(next->net)) <= 0);

        if (!is_next_behind)
            break;
        if (has_end)
            begin_range(&index->ranges[rules[open]->family == AF_INET6], end,
                        index->nets[open].outer);
        open = index->nets[open].outer;
    }
    return open;
}

/* rules: those about prefixes, sorted; afterwards one of each. */
static void make_ranges(struct policy_index *index, const struct policy_rule **rules, size_t count)
{
    uint32_t open = NONE;

    for (size_t i = 0; i < 2; i++)
        begin_range(&index->ranges[i], (struct place){0, 0}, NONE);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && compare_nets(&rules[index->net_count - 1], &rules[i]) == 0)
            continue;
        open = end_nets(index, rules, open, rules[i]);
        rules[index->net_count] = rules[i];
        index->nets[index->net_count] = (struct net){
            .key = NONE, .prefix = rules[i]->prefix, .outer = open};
        open = index->net_count++;
        begin_range(&index->ranges[rules[open]->family == AF_INET6], place_of_net(rules[open]->net),
                    open);
    }
    end_nets(index, rules, open, NULL);
}

/* The prefix of a rule; NONE for one that no rule of the index has. */
static uint32_t find_own_net(const struct policy_index *index, const struct policy_rule *rule)
{
    uint32_t at = find_net(index, rule->family, rule->net);

    while (at != NONE && index->nets[at].prefix > rule->prefix)
        at = index->nets[at].outer;
    return at;
}

/* ---- keys ---- */

static uint32_t new_key(struct policy_index *index)
{
    index->keys[index->key_count] = (struct key){.rules = 0};
    return index->key_count++;
}

static uint32_t put_name(struct policy_index *index, const struct policy_rule *rule)
{
    struct slot *slot = find_slot(index, rule->name_hash, rule->name, rule->name_len);
    struct name_entry *entry;

    if (slot->place != NONE)
        return entry_at(index, slot->place)->key;
    *slot = (struct slot){rule->name_hash, (uint32_t)index->names_used,
                          (uint32_t)(rule - index->rules)};
    entry = entry_at(index, slot->place);
    entry->key = new_key(index);
    entry->len = rule->name_len;
    memcpy(entry->text, rule->name, rule->name_len);
    index->names_used += entry_words(rule->name_len);
    if (rule->host == RULE_SUFFIX)
        index->suffixes[rule->name_len / 64] |= UINT64_C(1) << rule->name_len % 64;
    return entry->key;
}

static uint32_t put_rule(struct policy_index *index, const struct policy_rule *rule)
{
    struct net *net;

    switch (rule->host) {
    case RULE_NAME:
    case RULE_SUFFIX:
        return put_name(index, rule);
    case RULE_NET:
        net = &index->nets[find_own_net(index, rule)];
        if (net->key == NONE)
            net->key = new_key(index);
        return net->key;
    case RULE_ANY:
        break;
    }
    if (index->any == NONE)
        index->any = new_key(index);
    return index->any;
}

/* ---- decisions ---- */

/* The rules of a key side by side, in order. */
static void sort_rules(struct policy_index *index, const uint32_t *key_of, uint32_t count)
{
    uint32_t place = 0;

    for (uint32_t i = 0; i < count; i++)
        index->keys[key_of[i]].rules++;
    for (uint32_t i = 0; i < index->key_count; i++) {
        index->keys[i].place = place;
        place += index->keys[i].rules;
        index->keys[i].rules = 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct key *key = &index->keys[key_of[i]];

        index->numbers[key->place + key->rules++] = i;
    }
}

/* Of k rules there are less than 2k spans: so much further do the next key's lie. */
static void decide(struct policy_index *index, const struct policy_rule *rules, struct key *key,
                   uint32_t *room)
{
    struct policy_decision *decision = &key->decision;
    const uint32_t *numbers = index->numbers + key->place;

    decision->place = 2 * key->place;
    decision->spans = policy_ports_divide(rules, numbers, key->rules, room,
                                          index->spans + decision->place);
    decision->span = index->spans[decision->place];
    if (decision->spans > 1)
        decision->span.rule = numbers[0];
}

static void decide_all(struct policy_index *index, const struct policy_rule *rules, uint32_t *room)
{
    for (uint32_t i = 0; i < index->key_count; i++)
        decide(index, rules, &index->keys[i], room);
    for (uint32_t i = 0; i < index->net_count; i++)
        index->nets[i].decision = index->keys[index->nets[i].key].decision;
    for (size_t at = 0; at < index->names_used;) {
        struct name_entry *entry = entry_at(index, (uint32_t)at);

        entry->decision = index->keys[entry->key].decision;
        at += entry_words(entry->len);
    }
}

/* ---- the whole ---- */

static int make_slots(struct policy_index *index, size_t names)
{
    size_t cap = 8;

    if (names == 0)
        return 0;
    while (cap < 2 * names)
        cap *= 2;
    index->slots = mem_alloc(cap * sizeof(*index->slots));
    if (!index->slots)
        return -ENOMEM;
    for (size_t i = 0; i < cap; i++)
        index->slots[i].place = NONE;
    index->slot_mask = (uint32_t)(cap - 1);
    return 0;
}

static int allocate_ranges(struct ranges *ranges, size_t nets)
{
    size_t most = 2 * nets + 1;

    ranges->high = mem_alloc(most * sizeof(*ranges->high));
    ranges->low = mem_alloc(most * sizeof(*ranges->low));
    ranges->net = mem_alloc(most * sizeof(*ranges->net));
    return ranges->high && ranges->low && ranges->net ? 0 : -ENOMEM;
}

static int allocate(struct policy_index *index, const struct policy_rule *rules, size_t count)
{
    size_t names = 0, words = 0, nets[2] = {0};

    for (size_t i = 0; i < count; i++) {
        nets[rules[i].family == AF_INET6] += rules[i].host == RULE_NET;
        names += rules[i].name != NULL;
        words += rules[i].name ? entry_words(rules[i].name_len) : 0;
    }
    index->any = NONE;
    index->keys = mem_alloc((count + 1) * sizeof(*index->keys));
    index->numbers = mem_alloc((count + 1) * sizeof(*index->numbers));
    index->span_count = (uint32_t)(2 * count + 1);
    index->spans = mem_zalloc(index->span_count, sizeof(*index->spans));
    index->nets = mem_alloc((nets[0] + nets[1] + 1) * sizeof(*index->nets));
    index->names = mem_alloc((words + 1) * sizeof(*index->names));
    if (!index->keys || !index->numbers || !index->spans || !index->nets || !index->names ||
        allocate_ranges(&index->ranges[0], nets[0]) < 0 ||
        allocate_ranges(&index->ranges[1], nets[1]) < 0)
        return -ENOMEM;
    return make_slots(index, names);
}

static int sort_nets(struct policy_index *index, const struct policy_rule *rules, size_t count)
{
    const struct policy_rule **nets = mem_alloc((count + 1) * sizeof(struct policy_rule *));
    size_t n = 0;

    if (!nets)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        if (rules[i].host == RULE_NET)
            nets[n++] = &rules[i];
    if (n > 0)
        qsort(nets, n, sizeof(*nets), compare_nets);
    make_ranges(index, nets, n);
    mem_free(nets);
    return 0;
}

static int build(struct policy_index *index, const struct policy_rule *rules, uint32_t count)
{
    uint32_t *room = mem_alloc((6 * (size_t)count + 1) * sizeof(*room));

    if (!room)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        room[i] = put_rule(index, &rules[i]); /* its key, for the moment */
    sort_rules(index, room, count);
    decide_all(index, rules, room);
    mem_free(room);
    index->numbers = mem_free(index->numbers);
    return 0;
}

int policy_index_new(const struct policy_rule *rules, size_t count, struct policy_index **ret)
{
    struct policy_index *index = mem_zalloc(1, sizeof(*index));
    int r;

    if (!index)
        return -ENOMEM;
    index->rules = rules;
    r = allocate(index, rules, count);
    if (r == 0)
        r = sort_nets(index, rules, count);
    if (r == 0)
        r = build(index, rules, (uint32_t)count);
    if (r < 0)
        policy_index_free(index);
    else
        *ret = index;
    return r;
}

struct policy_index *policy_index_free(struct policy_index *index)
{
    if (!index)
        return NULL;
    mem_free(index->keys);
    mem_free(index->numbers);
    mem_free(index->spans);
    mem_free(index->slots);
    mem_free(index->names);
    mem_free(index->nets);
    for (size_t i = 0; i < 2; i++) {
        mem_free(index->ranges[i].high);
        mem_free(index->ranges[i].low);
        mem_free(index->ranges[i].net);
    }
    return mem_free(index);
}

/* ---- questions ---- */

static uint32_t first_of_name(const struct policy_index *index, const struct policy_name *name,
                              uint16_t port, uint32_t best)
{
    const struct name_entry *entry;

    for (size_t i = 0; index->slots && i < name->len; i++)
        if (i == 0 || (name->text[i] == '.' && has_suffix_of(index, name->len - i)))
            __builtin_prefetch(&index->slots[name->tails[i] & index->slot_mask]);
    entry = find_name(index, name, 0);
    if (entry)
        best = policy_ports_first(index->spans, &entry->decision, port, best);
    for (size_t i = 1; i < name->len; i++) {
        if (name->text[i] != '.' || !has_suffix_of(index, name->len - i))
            continue;
        entry = find_name(index, name, i);
        if (entry)
            best = policy_ports_first(index->spans, &entry->decision, port, best);
    }
    return best;
}

static uint32_t first_of_address(const struct policy_index *index,
                                 const struct policy_address *addr, uint16_t port, uint32_t best)
{
    uint32_t at = find_net(index, addr->family, addr->bytes);

    for (; at != NONE; at = index->nets[at].outer)
        best = policy_ports_first(index->spans, &index->nets[at].decision, port, best);
    return best;
}

uint32_t policy_index_find(const struct policy_index *index, const struct policy_name *name,
                           const struct policy_address *addr, uint16_t port)
{
    uint32_t best = NONE;

    if (index->any != NONE && (name->is_there || addr))
        best = policy_ports_first(index->spans, &index->keys[index->any].decision, port, best);
    if (name->len > 0)
        best = first_of_name(index, name, port, best);
    if (addr)
        best = first_of_address(index, addr, port, best);
    return best;
}

static uint16_t until_of_name(const struct policy_index *index, const struct policy_name *name,
                              uint16_t port, uint16_t until)
{
    const struct name_entry *entry;

    for (size_t i = 0; i < name->len; i++) {
        if (i > 0 && (name->text[i] != '.' || !has_suffix_of(index, name->len - i)))
            continue;
        entry = find_name(index, name, i);
        if (entry)
            until = policy_ports_until(index->spans, &entry->decision, port, until);
    }
    return until;
}

uint16_t policy_index_until(const struct policy_index *index, const struct policy_name *name,
                            const struct policy_address *addr, uint16_t port)
{
    uint16_t until = UINT16_MAX;

    if (index->any != NONE)
        until = policy_ports_until(index->spans, &index->keys[index->any].decision, port, until);
    if (name->len > 0)
        until = until_of_name(index, name, port, until);
    if (!addr)
        return until;
    for (uint32_t at = find_net(index, addr->family, addr->bytes); at != NONE;
         at = index->nets[at].outer)
        until = policy_ports_until(index->spans, &index->nets[at].decision, port, until);
    return until;
}

/* ---- covering hosts ---- */

static void visit_names(const struct policy_index *index, const struct policy_rule *rule,
                        policy_decision_fn callback, void *data)
{
    const struct name_entry *entry;
    struct policy_name name;

    policy_name_init(&name, rule->name);
    for (size_t i = 0; i < name.len; i++) {
        entry = i == 0 || name.text[i] == '.' ? find_name(index, &name, i) : NULL;
        if (entry)
            callback(data, &entry->decision);
    }
}

void policy_index_covering(const struct policy_index *index, const struct policy_rule *rule,
                           policy_decision_fn callback, void *data)
{
    if (index->any != NONE)
        callback(data, &index->keys[index->any].decision);
    if (rule->host == RULE_NET)
        for (uint32_t at = find_own_net(index, rule); at != NONE; at = index->nets[at].outer)
            callback(data, &index->nets[at].decision);
    else if (rule->host != RULE_ANY)
        visit_names(index, rule, callback, data);
}

const struct policy_decision *policy_index_any(const struct policy_index *index)
{
    return index->any != NONE ? &index->keys[index->any].decision : NULL;
}

const struct policy_span *policy_index_spans(const struct policy_index *index, uint32_t *ret_count)
{
    *ret_count = index->span_count;
    return index->spans;
}
