/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes and reads a state as bytes in a sealed memfd.
 * Failures: no memory, more than STATE_BYTES_MAX, a seal that is missing, a wrong checksum, a
 * record that ends behind the state.
 */
#include "daemon/state/image.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "daemon/wire/shm_buffer.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)
#define LENGTH_BYTES 4u
/* By so much a state grows while it is written. */
#define ROOM_MIN (64u * 1024u)
#define ROOM_MAX (4u << 20)

static void put_number(uint8_t *to, uint64_t value, unsigned int bytes)
{
    for (unsigned int i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get_number(const uint8_t *from, unsigned int bytes)
{
    uint64_t value = 0;

    for (unsigned int i = 0; i < bytes; i++)
        value |= (uint64_t)from[i] << 8 * i;
    return value;
}

static uint64_t checksum(const uint8_t *data, size_t len)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ data[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* ---- writing ---- */

/*
 * Its memory is the mapping of the memfd that it becomes: there is no second copy of what is saved.
 */
static int reserve(struct state_writer *w, size_t cap)
{
    void *at;

    /*
     * Allocated now: without memory this fails, while a page that is touched would end the process.
     */
    while (fallocate(w->fd, 0, (off_t)w->cap, (off_t)(cap - w->cap)) < 0)
        if (errno != EINTR)
            return errno == ENOSPC ? -ENOMEM : -errno; /* there is no disk that could be full */
    at = w->data ? mremap(w->data, w->cap, cap, MREMAP_MAYMOVE)
                 : mmap(NULL, cap, PROT_READ | PROT_WRITE, MAP_SHARED, w->fd, 0);
    if (at == MAP_FAILED)
        return -errno;
    w->data = at;
    w->cap = cap;
    return 0;
}

int state_writer_init(struct state_writer *w)
{
    memset(w, 0, sizeof(*w));
    w->len = STATE_HEADER;
    w->format = STATE_FORMAT_FIRST;
    w->most = STATE_FORMAT_LAST;
    w->fd = shm_buffer_memfd();
    return w->fd < 0 ? w->fd : reserve(w, ROOM_MIN);
}

void state_writer_deinit(struct state_writer *w)
{
    if (w->data)
        munmap(w->data, w->cap);
    w->data = NULL;
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
    w->descriptors = mem_free(w->descriptors);
}

static void fail(struct state_writer *w, int error)
{
    if (!w->error)
        w->error = error;
}

static bool make_room(struct state_writer *w, size_t len)
{
    size_t more = w->cap / 4;
    int r;

    if (w->error)
        return false;
    if (w->len + len > STATE_BYTES_MAX) {
        fail(w, -EFBIG);
        return false;
    }
    if (w->cap - w->len >= len)
        return true;
    more = more < ROOM_MIN ? ROOM_MIN : more > ROOM_MAX ? ROOM_MAX : more;
    r = reserve(w, (w->len + len + more) & ~(size_t)(ROOM_MIN - 1));
    if (r < 0)
        fail(w, r);
    return r == 0;
}

void state_add(struct state_writer *w, Asockd__State__Record *record)
{
    size_t len = asockd__state__record__get_packed_size(record);

    if (len > STATE_RECORD_MAX) {
        fail(w, -EFBIG);
        return;
    }
    if (!make_room(w, LENGTH_BYTES + len))
        return;
    put_number(w->data + w->len, len, LENGTH_BYTES);
    asockd__state__record__pack(record, w->data + w->len + LENGTH_BYTES);
    w->len += LENGTH_BYTES + len;
    w->records++;
}

void state_needs(struct state_writer *w, uint32_t format)
{
    if (w->format < format)
        w->format = format;
}

uint64_t state_cookie(int fd)
{
    uint64_t cookie = 0;
    socklen_t len = sizeof(cookie);

    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len) < 0 ? 0 : cookie;
}

uint32_t state_add_descriptor(struct state_writer *w, int fd)
{
    if (fd < 0 || w->error)
        return 0;
    if (w->descriptor_count == w->descriptor_cap) {
        uint32_t cap = w->descriptor_cap ? 2 * w->descriptor_cap : 64;
        int *descriptors = cap <= STATE_DESCRIPTORS_MAX
                               ? mem_realloc(w->descriptors, cap * sizeof(*descriptors))
                               : NULL;

        if (!descriptors) {
            fail(w, -ENOMEM);
            return 0;
        }
        w->descriptors = descriptors;
        w->descriptor_cap = cap;
    }
    w->descriptors[w->descriptor_count] = fd;
    return ++w->descriptor_count;
}

int state_finish(struct state_writer *w, const uint8_t **ret, size_t *ret_len)
{
    uint8_t *header = w->data;

    if (w->error)
        return w->error;
    memcpy(header, STATE_MAGIC, 8);
    put_number(header + 8, w->format, 4);
    put_number(header + 12, STATE_HEADER, 4);
    put_number(header + 16, w->len - STATE_HEADER, 8);
    put_number(header + 24, checksum(w->data + STATE_HEADER, w->len - STATE_HEADER), 8);
    put_number(header + 32, w->descriptor_count, 4);
    put_number(header + 36, w->records, 4);
    *ret = w->data;
    *ret_len = w->len;
    return 0;
}

int state_seal(struct state_writer *w)
{
    const uint8_t *data = NULL;
    size_t len = 0;
    int fd = w->fd, r = state_finish(w, &data, &len);

    if (r < 0)
        return r;
    /* A mapping that could still write would forbid the seals. */
    munmap(w->data, w->cap);
    w->data = NULL;
    if (ftruncate(fd, (off_t)len) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0)
        return -errno;
    w->fd = -1;
    return fd;
}

/* ---- reading ---- */

int state_read(struct state_reader *r, const uint8_t *data, size_t len)
{
    uint64_t format, header, body;

    memset(r, 0, sizeof(*r));
    if (len < STATE_HEADER || memcmp(data, STATE_MAGIC, 8) != 0)
        return -EBADMSG;
    format = get_number(data + 8, 4);
    if (format < STATE_FORMAT_FIRST || format > STATE_FORMAT_LAST)
        return -EPROTONOSUPPORT;
    header = get_number(data + 12, 4);
    body = get_number(data + 16, 8);
    if (header < STATE_HEADER || header > len || body != len - header ||
        checksum(data + header, (size_t)body) != get_number(data + 24, 8))
        return -EBADMSG;
    r->data = data;
    r->len = len;
    r->at = (size_t)header;
    r->descriptors = (uint32_t)get_number(data + 32, 4);
    r->records = (uint32_t)get_number(data + 36, 4);
    return r->descriptors <= STATE_DESCRIPTORS_MAX ? 0 : -EBADMSG;
}

/* A memfd has its seals from whoever made it; what can still change is not looked at. */
static int map(int fd, const uint8_t **ret, size_t *ret_len)
{
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat st;
    void *at;

    if (seals < 0 || (seals & SEALS) != SEALS)
        return -EPERM;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size < (off_t)STATE_HEADER || (uint64_t)st.st_size > STATE_BYTES_MAX)
        return -EBADMSG;
    at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (at == MAP_FAILED)
        return -errno;
    *ret = at;
    *ret_len = (size_t)st.st_size;
    return 0;
}

int state_open(struct state_reader *r, int fd)
{
    const uint8_t *data = NULL;
    size_t len = 0;
    int e;

    memset(r, 0, sizeof(*r));
    e = map(fd, &data, &len);
    if (e < 0)
        return e;
    e = state_read(r, data, len);
    r->data = data;
    r->len = len;
    r->is_mapped = true;
    if (e < 0)
        state_reader_deinit(r);
    return e;
}

void state_reader_deinit(struct state_reader *r)
{
    if (r->is_mapped)
        munmap((void *)(uintptr_t)r->data, r->len);
    memset(r, 0, sizeof(*r));
}

/* protobuf-c has one result for a record that is damaged and for one that finds no memory. */
static void *allocate(void *is_short, size_t size)
{
    void *p = mem_alloc(size);

    if (!p)
        *(bool *)is_short = true;
    return p;
}

static void release(void *is_short, void *p)
{
    (void)is_short;
    mem_free(p);
}

int state_next(struct state_reader *r, Asockd__State__Record **ret)
{
    bool is_short = false;
    ProtobufCAllocator allocator = {allocate, release, &is_short};
    size_t left = r->len - r->at;
    uint64_t len;

    *ret = NULL;
    if (left == 0)
        return r->records == 0 ? 0 : -EBADMSG;
    if (r->records == 0 || left < LENGTH_BYTES)
        return -EBADMSG;
    len = get_number(r->data + r->at, LENGTH_BYTES);
    if (len > STATE_RECORD_MAX || len > left - LENGTH_BYTES)
        return -EBADMSG;
    *ret = asockd__state__record__unpack(&allocator, (size_t)len, r->data + r->at + LENGTH_BYTES);
    if (!*ret)
        return is_short ? -ENOMEM : -EBADMSG;
    r->at += LENGTH_BYTES + (size_t)len;
    r->records--;
    return 1;
}

void state_record_free(Asockd__State__Record *record)
{
    ProtobufCAllocator allocator = {allocate, release, NULL};

    if (record)
        asockd__state__record__free_unpacked(record, &allocator);
}
