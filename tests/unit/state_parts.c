/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/state_parts.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/session/session_end.h"
#include "daemon/session/sock.h"
#include "daemon/verbs/dispatch.h"
#include "daemon/wire/shm_buffer.h"
#include "daemon/wire/status_page.h"
#include "proto/errors.h"

static const char rules[] = "[Rules]\nAllow=tcp 127.0.0.1 1-65535\n";

static void fill_session(struct parts *p)
{
    struct reply reply = {.kind = KIND_COMPLETION, .op = 900, .bytes = 3};
    long n = asock_codec_encode_reply(&reply, 3, p->reply, sizeof(p->reply));

    ck_assert_int_gt(n, 0);
    memcpy(p->reply + n, "abc", 3);
    p->replies[0] = (ProtobufCBinaryData){(size_t)n + 3, p->reply};
    p->restrictions[0] = (ProtobufCBinaryData){sizeof(rules) - 1, (uint8_t *)(uintptr_t)rules};
    p->slots[0] = &p->slot;
    p->slot.id = 7;
    p->slot.dropping = 77;
    p->identity.uid = p->identity.gid = IDENTITY_ID_UNKNOWN;
    p->identity.unit = (char *)(uintptr_t) "sandbox.service";
    p->identity.units_known = true;
    p->session.id = 41;
    p->session.created = 900;
    p->session.listener = (char *)(uintptr_t) "default";
    p->session.name = (char *)(uintptr_t) "carried";
    p->session.descriptor = CLIENT;
    p->session.identity = &p->identity;
    p->session.has_hello = true;
    p->session.sockets_max = 8;
    p->session.ops_max = p->session.socket_ops_max = 64;
    p->session.send_window = p->session.queued_max = 1024 * 1024;
    p->session.restrictions = p->restrictions;
    p->session.n_restrictions = 1;
    p->session.restrictions_memory = 5000;
    p->session.input = (ProtobufCBinaryData){sizeof(p->input), p->input};
    memcpy(p->input, "\x09\0\0\0\x04", 5);
    p->session.replies = p->replies;
    p->session.n_replies = 1;
    p->session.slots = p->slots;
    p->session.n_slots = 1;
    p->session.sockets = 1;
}

static void fill_op(Asockd__State__Op *op, uint32_t queue, uint32_t verb, uint64_t token)
{
    op->queue = queue;
    op->verb = verb;
    op->token = token;
    op->socket_id = 2;
    op->flags = ASOCKD__STATE__OP__FLAG__COUNTED;
}

static void fill_ops(struct parts *p)
{
    fill_op(&p->send, ASOCKD__STATE__OP__QUEUE__SENDS, VERB_SEND, 100);
    p->send.total = p->send.received = 10;
    p->send.bytes = 6;
    p->send.data = (ProtobufCBinaryData){4, (uint8_t *)(uintptr_t) "rest"};
    p->send.until = 5000;
    fill_op(&p->chain, ASOCKD__STATE__OP__QUEUE__SENDS, VERB_SEND, 101);
    p->chain.total = 100;
    p->chain.received = 5;
    p->chain.data = (ProtobufCBinaryData){5, (uint8_t *)(uintptr_t) "begun"};
    fill_op(&p->receive, ASOCKD__STATE__OP__QUEUE__RECEIVES, VERB_RECEIVE, 102);
    p->receive.length = 1000;
    p->receive.bytes = 300;
    p->receive.receive_flags = RECEIVE_WAIT_ALL;
}

void parts_fill(struct parts *p)
{
    memset(p, 0, sizeof(*p));
    asockd__state__daemon__init(&p->daemon);
    asockd__state__session__init(&p->session);
    asockd__state__identity__init(&p->identity);
    asockd__state__slot__init(&p->slot);
    asockd__state__socket__init(&p->socket);
    asockd__state__endpoint__init(&p->remote);
    asockd__state__op__init(&p->send);
    asockd__state__op__init(&p->chain);
    asockd__state__op__init(&p->receive);
    p->stats.requests = 1234;
    p->stats.verbs[VERB_SEND] = 567;
    p->daemon.version = (char *)(uintptr_t) "0.1.0";
    p->daemon.next_id = 50;
    p->daemon.sessions = 1;
    p->daemon.lock = LOCK;
    state_save_counters(&p->stats, &p->counters, &p->daemon);
    fill_session(p);
    memcpy(p->address, "\177\0\0\1", 4);
    p->remote.address = (ProtobufCBinaryData){4, p->address};
    p->remote.port = 443;
    p->options[OPTION_NO_DELAY] = 1;
    p->socket.id = 2;
    p->socket.serial = 42;
    p->socket.state = ASOCKD__STATE__SOCKET__STATE__CONNECTED;
    p->socket.remote = &p->remote;
    p->socket.host = (char *)(uintptr_t) "example.org";
    p->socket.port = 443;
    p->socket.bytes_in = 7000;
    p->socket.kernel_send = 4096;
    p->socket.options_set = UINT32_C(1) << OPTION_NO_DELAY;
    p->socket.options = p->options;
    p->socket.n_options = NETSOCK_OPTIONS + 1;
    p->socket.descriptor = CONNECTION;
    p->socket.chain = 101;
    p->socket.ops = 3;
    fill_ops(p);
}

void parts_fill_format_2(struct parts *p)
{
    p->has_format_2 = true;
    asockd__state__buffer__init(&p->buffer);
    p->buffer.id = 1;
    p->buffer.descriptor = BUFFER;
    p->buffer.length = 4096;
    p->buffers[0] = &p->buffer;
    p->session.buffers = p->buffers;
    p->session.n_buffers = 1;
    p->session.shared_max = 1 << 20;
    p->session.buffers_max = 4;
    p->session.status = STATUS;
    p->session.sockets = 2;
    asockd__state__slice__init(&p->slice);
    p->slice.buffer = 1;
    p->slice.offset = 100;
    p->slice.length = 700;
    p->slices[0] = &p->slice;
    p->receive.flags |= ASOCKD__STATE__OP__FLAG__REFERENCE;
    p->receive.slices = p->slices;
    p->receive.n_slices = 1;
    asockd__state__endpoint__init(&p->local);
    memcpy(p->local_address, PARTS_ADDRESS, 4);
    p->local.address = (ProtobufCBinaryData){4, p->local_address};
    p->local.port = PARTS_PORT;
    asockd__state__bound__init(&p->bound);
    p->bound.asked = p->bound.local = &p->local;
    p->bound.backlog = 5;
    p->bound.charged = 3000;
    p->bound.accepted = 2;
    asockd__state__socket__init(&p->listener);
    p->listener.id = 3;
    p->listener.serial = 43;
    p->listener.state = ASOCKD__STATE__SOCKET__STATE__LISTENING;
    p->listener.descriptor = BOUND;
    p->listener.bound = &p->bound;
    p->listener.ops = 1;
    asockd__state__op__init(&p->accept);
    fill_op(&p->accept, ASOCKD__STATE__OP__QUEUE__ACCEPTS, VERB_ACCEPT, 103);
    p->accept.socket_id = 3;
    p->accept.first_id = 4;
    p->accept.end_id = 6;
}

void parts_add(struct state_writer *w, Asockd__State__Record__KindCase kind, void *what)
{
    Asockd__State__Record record = ASOCKD__STATE__RECORD__INIT;

    record.kind_case = kind;
    record.daemon = what; /* all of them are pointers in one union */
    state_add(w, &record);
}

void parts_write(struct parts *p, struct state_writer *w)
{
    ck_assert_int_eq(state_writer_init(w), 0);
    for (int i = 0; i < (p->has_format_2 ? STATUS : DESCRIPTORS); i++)
        ck_assert_uint_eq(state_add_descriptor(w, i), (uint32_t)i + 1);
    parts_add(w, ASOCKD__STATE__RECORD__KIND_DAEMON, &p->daemon);
    parts_add(w, ASOCKD__STATE__RECORD__KIND_SESSION, &p->session);
    parts_add(w, ASOCKD__STATE__RECORD__KIND_SOCKET, &p->socket);
    parts_add(w, ASOCKD__STATE__RECORD__KIND_OP, &p->send);
    parts_add(w, ASOCKD__STATE__RECORD__KIND_OP, &p->chain);
    parts_add(w, ASOCKD__STATE__RECORD__KIND_OP, &p->receive);
    if (p->has_format_2) {
        parts_add(w, ASOCKD__STATE__RECORD__KIND_SOCKET, &p->listener);
        parts_add(w, ASOCKD__STATE__RECORD__KIND_OP, &p->accept);
        state_needs(w, 2);
    }
    if (p->has_more)
        parts_add(w, ASOCKD__STATE__RECORD__KIND_OP, &p->receive);
}

/* ---- a daemon that takes it ---- */

static int configure(void *data, const char *listener, struct session_config *config)
{
    (void)data;
    config->dispatch = dispatch_frame;
    return strcmp(listener, "default") == 0 ? 0 : -ENOENT;
}

static int on_listener(void *data, const struct state_listener *listener)
{
    (void)data;
    (void)listener;
    return 0;
}

void taker_init(struct taker *t)
{
    memset(t, 0, sizeof(*t));
    t->core = core_new();
    t->core->worker.next_id = 10;
    t->client = -1;
    t->r = (struct state_restorer){
        .worker = &t->core->worker,
        .descriptors = t->descriptors,
        .taken = t->taken,
        .configure = configure,
        .listener = on_listener,
    };
}

/* For what is written by hand. */
void taker_make_descriptors(struct taker *t)
{
    int pair[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    t->client = pair[1];
    t->descriptors[LOCK - 1] = memfd_create("lock", 0);
    t->descriptors[CLIENT - 1] = pair[0];
    t->descriptors[CONNECTION - 1] = socket(AF_INET, SOCK_STREAM, 0);
    t->r.descriptor_count = DESCRIPTORS;
}

static int make_memory(off_t length)
{
    int fd = memfd_create("memory", MFD_ALLOW_SEALING);

    ck_assert_int_eq(ftruncate(fd, length), 0);
    ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, SHM_BUFFER_SEALS), 0);
    return fd;
}

/* Others that run this test may listen at the same port. */
void taker_make_format_2(struct taker *t)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(PARTS_PORT)};
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    memcpy(&addr.sin_addr, PARTS_ADDRESS, 4);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(listen(fd, 5), 0);
    t->descriptors[BOUND - 1] = fd;
    t->descriptors[BUFFER - 1] = make_memory(4096);
    t->descriptors[STATUS - 1] = make_memory(STATUS_PAGE_LENGTH);
    t->r.descriptor_count = STATUS;
}

int taker_take(struct taker *t, const uint8_t *data, size_t len)
{
    struct state_reader in;
    int e = state_read(&in, data, len);

    return e < 0 ? e : state_restore(&t->r, &in);
}

int taker_take_prepared(struct taker *t, struct parts *p)
{
    struct state_writer w;
    const uint8_t *data;
    size_t len;
    int r;

    parts_write(p, &w);
    ck_assert_int_eq(state_finish(&w, &data, &len), 0);
    r = taker_take(t, data, len);
    state_writer_deinit(&w);
    return r;
}

void taker_prepare(struct taker *t)
{
    taker_init(t);
    taker_make_descriptors(t);
}

int taker_take_parts(struct taker *t, struct parts *p)
{
    taker_prepare(t);
    return taker_take_prepared(t, p);
}

void taker_free(struct taker *t)
{
    session_end_all(&t->core->worker);
    core_settle(t->core);
    if (t->client >= 0)
        close(t->client);
    close(t->r.lock);
    for (uint32_t i = 0; i < t->r.descriptor_count; i++)
        if (!t->taken[i])
            close(t->descriptors[i]);
    core_free(t->core);
}

struct session *taker_session(struct taker *t)
{
    struct session *s = container_of(t->core->worker.sessions.prev, struct session, node);

    ck_assert_ptr_ne(s, t->core->session);
    return s;
}
