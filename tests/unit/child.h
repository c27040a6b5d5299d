/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_UNIT_CHILD_H
#define ASOCK_TESTS_UNIT_CHILD_H

/* Processes that connect to the test, and control groups for them to be in. */
#include <stdbool.h>
#include <sys/types.h>

/* A child that has connected to us, and lives until released. */
struct child {
    pid_t pid;
    int fd;      /* our end of its connection */
    int release; /* closing it lets the child end */
};

/* What the child does around its connect(2). Either may be NULL. */
struct plan {
    void (*before)(void *data);
    void (*after)(void *data, int fd); /* one that does not return writes a byte first */
    void *data;
};

void child_start(struct child *child, const struct plan *plan);
/* Lets it end, and waits until it has: it is a zombie then. */
void child_finish(const struct child *child);
/* The same, and it is gone. Our end of the connection stays. */
void child_end(struct child *child);

/* A group of the unified hierarchy, below our own. */
struct cgroup {
    char dir[2048];  /* in the file system */
    char path[1024]; /* what /proc says */
};

/* False: there can be none here. */
bool cgroup_make(struct cgroup *group, const char *name);
/* A level below the group; it is removed with it. */
void cgroup_deepen(struct cgroup *group, const char *name);
void cgroup_remove(struct cgroup *group, unsigned int levels);
/* For plan.before: the calling process goes there. */
void cgroup_enter(void *group);

#endif
