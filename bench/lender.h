/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_LENDER_H
#define BENCH_LENDER_H

/*
 * What bench-client and bench-lender send each other. A request begins with the server's address, a
 * struct sockaddr_in; the answer begins with the socket's own, and carries the socket. Both are
 * about as long as what asockd and its client send for a socket: a close of the one before and a
 * connect, and their completions.
 */
#define LENDER_REQUEST 83u
#define LENDER_ANSWER 70u

#endif
