/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_KERNEL_H
#define ASOCK_TESTS_SIM_KERNEL_H

/*
 * The simulated kernel: descriptors, Unix and TCP streams, shared memory, event and timer
 * descriptors. calls.c has the system calls themselves, which look at a file's kind and call what
 * is below.
 */
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "tests/sim/inbound.h"
#include "tests/sim/sim.h"

/* Numbers below it are real ones. */
#define KERNEL_FD_FIRST 1000
#define KERNEL_FDS 2048
#define KERNEL_CONNECTIONS 512
/* Kinds of addresses, by their last byte. */
enum { HOST_ACCEPTS = 1, HOST_SLOW, HOST_REFUSES, HOST_UNREACHABLE, HOST_SILENT, HOST_KINDS };
/* A connect to this port and up belongs to a connect of the program, by number. */
#define KERNEL_PORT_FIRST 2000

enum kind {
    FILE_UNIX,
    FILE_LISTENER,
    FILE_TCP,
    FILE_UDP,
    FILE_MEMORY,
    FILE_EVENT,
    FILE_TIMER,
    FILE_PLAIN,
    FILE_EPOLL
};

#define MARKS_MAX 128
#define PASSED_MAX 2
/* Descriptors that travel with a byte. */
struct passed {
    struct kfile *files[PASSED_MAX];
    unsigned int count;
};
/* One end of a Unix stream. */
struct unix_end {
    struct kfile *peer; /* NULL: none any more */
    struct byte_queue rx;
    struct byte_queue messages; /* of rx: struct message */
    uint64_t charged;           /* to the other end, for these */
    uint64_t read, written;     /* bytes, into and out of rx */
    uint64_t seen;              /* of read, a turn of the daemon ago */
    uint32_t turns;             /* in which it has not read what is there */
    struct {
        uint64_t at; /* the byte that it came with */
        struct passed passed;
    } marks[MARKS_MAX];
    unsigned int mark_count;
    size_t cap;
    bool is_read_shut, is_write_shut, is_connected;
    int error;
    uid_t uid; /* whose the other end is */
};

#define BACKLOG 64
struct listener_file {
    char path[108];
    struct kfile *queue[BACKLOG];
    unsigned int count;
};

#define OPTIONS_MAX 32
struct tcp_option {
    int level, name, value;
};

enum tcp_state { TCP_NEW, TCP_CONNECTING, TCP_OPEN, TCP_DEAD, TCP_LISTENING };

/* A TCP connection: the daemon's end, the way, and the peer's end. It outlives its descriptor. */
struct tcp {
    unsigned int index;
    enum tcp_state state;
    struct kfile *file; /* NULL: closed */
    int family, error;
    struct sockaddr_storage local, remote;
    unsigned int host, intent; /* intent: of connects; UINT32_MAX: none */
    unsigned int lent;         /* number of the lent connection that it is to be, + 1; 0: none */
    uint64_t due;              /* the handshake's end; the next segment */
    struct tcp_option options[OPTIONS_MAX];
    unsigned int option_count;
    bool is_linger_zero;
    struct inbound in;

    struct byte_queue tx, rx; /* not yet acknowledged; not yet read */
    size_t tx_cap, rx_cap;
    struct byte_queue log; /* everything that was ever taken by send(2) */
    uint64_t consumed;     /* by recv(2) */
    uint64_t moved;        /* ms: when it was connected, or last took or gave bytes */
    uint64_t serial;       /* of the daemon's socket that has it; 0: it is not watched */
    bool is_read_shut, is_write_shut, fin_delivered, fin_received;
    bool is_dissolved; /* what was counted of the connection is forgotten */

    /* the peer's end */
    struct byte_queue peer_rx, peer_tx;
    size_t peer_cap;
    uint64_t peer_read, peer_written;
    bool peer_fin_queued, peer_closed, peer_reset, peer_saw_fin;
    bool peer_saw_reset; /* before the end of the stream */
    uint64_t peer_due;
    struct {
        uint64_t salt; /* of the bytes that it writes */
        uint32_t to_write;
        uint32_t reads, pace; /* bytes at a time; milliseconds between them */
        bool is_mute;         /* reads nothing until a step says so */
        bool stays_open;      /* says no FIN by itself */
        uint32_t resets_at;   /* bytes read; 0: never */
    } manner;
};

struct kfile {
    enum kind kind;
    unsigned int refs;
    bool is_nonblocking;
    union {
        struct unix_end *unix_end;
        struct listener_file *listener;
        struct tcp *tcp;
        struct udp *udp;
        struct {
            int fd; /* a real one */
            int seals;
        } memory;
        uint64_t events;
        uint64_t timer; /* ns; 0: not set */
        struct epoll_file *epoll;
    } u;
};

struct kernel {
    struct {
        struct kfile *file;
        enum actor owner;
        bool is_cloexec;
    } fds[KERNEL_FDS];
    struct tcp *tcps[KERNEL_CONNECTIONS];
    struct udp **udps;
    unsigned int tcp_count, udp_count;
    uint16_t next_port;
    unsigned int maps; /* of shared memory */
};

extern struct kernel kernel;
void kernel_reset(void);
/* Descriptors. -errno. */
int fd_install(struct kfile *file); /* takes the reference */
struct kfile *fd_file(int fd);      /* NULL: none */
int fd_close(int fd);
unsigned int fd_count(enum actor owner);
void fd_close_all(enum actor owner);
struct kfile *file_new(enum kind kind);
void file_unref(struct kfile *file);
int file_events(const struct kfile *file); /* POLLIN and so on */

/* Unix streams; -errno, or bytes. */
void unix_pair(struct kfile *ret[2]);
int unix_connect(struct kfile *file, const char *path);
struct kfile *unix_accept(struct kfile *listener);
struct kfile *unix_listen(const char *path);
ssize_t unix_send(struct kfile *file, const struct iovec *iov, size_t count,
                  const struct passed *passed);
/* ret_passed: what came along; NULL: it is dropped. */
ssize_t unix_receive(struct kfile *file, const struct iovec *iov, size_t count, int flags,
                     struct passed *ret_passed);
void unix_shutdown(struct kfile *file, int how);
void unix_free(struct kfile *file);
int unix_events(const struct unix_end *end);
/* Connections whose descriptors were written here, and that the other end has not fetched. */
unsigned int unix_unfetched(const struct unix_end *end);

/* TCP. */
void tcp_source(int family, struct sockaddr_storage *ret); /* the host's own address */
int tcp_open(int family, struct kfile **ret);
int tcp_connect(struct tcp *tcp, const struct sockaddr *addr, socklen_t len);
ssize_t tcp_send(struct tcp *tcp, const struct iovec *iov, size_t count);
ssize_t tcp_receive(struct tcp *tcp, const struct iovec *iov, size_t count, int flags);
int tcp_shutdown(struct tcp *tcp, int how);
void tcp_closed(struct tcp *tcp); /* its last descriptor has gone */
int tcp_events(const struct tcp *tcp);
void tcp_free(struct tcp *tcp);
int tcp_option(struct tcp *tcp, int level, int name); /* -1: never set */
void tcp_set_option(struct tcp *tcp, int level, int name, int value);
/* When there is something to do, in ns; UINT64_MAX: nothing. */
uint64_t tcp_due(const struct tcp *tcp);
void tcp_step(struct tcp *tcp);
void tcp_reset_by_peer(struct tcp *tcp);
void tcp_tell_info(const struct tcp *tcp, void *ret, socklen_t *len); /* TCP_INFO */

/* So much of n at a time, where calls may be short. */
size_t kernel_part(size_t n);
size_t iov_total(const struct iovec *iov, size_t count);
void iov_fill(const struct iovec *iov, size_t count, const uint8_t *from, size_t len);

#endif
