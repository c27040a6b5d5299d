/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_IDENTITY_H
#define ASOCKD_IDENTITY_H

/*
 * Who is at the other end of a Unix socket, as the kernel says it: credentials of the moment of
 * connect(2), and what /proc says about that process while it is known to live. What cannot be
 * established is unknown (an empty text, a false flag, IDENTITY_ID_UNKNOWN), never guessed and never cut
 * short. The identity belongs to the connection: it stays when the process execs or passes the socket
 * on.
 *
 * Unit and cgroup are told of a number, the pid, and numbers are used again. SO_PEERPIDFD holds the
 * process itself: if that lives after /proc was read, the number was its own all the time. Kernels
 * before 6.5 have no such thing. There the pidfd is opened by number, and taken for the client's only if
 * its process has the client's user id and had begun when the connection was accepted. What remains: the
 * client ended before its connection was accepted, and meanwhile its number went to another process of
 * the same user. For that the kernel must have handed out all of its numbers (kernel.pid_max) while
 * the connection was waiting.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define IDENTITY_GIDS_MAX 65536 /* NGROUPS_MAX: no process has more supplementary groups */
#define IDENTITY_GIDS_KEPT                                                                         \
    128 /* more of them are not kept, but read from the socket when they are needed */
#define IDENTITY_UNIT_MAX 256   /* systemd's own limit of a unit's name, with the NUL */
#define IDENTITY_CGROUP_MAX 512 /* bytes with the NUL; a longer path is unknown */
#define IDENTITY_COMM_MAX 16    /* TASK_COMM_LEN */

/* A uid or gid that has no number in our user namespace. No process can have it. */
#define IDENTITY_ID_UNKNOWN ((uint32_t)-1)
/* Of a client that is only thought of, and of which nothing is said: one that no process has. */
#define IDENTITY_ID_NOBODY (IDENTITY_ID_UNKNOWN - 1)

enum identity_pidfd_source {
    IDENTITY_PIDFD_NONE,   /* the process is unknown */
    IDENTITY_PIDFD_SOCKET, /* SO_PEERPIDFD: exactly the process that connected */
    IDENTITY_PIDFD_OPENED, /* pidfd_open(2) of SO_PEERCRED's pid, on kernels before 6.5 */
};

/* Whose the user id is: a user may have ranges of others, /etc/subuid. */
enum identity_ownership {
    IDENTITY_OWN_ID,        /* nobody's but its own */
    IDENTITY_SUBORDINATE,   /* owner's */
    IDENTITY_OWNER_UNKNOWN, /* somebody's; owner only tells where shares are counted */
};

struct identity {
    uid_t uid; /* or IDENTITY_ID_UNKNOWN */
    enum identity_ownership ownership;
    uid_t owner; /* unless IDENTITY_OWN_ID */
    gid_t gid;   /* likewise */
    pid_t
        pid; /* 0: not visible in this pid namespace; of a client that has gone, its number then */
    bool gids_known;
    uint32_t gid_count;
    gid_t *gids; /* in ascending order; NULL: none, or not kept */
    int pidfd;   /* -1: none */
    enum identity_pidfd_source pidfd_source;
    bool units_known;                  /* false: unit and user_unit are empty */
    char unit[IDENTITY_UNIT_MAX];      /* of the system's manager; "": unknown or none */
    char user_unit[IDENTITY_UNIT_MAX]; /* of a user's manager; "": unknown or none */
    char cgroup[IDENTITY_CGROUP_MAX];  /* path in the unified hierarchy; "": unknown */
    char comm[IDENTITY_COMM_MAX];      /* the process's own choice, for showing only; "": unknown */
};

/*
 * To be called as soon as fd has been accepted. 0, or -errno when fd is no connected Unix socket; *ret
 * is then as after identity_deinit().
 */
int identity_read(int fd, struct identity *ret);

/*
 * What a process that exists would be if it connected now, by its effective ids. 0; -ESRCH: there is none with that
 * number, or none that can be seen; -errno. As after identity_deinit() then.
 */
int identity_read_process(pid_t pid, struct identity *ret);

/* The user whose shares it has part in. */
static inline uid_t identity_user(const struct identity *identity)
{
    return identity->ownership == IDENTITY_OWN_ID ? identity->uid : identity->owner;
}

/* A process that may have ended, and whose pid may be another's: closes the pidfd. */
void identity_forget_process(struct identity *identity);
/* Frees the groups as well; may be called twice. */
void identity_deinit(struct identity *identity);

/* Many groups are not kept with a session; they are read again from its socket, while there is one (fd >= 0). */
void identity_drop_groups(struct identity *identity);
void identity_read_groups(struct identity *identity, int fd);
/* Are they known, and here? */
static inline bool identity_has_groups(const struct identity *identity)
{
    return identity->gids_known && (identity->gids || identity->gid_count == 0);
}

/* False also when the process is unknown. True: pid is still its number. */
bool identity_is_alive(const struct identity *identity);

const char *identity_pidfd_source_name(enum identity_pidfd_source source);

#endif
