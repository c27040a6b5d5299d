/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What goes from one daemon to the next, damaged or made up: refused. */

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/session/sock.h"
#include "proto/errors.h"
#include "tests/lib/suite.h"
#include "tests/unit/state_parts.h"

/* ---- damaged ---- */

/* All records: how many there were, or -errno. */
static int read_all(const uint8_t *data, size_t len, uint32_t *ret_descriptors)
{
    Asockd__State__Record *record;
    struct state_reader in;
    int e = state_read(&in, data, len), n = 0;

    *ret_descriptors = in.descriptors;
    while (e == 0 && (e = state_next(&in, &record)) > 0) {
        state_record_free(record);
        e = 0;
        n++;
    }
    return e < 0 ? e : n;
}

START_TEST(test_any_other_byte_is_noticed)
{
    struct state_writer w;
    struct parts p;
    const uint8_t *data;
    uint32_t descriptors;
    uint8_t *copy;
    size_t len;

    parts_fill(&p);
    parts_write(&p, &w);
    ck_assert_int_eq(state_finish(&w, &data, &len), 0);
    ck_assert_int_eq(read_all(data, len, &descriptors), 6);
    copy = malloc(len);
    for (size_t i = 0; i < len; i++) {
        memcpy(copy, data, len);
        copy[i] ^= 1;
        ck_assert_msg(read_all(copy, len, &descriptors) < 0 || descriptors != DESCRIPTORS,
                      "byte %zu", i);
    }
    for (size_t cut = 0; cut < len; cut++) {
        uint8_t *part = malloc(cut + 1); /* its own end is the end */

        memcpy(part, data, cut);
        ck_assert_int_eq(read_all(part, cut, &descriptors), -EBADMSG);
        free(part);
    }
    free(copy);
    state_writer_deinit(&w);
}
END_TEST

START_TEST(test_a_memory_file_must_be_sealed)
{
    struct state_writer w;
    struct state_reader in;
    struct parts p;
    int open, sealed;

    parts_fill(&p);
    parts_write(&p, &w);
    sealed = state_seal(&w);
    ck_assert_int_ge(sealed, 0);
    ck_assert_int_eq(state_open(&in, sealed), 0);
    ck_assert_uint_eq(in.descriptors, DESCRIPTORS);
    state_reader_deinit(&in);
    ck_assert_int_lt(ftruncate(sealed, 1), 0);
    ck_assert_int_lt(write(sealed, "x", 1), 0);
    open = memfd_create("open", MFD_ALLOW_SEALING);
    ck_assert_int_eq(write(open, "asockdS\n", 8), 8);
    ck_assert_int_eq(state_open(&in, open), -EPERM);
    close(open);
    close(sealed);
    state_writer_deinit(&w);
}
END_TEST

/* Only the memfd has it: at a full load there may be no room for a second copy. */
START_TEST(test_a_state_is_written_once)
{
    const struct rlimit least = {.rlim_cur = 1 << 20, .rlim_max = RLIM_INFINITY};
    Asockd__State__Op op = ASOCKD__STATE__OP__INIT;
    uint8_t *bytes = calloc(1, 1 << 20);
    size_t before = mallinfo2().uordblks;
    struct state_writer w;
    struct stat st;
    int fd;

    op.data = (ProtobufCBinaryData){1 << 20, bytes};
    ck_assert_int_eq(state_writer_init(&w), 0);
    for (int i = 0; i < 8; i++)
        parts_add(&w, ASOCKD__STATE__RECORD__KIND_OP, &op);
    ck_assert_uint_le(mallinfo2().uordblks, before + (1 << 20));
    fd = state_seal(&w);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &st), 0);
    ck_assert_int_gt(st.st_size, 8 << 20);
    ck_assert_int_lt(st.st_size, 9 << 20);
    ck_assert_int_le(st.st_blocks, 9 << 11);
    close(fd);
    state_writer_deinit(&w);

    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &least), 0);
    ck_assert_int_eq(state_writer_init(&w), 0);
    parts_add(&w, ASOCKD__STATE__RECORD__KIND_OP, &op);
    ck_assert_int_eq(state_seal(&w), -EFBIG);
    state_writer_deinit(&w);
    free(bytes);
}
END_TEST

/* ---- wrong ---- */

static void two_lock(struct parts *p)
{
    p->daemon.lock = CLIENT;
}
static void no_lock(struct parts *p)
{
    p->daemon.lock = 0;
}
static void lock_is_socket(struct parts *p)
{
    p->daemon.lock = CONNECTION;
    p->socket.descriptor = LOCK;
}
static void more_sessions(struct parts *p)
{
    p->daemon.sessions = 2;
}
static void fewer_sessions(struct parts *p)
{
    p->daemon.sessions = 0;
}
static void more_records(struct parts *p)
{
    p->has_more = true;
}
static void other_listener(struct parts *p)
{
    p->session.listener = (char *)(uintptr_t) "nobody's";
}
static void client_is_network(struct parts *p)
{
    p->session.descriptor = CONNECTION;
    p->socket.descriptor = CLIENT;
}
static void other_cookie(struct parts *p)
{
    p->session.cookie = 1;
}
static void later_id(struct parts *p)
{
    p->session.id = 50;
}
static void no_identity(struct parts *p)
{
    p->session.identity = NULL;
}
static void endless_sockets(struct parts *p)
{
    p->session.sockets_max = UINT32_MAX;
}
static void endless_queue(struct parts *p)
{
    p->session.queued_max = UINT64_MAX;
}
static void half_a_reply(struct parts *p)
{
    p->replies[0].len--;
}
static void slot_too_high(struct parts *p)
{
    p->slot.id = 9;
}
static void socket_too_high(struct parts *p)
{
    p->socket.id = 9;
}
static void socket_zero(struct parts *p)
{
    p->socket.id = 0;
}
static void no_state(struct parts *p)
{
    p->socket.state = 99;
}
static void open_with_descriptor(struct parts *p)
{
    p->socket.state = ASOCKD__STATE__SOCKET__STATE__OPEN;
}
static void connected_without(struct parts *p)
{
    p->socket.descriptor = 0;
}
static void odd_address(struct parts *p)
{
    p->remote.address.len = 3;
}
static void no_side(struct parts *p)
{
    p->socket.send_side = 4;
}
static void no_error(struct parts *p)
{
    p->socket.lost_error = ERR_COUNT;
}
static void fewer_bytes(struct parts *p)
{
    p->send.data.len--;
}
static void more_taken_than_came(struct parts *p)
{
    p->send.bytes = 11;
}
static void chain_is_not_last(struct parts *p)
{
    p->socket.chain = p->send.token;
}
static void same_token(struct parts *p)
{
    p->receive.token = 100;
}
static void no_token(struct parts *p)
{
    p->receive.token = 0;
}
static void other_socket(struct parts *p)
{
    p->receive.socket_id = 3;
}
static void receive_among_sends(struct parts *p)
{
    p->receive.queue = ASOCKD__STATE__OP__QUEUE__SENDS;
}
static void peek_of_much(struct parts *p)
{
    p->receive.receive_flags = RECEIVE_PEEK;
    p->receive.length = 1 << 20;
}
static void multishot(struct parts *p)
{
    p->receive.receive_flags = RECEIVE_MULTISHOT;
}
static void more_ops(struct parts *p)
{
    p->socket.ops = 4;
}
static void chain_is_missing(struct parts *p)
{
    p->socket.chain = 177;
}
static void connect_of_connected(struct parts *p)
{
    p->receive.verb = VERB_CONNECT;
    p->receive.queue = ASOCKD__STATE__OP__QUEUE__CONNECT;
}

/* ---- shared memory ---- */

static Asockd__State__Buffer buffers[2], *buffer_at[] = {&buffers[0], &buffers[1]};
static Asockd__State__Slice slice, *slice_at[] = {&slice};

static void add_buffer(struct parts *p, uint32_t id)
{
    Asockd__State__Buffer *buffer = &buffers[p->session.n_buffers++];

    asockd__state__buffer__init(buffer);
    buffer->id = id;
    p->session.buffers = buffer_at;
}
static void add_slice(Asockd__State__Op *op, uint32_t flags)
{
    asockd__state__slice__init(&slice);
    slice.buffer = 1;
    slice.length = 10;
    op->slices = slice_at;
    op->n_slices = 1;
    op->flags |= flags;
    op->bytes = 0;
    op->receive_flags = 0;
    op->length = 10;
}
static void buffer_zero(struct parts *p)
{
    add_buffer(p, 0);
}
static void same_place(struct parts *p)
{
    add_buffer(p, 1);
    add_buffer(p, 1 + LIMIT_BUFFERS);
}
static void length_of_nothing(struct parts *p)
{
    add_buffer(p, 1);
    buffers[0].length = 4096;
}
static void unregister_of_nothing(struct parts *p)
{
    add_buffer(p, 1);
    buffers[0].released = true;
    buffers[0].unregister = 400;
}
static void buffer_is_socket(struct parts *p)
{
    add_buffer(p, 1);
    buffers[0].length = 4096;
    buffers[0].descriptor = CONNECTION;
    p->socket.descriptor = 0;
}
static void status_is_socket(struct parts *p)
{
    p->session.status = CONNECTION;
}
static void many_unread(struct parts *p)
{
    p->session.descriptors_unread = LIMIT_BUFFERS + 2;
}
static void slice_of_nothing(struct parts *p)
{
    add_slice(&p->receive, ASOCKD__STATE__OP__FLAG__REFERENCE);
}
static void slice_of_what_has_gone(struct parts *p)
{
    add_buffer(p, 1);
    add_slice(&p->receive, ASOCKD__STATE__OP__FLAG__REFERENCE);
}
static void slice_without_reference(struct parts *p)
{
    add_slice(&p->receive, 0);
}
static void slices_are_less(struct parts *p)
{
    add_slice(&p->receive, ASOCKD__STATE__OP__FLAG__REFERENCE);
    p->receive.length = 11;
}
static void multishot_without_slices(struct parts *p)
{
    p->receive.flags |= ASOCKD__STATE__OP__FLAG__REFERENCE;
    p->receive.receive_flags = RECEIVE_MULTISHOT;
    p->receive.bytes = 0;
}
static void sharer_is_missing(struct parts *p)
{
    p->session.sharer = 7;
}
static void sharer_comes_later(struct parts *p)
{
    p->session.sharer = p->session.id;
}
static void rights_of_nobody(struct parts *p)
{
    p->session.may_not_lend = true;
}
static void share(struct parts *p, const char *name, uint32_t descriptor)
{
    static Asockd__State__Shared shared, *at[] = {&shared};

    asockd__state__shared__init(&shared);
    shared.name = (char *)(uintptr_t)name;
    shared.descriptor = descriptor;
    p->session.shared = at;
    p->session.n_shared = 1;
}
static void shares_nothing(struct parts *p)
{
    share(p, "0123456789abcdef0123456789abcdef", 0);
}
static void shares_a_connection(struct parts *p)
{
    share(p, "0123456789abcdef0123456789abcdef", CONNECTION);
}
static void shares_by_a_long_name(struct parts *p)
{
    static char name[200];

    share(p, memset(name, 'a', sizeof(name) - 1), CONNECTION);
}
static void reference_with_data(struct parts *p)
{
    p->send.flags |= ASOCKD__STATE__OP__FLAG__REFERENCE;
}

static void (*const wrongs[])(struct parts *p) = {
    sharer_is_missing,
    sharer_comes_later,
    rights_of_nobody,
    shares_nothing,
    shares_a_connection,
    shares_by_a_long_name,
    buffer_zero,
    same_place,
    length_of_nothing,
    unregister_of_nothing,
    buffer_is_socket,
    status_is_socket,
    many_unread,
    slice_of_nothing,
    slice_of_what_has_gone,
    slice_without_reference,
    slices_are_less,
    multishot_without_slices,
    reference_with_data,
    two_lock,
    no_lock,
    lock_is_socket,
    more_sessions,
    fewer_sessions,
    more_records,
    other_listener,
    client_is_network,
    other_cookie,
    later_id,
    no_identity,
    endless_sockets,
    endless_queue,
    half_a_reply,
    slot_too_high,
    socket_too_high,
    socket_zero,
    no_state,
    open_with_descriptor,
    connected_without,
    odd_address,
    no_side,
    no_error,
    fewer_bytes,
    more_taken_than_came,
    chain_is_not_last,
    same_token,
    no_token,
    other_socket,
    receive_among_sends,
    peek_of_much,
    multishot,
    more_ops,
    chain_is_missing,
    connect_of_connected,
};

START_LOOP_TEST(test_what_cannot_be_is_refused, 0, sizeof(wrongs) / sizeof(wrongs[0]))
{
    struct parts p;
    struct taker t;

    parts_fill(&p);
    wrongs[_i](&p);
    ck_assert_int_eq(taker_take_parts(&t, &p), -EBADMSG);
    ck_assert_ptr_nonnull(t.r.what);
    taker_free(&t);
}
END_TEST
