/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_SIM_COUNTS_H
#define ASOCK_SIM_COUNTS_H

/* No counter goes back when the daemon is restarted. */
struct worker;

void counts_remember(const struct worker *w); /* the one that hands over */
void counts_check(const struct worker *w);    /* the one that has taken over */

#endif
