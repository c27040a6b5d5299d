/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_PORT_TREE_H
#define ASOCKD_POLICY_PORT_TREE_H

/*
 * Ranges of ports with a number each, and the least number of those that share a port with another
 * range.
 */
#include <stdint.h>

#define PORT_TREE_NONE UINT32_MAX

struct port_tree;

/* Empty. NULL without memory. */
struct port_tree *policy_port_tree_new(void);
struct port_tree *policy_port_tree_free(struct port_tree *tree); /* accepts NULL; returns it */
void policy_port_tree_clear(struct port_tree *tree);
void policy_port_tree_put(struct port_tree *tree, uint16_t first, uint16_t last, uint32_t number);
/* PORT_TREE_NONE: no range shares a port with this one. */
uint32_t policy_port_tree_least(const struct port_tree *tree, uint16_t first, uint16_t last);

#endif
