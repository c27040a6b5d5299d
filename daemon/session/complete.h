/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_COMPLETE_H
#define ASOCKD_COMPLETE_H

#include <stdint.h>

#include "daemon/session/op.h"

/*
 * The only way out of an op: success, error, cancel, timeout, close, denial. Takes it out of its
 * queue, gives back what it held, and sends its reply or leaves it for when there is room. The op
 * is gone for the caller, and so are those behind a send that failed; its socket and its session
 * are not. It is never called while it is at work: an op class's stop() and cleanup() end no op.
 */
void complete(struct op *op, uint32_t error);

/*
 * The same for a receive whose len bytes were read behind `gap` bytes of session_reserve()'s place.
 * guess: as in session_commit().
 */
void complete_receive(struct op *op, const struct reply *guess, uint8_t *place, size_t gap,
                      size_t len);

/* The deadline of every op ends here. */
void complete_timed_out(struct deadline *deadline);

#endif
