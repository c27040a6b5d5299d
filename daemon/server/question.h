/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_QUESTION_H
#define ASOCKD_QUESTION_H

/*
 * The question of JUDGE: a client, and a hypothetical connect or listener. It comes from a record,
 * or from asockd's command line.
 */
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/identity/identity.h"
#include "daemon/names/host.h"
#include "daemon/policy/policy.h"
#include "daemon/session/inspect.h"
#include "proto/codec.h"

struct services;

struct question {
    struct identity identity; /* the question owns its gids, unless is_process */
    gid_t gids[IDENTITY_GIDS_KEPT];
    unsigned int given; /* 1u << enum match_key: what was said of the client */
    char listener[32];
    char host[HOST_TEXT_MAX + 2]; /* a name may have its trailing dot */
    char service[CODEC_SERVICE_MAX + 1];
    char protocol[8];
    char verb[8]; /* "", or "listen" */
    char address[INET6_ADDRSTRLEN];
    bool has_id, has_pid, has_also, has_row, has_restriction;
    uint64_t id;           /* of a session */
    pid_t pid;             /* of a client */
    uint64_t also;         /* asks for the answer of that number that another client would get */
    uint64_t row;          /* asks for a line of the policy */
    uint64_t restriction;  /* asks for a line of the session's restrictions */
    char *error;           /* INSPECT_TEXT_MAX bytes; "": nothing is wrong so far */
    bool is_process;       /* identity was read from a process */
    bool is_out_of_memory; /* the error is lack of memory */
};

/* Starts with a client about which nothing is known. error: INSPECT_TEXT_MAX bytes. */
void question_init(struct question *q, char *error);
void question_deinit(struct question *q);

/* False, here and below: the question is invalid, and the text in error says why. */
bool question_take(struct question *q, const struct field *field);
bool question_refuse(struct question *q, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* As question_refuse(), but because of lack of memory: the question is valid. */
bool question_no_memory(struct question *q);
/*
 * All fields of the client are set: checks whether such a client can exist. Reads the process,
 * unless it has a session.
 */
bool question_settle_client(struct question *q);

/*
 * The connect; or the local address that somebody would listen at, and `address` the peer that
 * would come.
 */
struct destination {
    enum policy_protocol protocol;
    bool is_listen;
    struct host host;
    struct host address; /* that is connected to, if it is known; its family 0: it is not */
    uint16_t port;
    bool
        is_unknown; /* the client may reach nothing, so it does not learn whether the service or interface exists */
};

bool question_read(struct question *q, struct services *services, const struct policy_view *view,
                   struct destination *ret);

#endif
