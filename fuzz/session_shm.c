/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The client's side of shared memory. No byte of a buffer is used for two ops. */
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "fuzz/session_core.h"

ssize_t core_memory_recv(struct core *core, void *data, size_t len)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * CORE_BUFFERS)];
    struct iovec iov = {data, len};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(core->client, &msg, MSG_CMSG_CLOEXEC);

    for (struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL; c; c = CMSG_NXTHDR(&msg, c)) {
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        MUST(core->fd_count + count <= CORE_OPS);
        memcpy(core->fds + core->fd_count, CMSG_DATA(c), count * sizeof(int));
        core->fd_count += (uint32_t)count;
    }
    return n;
}

static int first_descriptor(struct core *core)
{
    int fd = core->fds[0];

    MUST(core->fd_count > 0);
    memmove(core->fds, core->fds + 1, --core->fd_count * sizeof(int));
    return fd;
}

void core_memory_made(struct core *core, const struct segment *segment)
{
    struct core_buffer *buffer = &core->buffers[core->buffer_count];
    int fd = first_descriptor(core);
    uint8_t *at;

    at = mmap(NULL, segment->length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MUST(at != MAP_FAILED);
    close(fd);
    for (size_t i = 0; i < segment->length; i += 4096)
        MUST(at[i] == 0);
    if (core->buffer_count == CORE_BUFFERS)
        munmap(at, segment->length);
    else
        *buffer = (struct core_buffer){segment->buffer, at, segment->length, 0, false};
    core->buffer_count += core->buffer_count < CORE_BUFFERS;
}

void core_memory_take(struct core *core, uint32_t index, uint64_t length, uint8_t byte,
                      struct segment *ret)
{
    struct core_buffer *buffer = &core->buffers[index % CORE_BUFFERS];

    if (buffer->length - buffer->used < length)
        length = buffer->length - buffer->used;
    *ret = (struct segment){buffer->id, buffer->used, length};
    if (length > 0 && !buffer->is_released)
        memset(buffer->at + buffer->used, byte, length);
    buffer->used += length;
}

static const struct core_buffer *find(const struct core *core, uint32_t id)
{
    for (uint32_t i = core->buffer_count; i > 0; i--)
        if (core->buffers[i - 1].id == id)
            return &core->buffers[i - 1];
    return NULL;
}

/* Their ids may be another one's from here on. */
void core_memory_forget(struct core *core)
{
    for (uint32_t i = 0; i < core->buffer_count; i++)
        if (core->buffers[i].is_released)
            core->buffers[i].id = 0;
}

void core_memory_released(struct core *core, uint32_t id)
{
    for (uint32_t i = 0; i < core->buffer_count; i++)
        if (core->buffers[i].id == id)
            core->buffers[i].is_released = true;
}

/* Of a buffer that was given back the contents may be gone. */
static void judge_part(struct core *core, const struct segment *segment, uint64_t bytes,
                       uint64_t from)
{
    const struct core_buffer *buffer = find(core, segment->buffer);

    if (!buffer || buffer->is_released)
        return;
    MUST(segment->offset + bytes <= buffer->length);
    for (uint64_t i = 0; i < bytes; i++)
        MUST(buffer->at[segment->offset + i] == (uint8_t)((from + i) % 251));
}

void core_memory_judge(struct core *core, const struct segment *segments, uint32_t count,
                       uint64_t bytes, uint64_t from)
{
    for (uint32_t i = 0; i < count && bytes > 0; i++) {
        uint64_t part = segments[i].length < bytes ? segments[i].length : bytes;

        judge_part(core, &segments[i], part, from);
        from += part;
        bytes -= part;
    }
    MUST(bytes == 0);
}

void core_memory_free(struct core *core)
{
    for (uint32_t i = 0; i < core->buffer_count; i++)
        munmap(core->buffers[i].at, core->buffers[i].length);
    while (core->fd_count > 0)
        close(core->fds[--core->fd_count]);
}
