/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_REAL_H
#define ASOCK_TESTS_SIM_REAL_H

/* What the linker calls the C library's own functions when it wraps them (--wrap). */
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>
#include <time.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void __real_free(void *p);
int __real_close(int fd);
int __real_memfd_create(const char *name, unsigned int flags);
int __real_ftruncate(int fd, off_t length);
int __real_fallocate(int fd, int mode, off_t offset, off_t length);
ssize_t __real_pread(int fd, void *buf, size_t n, off_t offset);
ssize_t __real_pwrite(int fd, const void *buf, size_t n, off_t offset);
int __real_fcntl(int fd, int command, ...);
void *__real_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t length);
void *__real_mremap(void *at, size_t length, size_t new_length, int flags, void *to);
int __real_madvise(void *at, size_t length, int advice);
time_t __real_time(time_t *ret);
FILE *__real_fopen(const char *path, const char *mode);

#endif
