/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_CACHE_H
#define ASOCKD_CACHE_H

/*
 * Answers of name servers that are kept for a while, each for the user that asked: no user can find
 * out what others have asked for. An entry lives as long as its records say, a minute at most, and
 * is charged to the user as memory.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/names/resolver.h"

struct cache;
struct quota;

#define CACHE_LIFE_MS 60000u    /* at most */
#define CACHE_USER_ENTRIES 256u /* of a user: then the oldest goes */
#define CACHE_ENTRIES 4096u     /* of all: then nothing more is kept */

/* NULL without memory. */
struct cache *cache_new(struct ev_loop *loop);
struct cache *cache_free(struct cache *cache); /* accepts NULL; returns it */
/* The servers have changed. */
void cache_clear(struct cache *cache);

/*
 * quota: whoever asks; what counts is the user above it, and without one nothing is kept. name: in
 * lower case. What does not fit is not kept. result: a success.
 */
void cache_put(struct cache *cache, struct quota *quota, const char *name, int family,
               const struct resolver_result *result);
/* False: it is not there. */
bool cache_find(struct cache *cache, struct quota *quota, const char *name, int family,
                struct resolver_result *ret);

#endif
