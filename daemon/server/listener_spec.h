/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_LISTENER_SPEC_H
#define ASOCKD_LISTENER_SPEC_H

/* A clients' listener as the administrator has it: [Listener] of asockd.conf(5). */
#include <stdbool.h>
#include <sys/types.h>
#include <sys/un.h>

#include "daemon/session/sharing.h"

/* From the service manager, or our own. Each costs a descriptor. */
#define LISTENERS_MAX 64u
/* Bytes of its name without the NUL. */
#define LISTENER_NAME_MAX 31u
#define LISTENER_PATH_BYTES sizeof(((struct sockaddr_un *)0)->sun_path)

struct listener_spec {
    char name[LISTENER_NAME_MAX + 1];
    char directory[LISTENER_PATH_BYTES - sizeof(LISTENER_SOCKET)]; /* "": NAME below ours */
    bool has_mode, has_group;
    mode_t mode;
    gid_t group;
};

/* Letters, digits, '-' and '_', and none of those that stand for something else. */
bool listener_name_is_valid(const char *name);

#endif
