/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_MULTISHOT_H
#define ASOCK_TESTS_MULTISHOT_H

/* Multishot receives of a stream that is a pattern. */

#include "tests/lib/fixture.h"

/* What the callbacks of a multishot have seen. */
struct seen {
    int calls, ends;
    uint64_t bytes, mismatches;
    int error;
    unsigned int flags;
    bool had_slice; /* the last one */
    bool takes;     /* keeps what it gets */
    char *taken[64];
    int taken_count;
    asock_socket *again; /* submits it there again when its credit is used up */
    asock_op *cancels;   /* ends this one, once */
    void (*then)(struct seen *seen, asock_op *op);
    void *userdata; /* of then */
};

/* The callback of an op whose userdata is a struct seen. */
void see(asock_op *op, void *userdata);
asock_pool *new_pool(size_t slice_len, size_t count);
asock_op *new_multishot(asock_pool *pool, struct seen *seen); /* NULL: without a callback */
void write_pattern(int fd, uint64_t from, size_t len);

#endif
