/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_CONNECTIONS_H
#define ASOCK_TESTS_SIM_CONNECTIONS_H

/* Which of the kernel's connections is a stream's: one connect may try several. */
struct stream;
struct submission;

/* Of a connect that has ended with success. */
void connections_find(struct submission *s);
/*
 * Where something was received, or its end told, before that. A connect with data has its end
 * behind that data; the connection is in use before.
 */
void connections_guess(struct stream *stream);

#endif
