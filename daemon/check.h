/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_CHECK_H
#define ASOCKD_CHECK_H

/* asockd --check: a daemon's start as far as reading goes, and what is probably not meant. */
#include <stdio.h>

struct config;

/* The exit status. */
int check_config(const struct config *arguments, FILE *out, FILE *err);

#endif
