/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_DNS_H
#define ASOCKD_DNS_H

/*
 * Questions to name servers, with c-ares on the worker's loop. Each question has a c-ares channel
 * of its own while there are few, so it leaves from a UDP port that the kernel has just chosen at
 * random, with an id that c-ares takes from a stream keyed by /dev/urandom. A server that did not
 * answer in time is asked last for a while.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "daemon/names/resolver.h"

struct channel;
struct dns;
struct dns_question;
struct ev_loop;

#define DNS_SERVERS_MAX 8u /* resolv.conf(5) has three */
/*
 * With questions at the same time. Each takes 72 KB, and a descriptor for each server that is
 * asked.
 */
#define DNS_CHANNELS_MAX 16u
/* A server that did not answer in time is asked last for so long. */
#define DNS_SILENT_MS 60000u

struct dns_settings {
    union resolver_address servers[DNS_SERVERS_MAX]; /* with their ports */
    unsigned int server_count;
    int timeout_ms; /* of the first round; each round of the servers doubles it */
    int tries;      /* rounds */
    bool rotates;   /* the first server is another one each time */
};

/* result->error may be ERR_OPERATION_ABORTED: it was given up. The question may be freed. */
typedef void (*dns_fn)(struct dns_question *question, const struct resolver_result *result);

/* Embedded by whoever asks. */
struct dns_question {
    struct channel *channel; /* NULL: it is not with c-ares */
    uint64_t started;
    dns_fn answered;
    bool is_wanted;
};

/* -ENOMEM, -EIO: c-ares. */
int dns_new(struct ev_loop *loop, const struct dns_settings *settings, struct dns **ret);
struct dns *dns_free(struct dns *dns); /* gives up all questions; accepts NULL; returns it */

/*
 * From the next question on; the others end with the servers that they were asked of. -ENOMEM,
 * -EIO: as before.
 */
int dns_configure(struct dns *dns, const struct dns_settings *settings);

/* `answered` may be called from inside. */
void dns_ask(struct dns *dns, struct dns_question *question, const char *name, int family,
             dns_fn answered);

/*
 * It is not waited for any more. c-ares cannot give up a single question: it is answered
 * ERR_OPERATION_ABORTED from inside if the others of its channel are unwanted too, else it goes on.
 * dns_want() takes that back.
 */
void dns_give_up(struct dns_question *question);
void dns_want(struct dns_question *question);
/* The servers are still those that it is asked of. */
bool dns_is_current(const struct dns_question *question);
/* Whoever waits has waited for long enough: which servers have been silent meanwhile? */
void dns_note_late(const struct dns_question *question);

#endif
