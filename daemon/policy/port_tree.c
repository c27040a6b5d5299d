/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A segment tree: node 1 has all ports, node n has nodes 2n and 2n + 1, node PORTS + p has port p
 * alone.
 */
#include "daemon/policy/port_tree.h"

#include <string.h>

#include "base/alloc.h"

#define PORTS 65536u

struct port_tree {
    uint32_t whole[2 * PORTS]; /* least number of a range that has all of the node's ports */
    uint32_t some[2 * PORTS];  /* ... some of them */
};

struct port_tree *policy_port_tree_new(void)
{
    struct port_tree *tree = mem_alloc(sizeof(*tree));

    if (tree)
        policy_port_tree_clear(tree);
    return tree;
}

struct port_tree *policy_port_tree_free(struct port_tree *tree)
{
    return mem_free(tree);
}

void policy_port_tree_clear(struct port_tree *tree)
{
    memset(tree, 0xff, sizeof(*tree)); /* PORT_TREE_NONE */
}

static void lower(uint32_t *value, uint32_t number)
{
    if (number < *value)
        *value = number;
}

static void put_node(struct port_tree *tree, uint32_t node, uint32_t number)
{
    lower(&tree->whole[node], number);
    for (; node > 0; node /= 2)
        lower(&tree->some[node], number);
}

void policy_port_tree_put(struct port_tree *tree, uint16_t first, uint16_t last, uint32_t number)
{
    uint32_t low = PORTS + first, high = PORTS + last + 1;

    for (; low < high; low /= 2, high /= 2) {
        if (low & 1)
            put_node(tree, low++, number);
        if (high & 1)
            put_node(tree, --high, number);
    }
}

static void look_at(const struct port_tree *tree, uint32_t node, uint32_t *least)
{
    lower(least, tree->some[node]);
    for (; node > 0; node /= 2)
        lower(least, tree->whole[node]);
}

uint32_t policy_port_tree_least(const struct port_tree *tree, uint16_t first, uint16_t last)
{
    uint32_t low = PORTS + first, high = PORTS + last + 1, least = PORT_TREE_NONE;

    for (; low < high; low /= 2, high /= 2) {
        if (low & 1)
            look_at(tree, low++, &least);
        if (high & 1)
            look_at(tree, --high, &least);
    }
    return least;
}
