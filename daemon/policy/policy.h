/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_H
#define ASOCKD_POLICY_H

/*
 * Who may reach what, asockd.policy(5). Every connect asks: a name before it is resolved, an
 * address before it is tried. A policy is made once and never changed; a view is what it says about
 * one client, and what that client has said about itself (restrictions).
 */
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "daemon/policy/nat64.h"

struct identity;
struct policy;
struct policy_view;

enum policy_base {
    POLICY_DENY,   /* what the files say; without files nothing is allowed */
    POLICY_ANY,    /* --allow-any: everything but what cannot be connected to */
    POLICY_PUBLIC, /* --allow-public: globally reachable addresses, for every client */
};

/* NULL without memory. */
struct policy *policy_new(enum policy_base base);
struct policy *policy_ref(struct policy *policy);
struct policy *policy_unref(struct policy *policy); /* accepts NULL; returns it */

#define POLICY_ERROR_MAX 512u /* bytes with the NUL: "path:line: what is wrong" */
#define POLICY_DIRS_MAX 3u
#define POLICY_FILES_MAX 256u    /* files of a policy: a view has a bit for each */
#define POLICY_RULES_MAX 262144u /* rules of a policy: some 60 MB, twice that during a reload */

/* What there is to be read; base ANY and PUBLIC have no files. */
struct policy_source {
    enum policy_base base;
    const char *const *files; /* --policy; none: those of dir */
    size_t file_count;
    /*
     * Every *.policy in them, in name order; of two with one name the one in the earlier directory.
     */
    const char *dirs[POLICY_DIRS_MAX];
    unsigned int dir_count;
    struct policy_nat64 nat64;
};

/*
 * 0: *ret is a policy, with as many files as policy_file_count() says. Else -errno, and the error
 * says which file and line it was: one bad file is the end of all of them.
 */
int policy_load(const struct policy_source *source, char ret_error[static POLICY_ERROR_MAX],
                struct policy **ret);
/*
 * What is in force when the files at the start are invalid: everything is denied, and the error is
 * the reason.
 */
struct policy *policy_new_invalid(const struct policy_source *source, const char *error);
int64_t policy_loaded(const struct policy *policy); /* when, in seconds since 1970 */
size_t policy_file_count(const struct policy *policy);
size_t policy_rule_count(const struct policy *policy);
/* The caller has the only reference. */
bool policy_is_last(const struct policy *policy);
bool policy_is_invalid(const struct policy *policy);
const struct policy_nat64 *policy_nat64(const struct policy *policy);
bool policy_looks_at_groups(const struct policy *policy);

/*
 * What an administrator has to know of a policy in force: why it is invalid, or in force instead of
 * one that is; users and groups that do not exist. One text each, "path:line: what is wrong".
 */
#define POLICY_PROBLEM_MAX (POLICY_ERROR_MAX + 128u)
/* Until callback returns false. */
void policy_each_problem(const struct policy *policy,
                         bool (*callback)(void *data, const char *text), void *data);
/* The first of them, and how many there are: that is counted when the policy is made. */
size_t policy_problems(const struct policy *policy, char ret_first[static POLICY_PROBLEM_MAX]);

/* ---- what the first matching file that sets a key says: [Limits], [Audit], [Egress] ---- */

enum policy_limit {
    POLICY_LIMIT_CLIENTS,
    POLICY_LIMIT_SOCKETS,
    POLICY_LIMIT_OPS,
    POLICY_LIMIT_SOCKET_OPS,
    POLICY_LIMIT_SEND_WINDOW,
    POLICY_LIMIT_QUEUED,
    POLICY_LIMIT_SHARED_MEMORY,
    POLICY_LIMIT_BUFFERS, /* pieces of it */
    POLICY_LIMIT_KERNEL_BUFFERS,
    POLICY_LIMIT_CONNECTS_PER_SECOND,
    POLICY_LIMIT_RESOLUTIONS,
    POLICY_LIMIT_LINGER,       /* sockets that drain */
    POLICY_LIMIT_IDLE_TIMEOUT, /* seconds without a byte, then a connection ends */
    POLICY_LIMIT_KEEP_ALIVE,   /* seconds until the kernel asks whether the peer is there */
    POLICY_LIMIT_COUNT
};

struct policy_limits {
    uint32_t set; /* 1u << enum policy_limit */
    uint64_t value[POLICY_LIMIT_COUNT];
};

enum policy_audit {
    POLICY_AUDIT_UNSET,
    POLICY_AUDIT_NO,
    POLICY_AUDIT_YES,
    POLICY_AUDIT_REQUIRED, /* what cannot be recorded is refused */
};

/* Options that clients may set where policy says so. */
#define POLICY_TRAFFIC_CLASS 0x01u
#define POLICY_HOP_LIMIT 0x02u
#define POLICY_BROADCAST 0x04u
struct policy_egress {
    bool has_options;
    uint8_t options; /* POLICY_TRAFFIC_CLASS and so on */
    bool has_source; /* then a family without its own has none */
    struct in_addr source4;
    struct in6_addr source6;
    char device[16]; /* IFNAMSIZ; "": any */
};

struct policy_settings {
    struct policy_limits limits;
    enum policy_audit audit;
    struct policy_egress egress;
};

/* ---- a client's view ---- */

/* What policy says to the client at the other end of listener. NULL without memory. */
struct policy_view *policy_view_new(struct policy *policy, const struct identity *identity,
                                    const char *listener);
/*
 * A view that has the policy and the restrictions of base, as they are at any time, and further
 * restrictions of its own. base outlives it. NULL without memory.
 */
struct policy_view *policy_view_new_below(const struct policy_view *base);
struct policy_view *policy_view_free(struct policy_view *view); /* accepts NULL; returns it */
/*
 * After a reload, with the same client; not of one below another. Cannot fail; its restrictions
 * stay.
 */
void policy_view_replace(struct policy_view *view, struct policy *policy,
                         const struct identity *identity, const char *listener);
/* Is it this one that it has? Not of a view below another. */
bool policy_view_has(const struct policy_view *view, const struct policy *policy);
const struct policy_settings *policy_view_settings(const struct policy_view *view);

#define POLICY_RESTRICTIONS_MAX 16u       /* of a session */
#define POLICY_RESTRICTION_RULES_MAX 256u /* of all of a session's restrictions together */
#define POLICY_RESTRICTION_TEXT_MAX 32768u

/*
 * From now on nothing is allowed that text does not allow too. It is a policy file with a [Rules]
 * section and nothing else; ports are numbers. 0; -EBADMSG: the error says at which line; -E2BIG:
 * over one of the limits above; -ENOMEM. On failure the view is as before.
 */
int policy_view_restrict(struct policy_view *view, const char *text, size_t len,
                         char ret_error[static POLICY_ERROR_MAX]);
/* The same of what another process took, which perhaps did not count Listen= among the rules. */
int policy_view_restrict_again(struct policy_view *view, const char *text, size_t len,
                               char ret_error[static POLICY_ERROR_MAX]);
const struct policy *policy_view_policy(const struct policy_view *view);
/* Those of its bases are counted too. */
unsigned int policy_view_restrictions(const struct policy_view *view);

/* ---- questions ---- */

#define POLICY_REASON_MAX 200u /* bytes of a rule's text for the client, without the NUL */

/* The rules of each are apart from each other. */
enum policy_protocol { POLICY_TCP, POLICY_UDP, POLICY_PROTOCOLS };
const char *policy_protocol_name(enum policy_protocol protocol); /* "tcp" */

struct policy_question {
    const char *host;            /* the name asked for; NULL: a literal address */
    uint16_t port;               /* host byte order */
    const struct sockaddr *addr; /* NULL: may the name be resolved at all? */
    uint8_t traffic_class;       /* that the socket has, by which it may be routed */
    enum policy_protocol protocol;
};

/* Its texts live until the view gets another policy or restriction, or goes. */
struct policy_answer {
    bool is_allowed;
    bool is_learned;    /* no rule allows it, but a file in learn mode lets it pass */
    const char *reason; /* of a denial, for the client */
    const char *file;   /* of the rule that decided, for the administrator; NULL: none did */
    unsigned int line;
    unsigned int restriction; /* number of the session's that denies, from 1; 0: the files do */
    uint8_t lends; /* POLICY_LEND, POLICY_LEND_GIVEN: every rule that allowed the address has it */
};

struct policy_answer policy_judge(const struct policy_view *view,
                                  const struct policy_question *question);
/*
 * The same if this file, by its number, were about the client too; of a view that is below no
 * other.
 */
struct policy_answer policy_judge_with(const struct policy_view *view,
                                       const struct policy_question *question, size_t file);

/*
 * The text for a destination that no rule matches: does any file apply to the client at all? Lives
 * as long as the view's policy.
 */
const char *policy_view_unmatched(const struct policy_view *view);

/*
 * True: nothing that this client can ask for is allowed. Then no service is looked up, so that it
 * does not learn which exist.
 */
bool policy_denies_all(const struct policy_view *view);

#endif
