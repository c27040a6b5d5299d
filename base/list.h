/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_BASE_LIST_H
#define ASOCK_BASE_LIST_H

/*
 * Intrusive doubly linked list. A node that is in no list points at itself, so that removing it
 * again does nothing and list_is_linked() tells.
 */
#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev, *next;
};

#define container_of(pointer, type, member)                                                        \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->prev = l->next = l;
}

static inline bool list_is_empty(const struct list *l)
{
    return l->next == l;
}

static inline bool list_is_linked(const struct list *node)
{
    return node->next != node;
}

static inline void list_insert_before(struct list *at, struct list *node)
{
    node->prev = at->prev;
    node->next = at;
    at->prev->next = node;
    at->prev = node;
}

static inline void list_append(struct list *l, struct list *node)
{
    list_insert_before(l, node);
}

static inline void list_prepend(struct list *l, struct list *node)
{
    list_insert_before(l->next, node);
}

static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* Moves everything of `from` behind the last node of `to`; `from` is empty afterwards. */
static inline void list_splice(struct list *to, struct list *from)
{
    if (list_is_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

/*
 * A queue whose head is one word, for objects that there are many of: the nodes are in a ring. A
 * node that is alone in its ring looks like one that is in none, so ring_remove() needs the ring.
 */
struct ring {
    struct list *first; /* NULL: empty */
};

static inline bool ring_is_empty(const struct ring *ring)
{
    return !ring->first;
}

/* NULL: it is the last one. */
static inline struct list *ring_next(const struct ring *ring, const struct list *node)
{
    return node->next == ring->first ? NULL : node->next;
}

/* NULL: it is the first one. */
static inline struct list *ring_previous(const struct ring *ring, const struct list *node)
{
    return node == ring->first ? NULL : node->prev;
}

static inline struct list *ring_last_node(const struct ring *ring)
{
    return ring->first ? ring->first->prev : NULL;
}

/* at: a node of the ring; NULL: behind all of them. */
static inline void ring_insert_before(struct ring *ring, struct list *at, struct list *node)
{
    if (ring->first)
        list_insert_before(at ? at : ring->first, node);
    if (ring->first == at)
        ring->first = node;
}

static inline void ring_append(struct ring *ring, struct list *node)
{
    ring_insert_before(ring, NULL, node);
}

/* Of this ring, or of none. */
static inline void ring_remove(struct ring *ring, struct list *node)
{
    if (ring->first == node)
        ring->first = ring_next(ring, node);
    list_remove(node);
}

/*
 * A walk through a list whose nodes come and go meanwhile: it stands before `next`, or at the end
 * of the list. Whoever removes a node says so first, by walks_leave().
 */
struct walk {
    struct list node; /* among the walks through that list */
    struct list *next;
};

static inline void walk_begin(struct walk *walk, struct list *walks, struct list *l)
{
    list_append(walks, &walk->node);
    walk->next = l->next;
}

static inline void walk_end(struct walk *walk)
{
    list_remove(&walk->node);
}

#define list_first(l, type, member)                                                                \
    (list_is_empty(l) ? NULL : container_of((l)->next, type, member))
#define list_last(l, type, member) (list_is_empty(l) ? NULL : container_of((l)->prev, type, member))

#define ring_first(ring, type, member)                                                             \
    (ring_is_empty(ring) ? NULL : container_of((ring)->first, type, member))

#define list_for_each(l, it) for (struct list *it = (l)->next; it != (l); it = it->next)

static inline void walks_leave(struct list *walks, const struct list *node)
{
    list_for_each (walks, it) {
        struct walk *walk = container_of(it, struct walk, node);

        if (walk->next == node)
            walk->next = node->next;
    }
}

/* `it` may be removed inside the loop; no other node may. */
#define list_for_each_safe(l, it)                                                                  \
    for (struct list *it = (l)->next, *it##_next = it->next; it != (l);                            \
         it = it##_next, it##_next = it->next)

/* The same of a ring. */
#define ring_for_each(ring, it) for (struct list *it = (ring)->first; it; it = ring_next(ring, it))

#define ring_for_each_back(ring, it)                                                               \
    for (struct list *it = ring_last_node(ring); it; it = ring_previous(ring, it))

#define ring_for_each_safe(ring, it)                                                               \
    for (struct list *it = (ring)->first, *it##_next = it ? ring_next(ring, it) : NULL; it;        \
         it = it##_next, it##_next = it ? ring_next(ring, it) : NULL)

#endif
