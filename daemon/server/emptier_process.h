/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_EMPTIER_PROCESS_H
#define ASOCKD_EMPTIER_PROCESS_H

/* The other side of daemon/wire/emptier.h. */
#include <stdbool.h>

#include "daemon/wire/emptier.h"

/* Before the first thread. The socket for emptier_attach(), or -errno. */
int emptier_fork(bool without_filter);

#endif
