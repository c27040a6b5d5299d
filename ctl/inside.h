/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_INSIDE_H
#define CTL_INSIDE_H

/*
 * The first process of the command's namespaces: makes them ready, starts the command without
 * rights over them, passes on signals, and reaps. It ends with asockctl, and with it ends every
 * process in there.
 */
#include <signal.h>
#include <stdbool.h>

#include "gateway/network.h"

enum inside_kind {
    INSIDE_WAITS, /* its namespaces want the cable; with a descriptor of the network's. asockctl answers with a byte */
    INSIDE_FAILED,  /* what: cannot ... */
    INSIDE_STOPPED, /* the command, by a signal */
    INSIDE_ENDED,   /* status: the command's, as a shell has it */
};

struct inside_message {
    enum inside_kind kind;
    int status; /* INSIDE_FAILED: a positive errno */
    char what[100];
};

struct inside {
    char **args;
    const char *socket; /* asockd's, to be hidden */
    bool has_sandbox;
    int control;              /* a socket of packets to asockctl */
    void (*pipe_action)(int); /* what SIGPIPE did */
    sigset_t signals; /* held in this process until the command has begun: what was held before */
};

/* In a child of asockctl. */
_Noreturn void inside_run(const struct inside *inside);

/* ---- mounts.c ---- */

/*
 * In a mount namespace of the command's: its name server, a /proc of its processes, and no socket
 * of asockd.
 */
int mounts_make(const char *socket, struct network_problem *why);

/* ---- sandbox.c ---- */

/* The command in front of which bubblewrap stands; the array is allocated. */
char **sandbox_arguments(char **args);

#endif
