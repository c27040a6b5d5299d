/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory that the daemon shares.
 *
 * Happy path: REGISTER is sent; the descriptor that comes with its completion is mapped and closed;
 * an op all of whose segments lie in such memory goes by reference; when the last reference and the
 * last use are gone, the buffer is unmapped and UNREGISTER is sent.
 * Failures: the daemon grants no buffer, the descriptor could not be received, no address space;
 * the daemon violates the protocol (the session ends). If the caller has stopped waiting when the
 * answer arrives, the buffer is given back.
 */
#include "client-lib/shm/buffer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/tcp.h> /* more of struct tcp_info than the C library's */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client-lib/core/context.h"
#include "client-lib/shm/bounce.h"
#include "client-lib/shm/pool.h"
#include "client-lib/shm/status.h"
#include "proto/endpoint.h"

void asock_memory_init(struct shm *memory)
{
    list_init(&memory->registers);
    list_init(&memory->leaving);
    list_init(&memory->left);
    list_init(&memory->credits);
    asock_bounce_init(&memory->bounce);
}

static void drop_descriptors(struct shm *memory)
{
    while (memory->descriptor_count > 0)
        close(memory->descriptors[--memory->descriptor_count]);
    memory->is_cut = false;
}

void asock_memory_deinit(struct shm *memory)
{
    free(memory->buffers);
    drop_descriptors(memory);
    asock_status_unmap(&memory->status);
}

static void free_list(struct list *list)
{
    asock_buffer *buffer;

    while ((buffer = list_first(list, asock_buffer, node))) {
        list_remove(&buffer->node);
        free(buffer);
    }
}

/* Replaces the shared memory by private memory with the same contents, at the same address. */
static bool make_private(const asock_buffer *buffer)
{
    void *copy = mmap(NULL, buffer->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                      0);

    if (copy == MAP_FAILED)
        return false;
    memcpy(copy, buffer->at, buffer->size);
    if (madvise(copy, buffer->size, MADV_DONTFORK) == 0 &&
        mremap(copy, buffer->size, buffer->size, MREMAP_MAYMOVE | MREMAP_FIXED, buffer->at) !=
            MAP_FAILED)
        return true;
    munmap(copy, buffer->size);
    return false;
}

/*
 * The daemon marks the status page before it empties anything, so the page is read after the
 * copies. Without memory for a copy the buffer counts as lost, because the daemon may empty it
 * later.
 */
static void keep_contents(struct shm *memory)
{
    bool is_marked;

    for (size_t i = 0; i < memory->count; i++)
        if (memory->buffers[i]->id)
            memory->buffers[i]->is_lost = !make_private(memory->buffers[i]);
    is_marked = asock_status_is_marked(&memory->status);
    asock_status_unmap(&memory->status);
    for (size_t i = 0; i < memory->count; i++) {
        asock_buffer *buffer = memory->buffers[i];

        buffer->is_lost |= buffer->id && is_marked;
        buffer->id = 0;
        memory->has_lost |= buffer->is_lost;
    }
}

void asock_memory_end(asock_context *context)
{
    struct shm *memory = &context->memory;

    free_list(&memory->leaving);
    free_list(&memory->left);
    memory->registering = NULL;
    drop_descriptors(memory);
    keep_contents(memory);
    asock_bounce_end(context);
}

void asock_memory_add_descriptor(asock_context *context, int fd)
{
    struct shm *memory = &context->memory;

    if (memory->descriptor_count < MEMORY_DESCRIPTORS_MAX)
        memory->descriptors[memory->descriptor_count++] = fd;
    else
        close(fd);
}

/* Removes the first `count` descriptors, which have been used. */
static void forget_descriptors(struct shm *memory, unsigned int count)
{
    if (count > memory->descriptor_count)
        count = memory->descriptor_count;
    memory->descriptor_count -= count;
    memmove(memory->descriptors, memory->descriptors + count,
            memory->descriptor_count * sizeof(memory->descriptors[0]));
}

static bool is_at(const struct endpoint *one, const struct endpoint *other)
{
    return one->port == other->port && one->address_len == other->address_len &&
           memcmp(one->address, other->address, one->address_len) == 0;
}

/*
 * The daemon has dissolved it since: such a socket has no address any more. One that has been bound
 * ([Egress] Source=) keeps its address, but the kernel has forgotten what it had counted of the
 * connection; of one that the peer has reset it has not.
 */
static bool is_dissolved(int fd)
{
    struct tcp_info info = {.tcpi_segs_in = 1};
    socklen_t len = sizeof(info);

    return errno == ENOTCONN && getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
           info.tcpi_segs_in == 0;
}

static bool has_no_address(const struct endpoint *local)
{
    static const uint8_t none[sizeof(local->address)];

    return memcmp(local->address, none, local->address_len) == 0;
}

/*
 * 1: it has these addresses; 0: it has others; -1: it is dissolved. Sockets to different peers may
 * share a local address. A sandbox may forbid getpeername(2).
 */
static int look_at(int fd, const struct endpoint *local, const struct endpoint *remote)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);
    struct endpoint found;

    if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0 ||
        asock_endpoint_from((struct sockaddr *)&addr, len, &found) < 0)
        return 0;
    if (has_no_address(&found))
        return -1;
    if (!is_at(&found, local))
        return 0;
    len = sizeof(addr);
    if (getpeername(fd, (struct sockaddr *)&addr, &len) < 0)
        return is_dissolved(fd) ? -1 : 1;
    return asock_endpoint_from((struct sockaddr *)&addr, len, &found) < 0 ||
           found.address_len != remote->address_len || is_at(&found, remote);
}

/*
 * A descriptor may be missing: the kernel drops it if the program has no free descriptor, and the
 * daemon sends none for a socket that has ended. The next descriptor may then belong to another
 * reply, so the addresses are compared. A dissolved socket is of no use to any reply.
 */
int asock_memory_take_socket(asock_context *context, const struct endpoint *local,
                             const struct endpoint *remote)
{
    struct shm *memory = &context->memory;

    while (memory->descriptor_count > 0) {
        int fd = memory->descriptors[0], r = look_at(fd, local, remote);

        if (r == 0)
            return -1;
        forget_descriptors(memory, 1);
        if (r > 0)
            return fd;
        close(fd);
    }
    return -1;
}

void asock_memory_drop_descriptors(asock_context *context)
{
    drop_descriptors(&context->memory);
}

/* ---- by address ---- */

/* The first buffer that ends behind this address; memory->count: none. */
static size_t place_of(const struct shm *memory, uintptr_t at)
{
    size_t low = 0, high = memory->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        const asock_buffer *buffer = memory->buffers[middle];

        if ((uintptr_t)buffer->at + buffer->size <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static asock_buffer *find(const struct shm *memory, const struct iovec *segment)
{
    uintptr_t at = (uintptr_t)segment->iov_base;
    size_t place = place_of(memory, at);
    asock_buffer *buffer = place < memory->count ? memory->buffers[place] : NULL;

    if (!buffer || at < (uintptr_t)buffer->at)
        return NULL;
    return segment->iov_len <= buffer->size - (at - (uintptr_t)buffer->at) ? buffer : NULL;
}

static int insert(struct shm *memory, asock_buffer *buffer)
{
    size_t place;

    if (memory->count == memory->cap) {
        size_t cap = memory->cap ? memory->cap * 2 : 4;
        asock_buffer **grown = reallocarray(memory->buffers, cap, sizeof(asock_buffer *));

        if (!grown)
            return -ENOMEM;
        memory->buffers = grown;
        memory->cap = cap;
    }
    place = place_of(memory, (uintptr_t)buffer->at);
    memmove(memory->buffers + place + 1, memory->buffers + place,
            (memory->count - place) * sizeof(asock_buffer *));
    memory->buffers[place] = buffer;
    memory->count++;
    buffer->number = ++memory->mapped;
    return 0;
}

static void take_out(struct shm *memory, const asock_buffer *buffer)
{
    size_t place = place_of(memory, (uintptr_t)buffer->at);

    memory->count--;
    memmove(memory->buffers + place, memory->buffers + place + 1,
            (memory->count - place) * sizeof(asock_buffer *));
}

/* Nothing refers to it any more. */
void asock_buffer_leave(asock_buffer *buffer)
{
    asock_context *context = buffer->context;

    if (buffer->at) {
        take_out(&context->memory, buffer);
        munmap(buffer->at, buffer->size);
    }
    buffer->at = NULL;
    if (buffer->id == 0 || !context->is_alive) {
        free(buffer);
        return;
    }
    list_append(&context->memory.leaving, &buffer->node);
    asock_wake(context);
}

void asock_buffer_unuse(asock_buffer *buffer)
{
    if (--buffer->uses == 0 && buffer->refs == 0)
        asock_buffer_leave(buffer);
}

static void unuse(asock_op *op)
{
    const struct shm *memory = &op->context->memory;

    op->class = NULL;
    for (size_t i = 0; i < op->segment_count; i++) {
        asock_buffer *buffer = NULL;

        if (op->segments[i].iov_len > 0)
            buffer = find(memory, &op->segments[i]);
        /*
         * The program may have let go of other memory that was there, once it knew that the op had
         * ended.
         */
        if (buffer && buffer->number <= op->memory.mapped)
            asock_buffer_unuse(buffer);
    }
}

static const struct op_class in_buffers = {.told = unuse, .dropped = unuse};

void asock_memory_use(asock_op *op)
{
    const struct shm *memory = &op->context->memory;
    /* Submitted again in its callback, with the same segments. */
    uint64_t used = op->class == &in_buffers ? op->memory.mapped : 0;
    size_t inside = 0, count = 0;

    if (memory->count == 0)
        return;
    op->memory.mapped = memory->mapped;
    for (size_t i = 0; i < op->segment_count; i++) {
        asock_buffer *buffer;

        if (op->segments[i].iov_len == 0)
            continue;
        count++;
        buffer = find(memory, &op->segments[i]);
        if (!buffer)
            continue;
        buffer->uses += buffer->number > used;
        op->class = &in_buffers;
        inside += buffer->id != 0;
    }
    op->memory.is_inside = inside > 0;
    op->memory.is_reference = inside > 0 && inside == count && count <= CODEC_SEGMENTS_MAX &&
                              op->operation != ASOCK_OPERATION_CONNECT && !op->file;
}

bool asock_buffer_is_lost(const asock_buffer *buffer)
{
    return buffer->is_lost ||
           (buffer->id && asock_status_is_marked(&buffer->context->memory.status));
}

bool asock_memory_is_lost(const asock_op *op)
{
    const struct shm *memory = &op->context->memory;

    if (!memory->has_lost && !asock_status_is_marked(&memory->status))
        return false;
    if (op->memory.pool)
        return asock_buffer_is_lost(op->memory.pool->buffer);
    for (size_t i = 0; i < op->segment_count; i++) {
        const asock_buffer *buffer = find(memory, &op->segments[i]);

        if (op->segments[i].iov_len > 0 && buffer && asock_buffer_is_lost(buffer))
            return true;
    }
    return false;
}

void asock_memory_segments(const asock_op *op, struct segment *room, struct segments *ret)
{
    uint32_t n = 0;

    if (op->memory.bounce_count > 0) {
        asock_bounce_refer(op, room);
        *ret = (struct segments){room, 1};
        return;
    }
    for (size_t i = 0; i < op->segment_count; i++) {
        const struct iovec *segment = &op->segments[i];
        const asock_buffer *buffer;

        if (segment->iov_len == 0)
            continue;
        buffer = find(&op->context->memory, segment);
        room[n++] = (struct segment){
            .buffer = buffer->id,
            .offset = (uint64_t)((uint8_t *)segment->iov_base - buffer->at),
            .length = segment->iov_len,
        };
    }
    *ret = (struct segments){room, n};
}

/* ---- what leaves ---- */

static void fill_unregister(asock_context *context, asock_buffer *buffer, struct request *ret)
{
    buffer->token = TOKEN_IDS | ++context->memory.unregisters;
    ret->verb = VERB_UNREGISTER;
    ret->op = buffer->token;
    ret->unregister.buffer = buffer->id;
    list_remove(&buffer->node);
    list_append(&context->memory.left, &buffer->node);
}

static void fill_register(asock_context *context, asock_op *op, struct request *ret)
{
    ret->verb = VERB_REGISTER;
    ret->op = op->token;
    ret->reg.length = op->memory.made->size;
    ret->reg.status = context->memory.status.is_asked = !context->memory.status.mark;
    list_remove(&op->queue_node);
    op->state = OP_SENT;
    context->memory.registering = op;
}

/*
 * A REGISTER waits until the daemon has answered every UNREGISTER, because it may need the quota
 * that these free.
 */
static asock_op *next_register(const asock_context *context)
{
    const struct shm *memory = &context->memory;

    if (memory->registering || !list_is_empty(&memory->leaving) || !list_is_empty(&memory->left))
        return NULL;
    return list_first(&memory->registers, asock_op, queue_node);
}

bool asock_memory_is_wanted(const asock_context *context)
{
    return !list_is_empty(&context->memory.leaving) || !list_is_empty(&context->memory.credits) ||
           next_register(context);
}

bool asock_memory_next(asock_context *context, struct request *ret, struct segment *room)
{
    struct shm *memory = &context->memory;
    asock_op *op;

    *ret = (struct request){0};
    if (!list_is_empty(&memory->leaving)) {
        fill_unregister(context, list_first(&memory->leaving, asock_buffer, node), ret);
        return true;
    }
    while (!list_is_empty(&memory->credits)) {
        op = container_of(memory->credits.next, asock_op, memory.credit_node);
        if (asock_pool_fill_credit(op, ret, room))
            return true;
    }
    op = next_register(context);
    if (op)
        fill_register(context, op, ret);
    return op != NULL;
}

bool asock_buffer_left(asock_context *context, uint64_t token)
{
    list_for_each_safe (&context->memory.left, it) {
        asock_buffer *buffer = container_of(it, asock_buffer, node);

        if (buffer->token != token)
            continue;
        list_remove(&buffer->node);
        free(buffer);
        return true;
    }
    return false;
}

/* ---- the daemon's answer ---- */

static bool is_known(const struct shm *memory, uint32_t id)
{
    for (size_t i = 0; i < memory->count; i++)
        if (memory->buffers[i]->id == id)
            return true;
    return false;
}

/* Checks that the size is what the daemon said, and is sealed: the mapping never loses a page. */
static bool is_sound(int fd, uint64_t length)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);

    return fstat(fd, &st) == 0 && st.st_size >= 0 && (uint64_t)st.st_size == length && seals >= 0 &&
           seals & F_SEAL_SHRINK;
}

/* The descriptor belongs to a reply that comes later: the one for this reply is missing. */
static bool is_socket(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

static int map(asock_context *context, asock_buffer *buffer, int fd)
{
    void *at = mmap(NULL, buffer->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int r;

    if (at == MAP_FAILED)
        return -errno;
    buffer->at = at;
    r = madvise(at, buffer->size, MADV_DONTFORK) < 0 ? -errno : insert(&context->memory, buffer);
    if (r == 0)
        return 0;
    munmap(at, buffer->size);
    buffer->at = NULL;
    return r;
}

static bool is_answer(const struct shm *memory, const struct reply *reply, uint64_t least)
{
    uint64_t length = reply->segment.length;

    return reply->body == BODY_SEGMENT && reply->descriptors == 1u + memory->status.is_asked &&
           reply->segment.buffer != 0 && !is_known(memory, reply->segment.buffer) &&
           length >= least && length <= SSIZE_MAX;
}

/*
 * Both are mapped, or neither. The kernel drops a descriptor for which the program has none left.
 */
static int take_descriptors(asock_context *context, asock_buffer *buffer)
{
    struct shm *memory = &context->memory;
    int r = 0;

    unsigned int count = 1u + memory->status.is_asked;

    if (memory->descriptor_count < count || is_socket(memory->descriptors[0]))
        return -EMFILE;
    if (memory->status.is_asked)
        r = asock_status_map(&memory->status, memory->descriptors[1]);
    if (r == 0 && buffer->refs > 0)
        r = map(context, buffer, memory->descriptors[0]);
    for (unsigned int i = 0; i < count; i++)
        close(memory->descriptors[i]);
    forget_descriptors(memory, count);
    return r;
}

static int accept_buffer(asock_op *op, const struct reply *reply)
{
    struct shm *memory = &op->context->memory;
    asock_buffer *buffer = op->memory.made;

    if (!is_answer(memory, reply, buffer->size) ||
        (memory->descriptor_count > 0 && !is_socket(memory->descriptors[0]) &&
         !is_sound(memory->descriptors[0], reply->segment.length)))
        return -EPROTO;
    buffer->id = reply->segment.buffer;
    buffer->size = (size_t)reply->segment.length;
    op->argument = take_descriptors(op->context, buffer);
    if (op->argument == 0 && buffer->refs > 0)
        return 0;
    op->memory.made = NULL;
    asock_buffer_leave(buffer);
    return op->argument == -EPROTO ? -EPROTO : 0;
}

int asock_buffer_answered(asock_op *op, const struct reply *reply)
{
    struct shm *memory = &op->context->memory;
    int r = 0;

    memory->registering = NULL;
    if (!reply->error)
        r = accept_buffer(op, reply);
    asock_bounce_answered(op);
    return r;
}
