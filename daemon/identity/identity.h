/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_IDENTITY_H
#define ASOCKD_IDENTITY_H

/*
 * Who is at the other end of a Unix socket, as the kernel says: the credentials at the time of
 * connect(2), and what /proc says about the process while it is known to live. What cannot be
 * determined is unknown (an empty text, a false flag, IDENTITY_ID_UNKNOWN), never guessed and never
 * truncated. The identity belongs to the connection: it stays when the process execs or passes the
 * socket on.
 *
 * /proc describes a pid, and pids are reused. SO_PEERPIDFD refers to the process itself: if it
 * still lives after /proc was read, the pid was its own all the time. Kernels before 6.5 lack
 * SO_PEERPIDFD. There the pidfd is opened by pid, and used only if its process has the client's
 * user id and had started when the connection was accepted. One gap remains: the client ends before
 * its connection is accepted, and its pid goes to another process of the same user. For that the
 * kernel must have used all of its pids (kernel.pid_max) while the connection was waiting.
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

/* A uid or gid that is not mapped in our user namespace. No process can have this value. */
#define IDENTITY_ID_UNKNOWN ((uint32_t)-1)
/* Of a client that is only thought of, and of which nothing is said: one that no process has. */
#define IDENTITY_ID_NOBODY (IDENTITY_ID_UNKNOWN - 1)

enum identity_pidfd_source {
    IDENTITY_PIDFD_NONE,   /* the process is unknown */
    IDENTITY_PIDFD_SOCKET, /* SO_PEERPIDFD: exactly the process that connected */
    IDENTITY_PIDFD_OPENED, /* pidfd_open(2) of SO_PEERCRED's pid, on kernels before 6.5 */
};

/* To whom the user id belongs: a user may have ranges of subordinate ids, /etc/subuid. */
enum identity_ownership {
    IDENTITY_OWN_ID,        /* not a subordinate id */
    IDENTITY_SUBORDINATE,   /* it belongs to owner */
    IDENTITY_OWNER_UNKNOWN, /* it belongs to somebody; owner only says where shares are counted */
};

struct identity {
    uid_t uid; /* or IDENTITY_ID_UNKNOWN */
    enum identity_ownership ownership;
    uid_t owner; /* unless IDENTITY_OWN_ID */
    gid_t gid;   /* likewise */
    pid_t
        pid; /* 0: not visible in this pid namespace; for a client that has gone, its former pid */
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
 * Call it as soon as fd has been accepted. 0, or -errno if fd is not a connected Unix socket; *ret
 * is then as after identity_deinit().
 */
int identity_read(int fd, struct identity *ret);
/* The same later: fd was accepted at that moment of identity_proc_now(). */
int identity_read_since(int fd, uint64_t accepted, struct identity *ret);

/*
 * The same, of its user and process ids alone, which takes hardly any time: nothing of it needs
 * identity_deinit().
 */
int identity_read_user(int fd, struct identity *ret);

/*
 * The identity that an existing process would have if it connected now, by its effective ids. 0;
 * -ESRCH: no process with that pid is visible; other -errno. On failure *ret is as after
 * identity_deinit().
 */
int identity_read_process(pid_t pid, struct identity *ret);

/* The user to whose shares it is charged. */
static inline uid_t identity_user(const struct identity *identity)
{
    return identity->ownership == IDENTITY_OWN_ID ? identity->uid : identity->owner;
}

/*
 * Closes the pidfd. The process may have ended, and its pid may belong to another one from now on.
 */
void identity_forget_process(struct identity *identity);
/* Frees the groups as well; may be called twice. */
void identity_deinit(struct identity *identity);

/*
 * Many groups are not kept with a session; they are read again from its socket, while there is one
 * (fd >= 0).
 */
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
