/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SETTLE_H
#define ASOCKD_SETTLE_H

/*
 * What the end of an op means for its socket, beyond those behind it: a connect that failed ends
 * everything that waited for it; a close that lingers goes on, and perhaps the socket with it.
 * complete() puts the socket into session->settling; this runs as soon as the request, step,
 * deadline or callback that the op has ended in is over (worker_settle()), so that no socket goes
 * while one of these works with it.
 */
struct task;

/* session->settle */
void session_run_settle(struct task *task);

#endif
