/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_CALLS_H
#define ASOCK_TESTS_SIM_CALLS_H

/* The wrapped calls; tests/sim/wrapped has their names for the linker and for the gate. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/types.h>

/* Time passes. */
void calls_enter(void);
/* -errno becomes errno and -1. */
long calls_leave(long result);

struct udp;
ssize_t calls_send_datagram(struct udp *udp, const struct msghdr *msg);
ssize_t calls_receive_datagram(struct udp *udp, struct msghdr *msg, int flags);

int __wrap_socket(int family, int type, int protocol);
int __wrap_epoll_create1(int flags);
int __wrap_epoll_ctl(int fd, int what, int of, struct epoll_event *event);
int __wrap_epoll_wait(int fd, struct epoll_event *events, int most, int timeout);
int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len);
int __wrap_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
int __wrap_bind(int fd, const struct sockaddr *addr, socklen_t len);
int __wrap_listen(int fd, int backlog);
ssize_t __wrap_send(int fd, const void *data, size_t len, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t len, int flags);
ssize_t __wrap___recv_chk(int fd, void *data, size_t len, size_t cap, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);
int __wrap_sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags);
int __wrap_recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags,
                    struct timespec *timeout);
int __wrap_shutdown(int fd, int how);
int __wrap_getsockname(int fd, struct sockaddr *addr, socklen_t *len);
int __wrap_getpeername(int fd, struct sockaddr *addr, socklen_t *len);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int __wrap_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap___poll_chk(struct pollfd *fds, nfds_t count, int timeout, size_t cap);

int __wrap_close(int fd);
int __wrap_dup3(int from, int to, int flags);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_memfd_create(const char *name, unsigned int flags);
int __wrap_ftruncate(int fd, off_t length);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t length);
ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *buf, size_t n, off_t offset);
int __wrap_stat(const char *path, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);
int __wrap_isatty(int fd);
void *__wrap_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset);
int __wrap_munmap(void *at, size_t length);
void *__wrap_mremap(void *at, size_t length, size_t new_length, int flags, void *to);
int __wrap_madvise(void *at, size_t length, int advice);
int __wrap_eventfd(unsigned int count, int flags);
int __wrap_timerfd_create(int clock, int flags);
int __wrap_setitimer(int which, const struct itimerval *at, struct itimerval *before);
sighandler_t __wrap_signal(int number, sighandler_t handler);
int __wrap_sigprocmask(int how, const sigset_t *set, sigset_t *before);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *at,
                           struct itimerspec *before);
ssize_t __wrap_read(int fd, void *data, size_t len);
ssize_t __wrap___read_chk(int fd, void *data, size_t len, size_t cap);
ssize_t __wrap_write(int fd, const void *data, size_t len);
int __wrap_open(const char *path, int flags, ...);
int __wrap___openat_2(int dir, const char *path, int flags);
FILE *__wrap_fopen(const char *path, const char *mode);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);
time_t __wrap_time(time_t *ret);
int __wrap_getentropy(void *data, size_t len);
char *__wrap_secure_getenv(const char *name);
char *__wrap_getenv(const char *name);
int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *),
                          void *data);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *until);

#endif
