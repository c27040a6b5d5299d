/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_VERDICT_H
#define ASOCKD_VERDICT_H

/* What policy would say of a connect, as records; no connect is made. */
#include <stdbool.h>
#include <stdint.h>

struct destination;
struct policy;
struct policy_view;
struct question;
struct record;

/* Who is judged. */
struct judged {
    const struct policy_view *view;
    uint64_t session;    /* its id; 0: the client is only thought of */
    uint64_t sessions;   /* that its process has */
    uint64_t generation; /* of the policy: how often there was another one */
    bool sees_files;     /* an administrator asks: the answer names files and facts */
    bool may_not_lend;   /* the session came by a listener that does not share lending */
};

/* Texts live as long as the view. */
void verdict_record(const struct judged *judged, const struct destination *to, struct record *ret);

/*
 * The number-th answer that the client would get if facts that question has not given were others.
 * Without fields: there are less.
 */
void verdict_also(const struct judged *judged, const struct question *question,
                  const struct destination *to, uint64_t number, struct record *ret);

/*
 * A line of the policy, from 0 on; without fields: there are less. judged->view NULL: of all files.
 */
void verdict_row(const struct policy *policy, const struct judged *judged, uint64_t number,
                 struct record *ret);
/* A rule of the session's restrictions, likewise. */
void verdict_restriction(const struct policy *policy, const struct judged *judged, uint64_t number,
                         struct record *ret);

#endif
