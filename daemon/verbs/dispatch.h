/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_DISPATCH_H
#define ASOCKD_DISPATCH_H

struct frame;
struct session;

/* A session's dispatch_fn: the verb table, the only way in. */
int dispatch_frame(struct session *s, const struct frame *frame);

#endif
