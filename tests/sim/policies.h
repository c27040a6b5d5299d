/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_POLICIES_H
#define ASOCK_TESTS_SIM_POLICIES_H

/*
 * Who may listen where, by the policy of the simulated daemon; and reloads, which take another one.
 * Files are read as by the loader's thread: a while after they were asked for.
 */
#include <stdbool.h>
#include <stdint.h>

#define POLICIES 5u

struct policy;
struct worker;

/* With the daemon: its policy gets the rules about listening. */
void policies_begin(struct worker *w, struct policy *(*make)(void));
/* As if the files were invalid now: what comes with a state takes their place. */
void policies_invalidate(void);
/* It was restored, and is the one of that number, instead of the one that was read. */
void policies_kept(uint32_t number);
void policies_end(struct worker *w);
void policies_drop(void); /* its process was killed */

/*
 * What the next reload will find, and whether it ends connections; until it is settled that it was
 * the last one.
 */
void policies_choose(uint32_t number, bool closes);
void policies_settled(void);
bool policies_may_close(void);
/* How often the policy has changed, and which one it is. */
unsigned int policies_changes(void);
uint32_t policies_number(void);
/*
 * May a client listen there; may a peer connect there? By IPv6 the local address and the peer; all:
 * both families.
 */
bool policies_let_listen(uint32_t number, bool is_in6, bool is_all);
/* Groups of 239.1.0.0/16 and ff15::/16. */
bool policies_let_group(uint32_t number);
bool policies_let_in(uint32_t number, bool is_in6, unsigned int host);

#endif
