/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: file_table_is_current() sees that the file is another one and opens it; each step
 * reads a piece and adds its lines to new names; the last one puts these in the place of the old
 * ones.
 * Failures: no file, or one that cannot be read: no names. No memory, no descriptor: the old names
 * stay, and the next look tries again.
 */
#include "daemon/names/file_table.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/log.h"
#include "daemon/names/file_id.h"

/* Fewer bytes than a line has: a bucket per name, or nearly so. */
#define BYTES_PER_BUCKET 32
#define BUCKETS_MIN 64u

struct entry {
    union file_table_value value; /* first */
    uint32_t name;                /* where in `text` */
    uint32_t next;                /* in the same bucket: 1 + its index; 0: none */
};

struct bucket {
    uint32_t first, last; /* 1 + index; 0: none */
};

struct file_table_names {
    struct bucket *buckets;
    uint32_t mask; /* their number - 1 */
    struct entry *entries;
    uint32_t count, cap;
    char *text; /* the names, each with its NUL */
    size_t text_len, text_cap;
    bool is_short; /* of memory: something is missing */
    bool is_cut;   /* over FILE_TABLE_NAMES_MAX */
};

/* A file that is being read. */
struct reading {
    int fd; /* -1: none is */
    struct file_id id;
    struct file_table_names names;
    size_t len; /* of what is in `buffer` */
    uint64_t bytes;
    bool is_skipping; /* the rest of a line that was cut */
    char *buffer;
};

struct file_table {
    char *path;
    file_table_line_fn take_line;
    struct file_id id;
    struct file_table_names names;
    struct reading reading;
};

/* ---- names ---- */

static void names_deinit(struct file_table_names *names)
{
    mem_free(names->buckets);
    mem_free(names->entries);
    mem_free(names->text);
    memset(names, 0, sizeof(*names));
}

static int names_init(struct file_table_names *names, uint64_t file_size)
{
    uint32_t count = BUCKETS_MIN;

    memset(names, 0, sizeof(*names));
    while (count < FILE_TABLE_NAMES_MAX && count * (uint64_t)BYTES_PER_BUCKET < file_size)
        count *= 2;
    names->buckets = mem_zalloc(count, sizeof(*names->buckets));
    names->mask = count - 1;
    return names->buckets ? 0 : -ENOMEM;
}

static struct bucket *bucket_of(const struct file_table_names *names, const char *name, size_t len)
{
    uint64_t hash = hash_bytes(name, len);

    return &names->buckets[(hash ^ hash >> 32) & names->mask];
}

/* Room for one more name of `size` bytes. */
static bool grow(struct file_table_names *names, size_t size)
{
    if (names->count == names->cap) {
        uint32_t cap = names->cap ? names->cap * 2 : 64;
        struct entry *entries = mem_realloc(names->entries, cap * sizeof(*entries));

        if (!entries)
            return false;
        names->entries = entries;
        names->cap = cap;
    }
    if (size > names->text_cap - names->text_len) {
        size_t cap = names->text_cap * 2 + size + 1024;
        char *text = mem_realloc(names->text, cap);

        if (!text)
            return false;
        names->text = text;
        names->text_cap = cap;
    }
    return true;
}

void file_table_add(struct file_table_names *names, const char *name,
                    const union file_table_value *value)
{
    size_t len = strlen(name);
    struct bucket *bucket = bucket_of(names, name, len);

    if (names->count == FILE_TABLE_NAMES_MAX) {
        names->is_cut = true;
        return;
    }
    if (!grow(names, len + 1)) {
        names->is_short = true;
        return;
    }
    names->entries[names->count++] = (struct entry){.value = *value,
                                                    .name = (uint32_t)names->text_len};
    memcpy(names->text + names->text_len, name, len + 1);
    names->text_len += len + 1;
    if (bucket->last)
        names->entries[bucket->last - 1].next = names->count;
    else
        bucket->first = names->count;
    bucket->last = names->count;
}

bool file_table_is_empty(const struct file_table *table)
{
    return table->names.count == 0;
}

const union file_table_value *file_table_find(const struct file_table *table, const char *name,
                                              const union file_table_value *previous)
{
    const struct file_table_names *names = &table->names;
    uint32_t next;

    if (!names->buckets)
        return NULL;
    next = previous ? ((const struct entry *)(const void *)previous)->next
                    : bucket_of(names, name, strlen(name))->first;
    while (next) {
        const struct entry *entry = &names->entries[next - 1];

        if (strcmp(names->text + entry->name, name) == 0)
            return &entry->value;
        next = entry->next;
    }
    return NULL;
}

/* ---- lines ---- */

static void take_line(struct file_table *table, char *line)
{
    line[strcspn(line, "#")] = '\0';
    table->take_line(&table->reading.names, line);
}

/* A line that fills the buffer: what is behind its last whole word is lost. */
static void cut_line(struct file_table *table)
{
    struct reading *r = &table->reading;
    size_t len = r->len;

    while (len > 0 && r->buffer[len - 1] != ' ' && r->buffer[len - 1] != '\t')
        len--;
    r->buffer[len] = '\0';
    take_line(table, r->buffer);
    r->is_skipping = true;
    r->len = 0;
}

/* Whole lines leave the buffer; at the end of the file its rest is one. */
static void take_lines(struct file_table *table, bool is_end)
{
    struct reading *r = &table->reading;
    char *line = r->buffer, *end;
    size_t rest;

    while ((end = memchr(line, '\n', r->len - (size_t)(line - r->buffer)))) {
        *end = '\0';
        if (!r->is_skipping)
            take_line(table, line);
        r->is_skipping = false;
        line = end + 1;
    }
    rest = r->len - (size_t)(line - r->buffer);
    memmove(r->buffer, line, rest);
    r->len = rest;
    if (r->is_skipping)
        r->len = 0;
    else if (is_end && rest > 0) {
        r->buffer[rest] = '\0';
        take_line(table, r->buffer);
    } else if (rest == FILE_TABLE_LINE_MAX) {
        cut_line(table);
    }
}

/* ---- reading ---- */

static void end_reading(struct reading *r)
{
    if (r->fd >= 0)
        close(r->fd);
    r->fd = -1;
    r->buffer = mem_free(r->buffer);
    names_deinit(&r->names);
}

/* The names that were read take the place of the old ones. */
static void take_over(struct file_table *table)
{
    struct reading *r = &table->reading;

    if (r->names.is_cut || r->bytes >= FILE_TABLE_BYTES_MAX)
        log_warning("%s is too large: only its first %u names and %u MiB are used", table->path,
                    FILE_TABLE_NAMES_MAX, FILE_TABLE_BYTES_MAX >> 20);
    names_deinit(&table->names);
    table->names = r->names;
    table->id = r->id;
    memset(&r->names, 0, sizeof(r->names));
}

/* 0, -errno: it was not the file's fault, and what was read before counts on. */
static int begin_reading(struct file_table *table)
{
    struct reading *r = &table->reading;
    struct stat st;
    int err;

    /* O_NONBLOCK: opening a FIFO does not wait for a writer. */
    r->fd = open(table->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    err = errno;
    if (r->fd < 0 && (err == EMFILE || err == ENFILE || err == ENOMEM || err == EINTR))
        return -err;
    if (r->fd < 0 || fstat(r->fd, &st) < 0)
        memset(&st, 0, sizeof(st));
    r->id = r->fd < 0 ? file_id_at(table->path) : file_id_of(&st);
    r->len = 0;
    r->bytes = 0;
    r->is_skipping = false;
    r->buffer = mem_alloc(FILE_TABLE_LINE_MAX + 1);
    if (!r->buffer || names_init(&r->names, (uint64_t)st.st_size) < 0) {
        end_reading(r);
        return -ENOMEM;
    }
    if (r->fd >= 0 && S_ISREG(st.st_mode))
        return 0;
    take_over(table);
    end_reading(r);
    return 0;
}

bool file_table_is_current(struct file_table *table)
{
    struct file_id now;

    if (table->reading.fd >= 0)
        return false;
    now = file_id_at(table->path);
    if (file_id_is_current(&table->id, &now))
        return true;
    return begin_reading(table) < 0 || table->reading.fd < 0;
}

bool file_table_step(struct file_table *table)
{
    struct reading *r = &table->reading;
    size_t room = FILE_TABLE_LINE_MAX - r->len;
    bool is_end;
    ssize_t n;

    if (r->fd < 0)
        return true;
    room = room < FILE_TABLE_STEP ? room : FILE_TABLE_STEP;
    n = read(r->fd, r->buffer + r->len, room);
    if (n < 0 && errno == EINTR)
        return false;
    is_end = n < (ssize_t)room;
    if (n > 0) {
        r->len += (size_t)n;
        r->bytes += (uint64_t)n;
    }
    take_lines(table, is_end);
    if (!is_end && !r->names.is_short && !r->names.is_cut && r->bytes < FILE_TABLE_BYTES_MAX)
        return false;
    if (!r->names.is_short)
        take_over(table);
    end_reading(r);
    return true;
}

/* ---- life ---- */

int file_table_new(const char *path, file_table_line_fn take_line_fn, struct file_table **ret)
{
    struct file_table *table = mem_zalloc(1, sizeof(*table));
    size_t size = strlen(path) + 1;

    if (!table)
        return -ENOMEM;
    table->reading.fd = -1;
    table->take_line = take_line_fn;
    table->path = mem_alloc(size);
    if (!table->path) {
        mem_free(table);
        return -ENOMEM;
    }
    memcpy(table->path, path, size);
    if (!file_table_is_current(table)) {
        while (!file_table_step(table))
            ;
    }
    *ret = table;
    return 0;
}

struct file_table *file_table_free(struct file_table *table)
{
    if (!table)
        return NULL;
    end_reading(&table->reading);
    names_deinit(&table->names);
    mem_free(table->path);
    return mem_free(table);
}
