/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_RESTRICT_H
#define CTL_RESTRICT_H

/* A session for somebody else: with a name, with fewer rights, and never the control socket. */
#include "ctl/session.h"

/* By the rules in the file of --policy, if there is one. Complains and returns -1. */
int restrict_session(struct session *session, const struct settings *settings);
/* The name of --name, else the last part of fallback. Complains and returns an exit status. */
int restrict_name_session(struct session *session, const struct settings *settings,
                          const char *fallback);
/* Complains and returns -1 if it is the control socket that the settings name. */
int restrict_refuse_control(const struct settings *settings);

#endif
