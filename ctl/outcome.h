/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_OUTCOME_H
#define CTL_OUTCOME_H

/*
 * Exit statuses, documented: what an operation's end is, of connect and resolve alike; and what
 * asking came to.
 */
enum {
    EXIT_DENIED = 3,    /* policy */
    EXIT_REFUSED = 4,   /* the peer does not want it */
    EXIT_NO_NAME = 5,   /* the name does not exist, or has no address */
    EXIT_TIMED_OUT = 6, /* no answer in time */
    EXIT_NO_SUCH = 7,   /* no socket or session of that id, or that fits */
    EXIT_NO_DAEMON = 8, /* it cannot be reached, does not answer, or is gone */
};

/* error: an enum asock_error; 0 is success, whatever has no status of its own EXIT_FAILURE. */
int outcome_exit_status(int error);

/* Of the daemon's text for a failed op, with the error's own words. */
#define OUTCOME_MAX 640u

/*
 * "access denied by policy (no rule allows this destination)", or the text alone if it says what
 * the error is. host is what the user asked for: a text about nothing else does not repeat it. text
 * may be NULL.
 */
void outcome_describe(const char *host, int error, const char *text, char out[static OUTCOME_MAX]);

#endif
