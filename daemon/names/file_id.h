/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_FILE_ID_H
#define ASOCKD_FILE_ID_H

/* Which file a path led to, and in which state it was. */
#include <stdbool.h>
#include <sys/stat.h>
#include <time.h>

/* All zero: there is no file. */
struct file_id {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
    bool is_fresh; /* it may change again without a new timestamp */
};

/* The kernel's timestamps are as coarse as its tick, which takes 10 ms at most. */
#define FILE_ID_FRESH_NS 50000000

static inline struct file_id file_id_of(const struct stat *st)
{
    struct timespec now;
    long long age;

    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    age = (now.tv_sec - st->st_ctim.tv_sec) * 1000000000LL + now.tv_nsec - st->st_ctim.tv_nsec;
    return (struct file_id){
        .device = st->st_dev,
        .inode = st->st_ino,
        .size = st->st_size,
        .changed = st->st_ctim,
        .is_fresh = age >= 0 && age < FILE_ID_FRESH_NS,
    };
}

static inline struct file_id file_id_at(const char *path)
{
    struct stat st;

    return stat(path, &st) < 0 ? (struct file_id){0} : file_id_of(&st);
}

/* What was read of the file when its id was `then` is still what it says. */
static inline bool file_id_is_current(const struct file_id *then, const struct file_id *now)
{
    return !then->is_fresh && then->device == now->device && then->inode == now->inode &&
           then->size == now->size && then->changed.tv_sec == now->changed.tv_sec &&
           then->changed.tv_nsec == now->changed.tv_nsec;
}

#endif
