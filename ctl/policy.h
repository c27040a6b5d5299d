/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef CTL_POLICY_H
#define CTL_POLICY_H

/* asockctl policy: what its parts share. */
#include "ctl/ctl.h"

#include <stddef.h>
#include <stdint.h>

struct record;
struct records;
struct session;

/* As grep(1) has it: what could not be found out is no denial. */
enum { EXIT_ALLOWED = 0, EXIT_DENIED = 1, EXIT_UNKNOWN = 2 };

#define QUESTION_MAX 512

/* What JUDGE, or asockd --judge, is asked: "name=value" each. */
struct question {
    char *args[QUESTION_MAX + 1];
    size_t count;
};

void question_add(struct question *q, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void question_free(struct question *q);
/* The client of the options, without --id. 0, or the exit status after a complaint. */
int question_add_client(struct question *q, const struct client *client);
/* The connect of args: test PROTOCOL HOST PORT. */
int question_add_connect(struct question *q, const struct settings *settings);
/* Is anything said of the client? */
bool question_has_client(const struct client *client);

/* The socket that is about this client. Complains and returns -1 without a daemon. */
int policy_open(const struct settings *settings, struct session *ret);
/*
 * Asks for "also", "row" or "restriction", one number after the other, beside what q asks, until
 * there are no more; ret gets the answers behind what it has. Answers without the field `needs` end
 * it too. Returns -1 after a complaint.
 */
int policy_ask_all(struct session *session, const struct settings *settings, struct question *q,
                   const char *name, const char *needs, struct records *ret);

/* Adds --policy and --config-dir to the arguments of asockd; returns how many it has added. */
#define POLICY_FILES_ARGS (2 * (POLICIES_MAX + 1))
size_t policy_add_files(const struct settings *settings, char **args);

/* By the files of --policy or --config-dir: fills in ret. Returns -1 after a complaint. */
int policy_judge_files(const struct settings *settings, const struct question *q,
                       struct records *ret);

/* "2026-11-28 22:17:26Z" on standard output. */
void policy_print_time(int64_t seconds);
/* Of a process that has several sessions: which one it is about. */
void policy_tell_sessions(const struct record *first);
/* A rule of a restriction, a line. */
void policy_print_restriction(const struct record *row);

int policy_test(const struct settings *settings);
int policy_show(const struct settings *settings);
/* By asockd --check; without --json asockd takes asockctl's place. */
int policy_check(const struct settings *settings);

#endif
