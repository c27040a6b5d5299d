/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_CONNECT_REPORT_H
#define ASOCKD_CONNECT_REPORT_H

/*
 * How a connect went: the rule that decided, who resolved the name, the addresses that were tried,
 * how long each took. The audit has all of it, the failed completion a short form, and SHOW what a
 * socket keeps of its last connect. A session keeps reports that are equal only once, so an
 * ordinary idle connection has a pointer and no memory of its own.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "daemon/names/resolver.h"
#include "proto/codec.h"

struct quota;

#define REPORT_LOOKUPS 2u      /* A and AAAA */
#define REPORT_ATTEMPTS_MAX 8u /* described; further ones are counted */
#define REPORT_RULE_MAX 320u   /* with the NUL */
#define REPORT_TEXT_MAX 1024u  /* of the lookups, and of the attempts, with the NUL */
#define REPORT_REASON_MAX 512u /* of the short form, with the NUL */

enum report_outcome {
    REPORT_WAITS, /* not begun */
    REPORT_RUNS,
    REPORT_OK,
    REPORT_FAILED,   /* with the error */
    REPORT_DENIED,   /* by policy */
    REPORT_GIVEN_UP, /* the connect ended first */
};

/* Without padding: they are compared as bytes. */
struct report_lookup {
    struct endpoint server; /* of RESOLVER_SERVER; else address_len 0 */
    uint32_t ms;
    uint16_t error;
    uint8_t outcome; /* enum report_outcome; REPORT_WAITS: it was not needed */
    uint8_t source;  /* enum resolver_source */
};

struct report_attempt {
    struct endpoint address; /* the port is the connect's */
    uint32_t ms;
    uint16_t error;
    uint16_t outcome; /* enum report_outcome */
};

struct connect_report {
    uint32_t ms;      /* of the whole connect */
    uint32_t further; /* attempts beyond those below */
    uint32_t untried; /* addresses */
    uint32_t attempt_count;
    uint32_t error; /* of the connect, such as a limit; ERR_SUCCESS also while it goes on */
    struct report_lookup lookups[REPORT_LOOKUPS];        /* A, AAAA */
    struct report_attempt attempts[REPORT_ATTEMPTS_MAX]; /* in the order of their beginnings */
    char rule[REPORT_RULE_MAX];                          /* "file:line"; "": none decided */
};

/* Nothing was resolved or tried. */
void connect_report_init(struct connect_report *report);
/* result: as answered. */
void connect_report_answered(struct report_lookup *lookup, uint32_t ms,
                             const struct resolver_result *result);
void connect_report_attempt(struct connect_report *report, const struct report_attempt *attempt);

/*
 * "IPv4 server 192.0.2.53:53 Success 12, IPv6 server 192.0.2.53:53 NoData 14". Each is FAMILY
 * SOURCE RESULT MS; the source is "nobody", "literal", "hosts", "cache" or "server", which has the
 * server's address behind it unless it is `for_client`. The result is Success, the name of an
 * error, "running" or "given-up". "": no name was resolved.
 */
void connect_report_write_lookups(const struct connect_report *report, bool for_client,
                                  char out[static REPORT_TEXT_MAX]);
/*
 * "192.0.2.1 TimedOut 5000, 2001:db8::1 Success 3": ADDRESS RESULT MS; results as above, or
 * "denied". "": none was tried. for_client: the address of a denied one is "hidden", because
 * RESOLVE does not tell it either.
 */
void connect_report_write_attempts(const struct connect_report *report, bool for_client,
                                   char out[static REPORT_TEXT_MAX]);
/*
 * Why it failed, for people: "192.0.2.1: timed out after 5.0 s; 2001:db8::1: no route to host".
 * error: of the connect. This is for the client: name servers and denied addresses are not part of
 * it. "": there is nothing to say.
 */
void connect_report_write_reason(const struct connect_report *report, uint32_t error,
                                 char out[static REPORT_REASON_MAX]);

/* ---- what sockets keep ---- */

struct kept_report;

/*
 * kept: of one session, `list_init`ed. Returns a reference to a report that is equal, or NULL if
 * there is no room. The address that was connected to is not kept. quota NULL: nothing is charged.
 */
struct kept_report *connect_report_keep(struct list *kept, struct quota *quota,
                                        const struct connect_report *report);
/* Accepts NULL; returns it. */
struct kept_report *connect_report_drop(struct kept_report *report);
/* connected: where to. */
void connect_report_open(const struct kept_report *kept, const struct endpoint *connected,
                         struct connect_report *ret);
/* The session ends; its sockets may have theirs for longer. */
void connect_report_forget(struct list *kept);

#endif
