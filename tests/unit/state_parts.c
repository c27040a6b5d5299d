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

#include "daemon/audit/recent.h"
#include "daemon/audit/rule_counts.h"
#include "daemon/policy/learn.h"
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
    p->format = 2;
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

static void fill_connect(struct parts *p)
{
    struct parts_3 *three = &p->three;

    asockd__state__socket__init(&three->connecting);
    three->connecting.id = 8;
    three->connecting.serial = 45;
    three->connecting.state = ASOCKD__STATE__SOCKET__STATE__CONNECTING;
    three->connecting.ops = 1;
    asockd__state__attempt__init(&three->attempt);
    three->attempt.address = &three->to[0];
    three->attempt.descriptor = ATTEMPT;
    three->attempts[0] = &three->attempt;
    asockd__state__op__init(&three->connect);
    fill_op(&three->connect, ASOCKD__STATE__OP__QUEUE__CONNECT, VERB_CONNECT, 104);
    three->connect.socket_id = 8;
    three->connect.endpoint = &three->to[0];
    three->others[0] = &three->to[1];
    three->connect.others = three->others;
    three->connect.n_others = 1;
    three->connect.attempts = three->attempts;
    three->connect.n_attempts = 1;
}

static void fill_lingering(struct parts *p)
{
    struct parts_3 *three = &p->three;

    asockd__state__socket__init(&three->lingering);
    asockd__state__linger__init(&three->linger);
    three->linger.until = 60000;
    three->linger.charged = MEMORY_SOCKET_ALONE;
    three->lingering.serial = 46;
    three->lingering.state = ASOCKD__STATE__SOCKET__STATE__LINGERING;
    three->lingering.flags = ASOCKD__STATE__SOCKET__FLAG__LINGERS;
    three->lingering.remote = &p->remote;
    three->lingering.descriptor = LINGERING;
    three->lingering.linger = &three->linger;
    three->lingering.ops = 1;
    asockd__state__op__init(&three->close);
    fill_op(&three->close, ASOCKD__STATE__OP__QUEUE__CLOSE, VERB_CLOSE, 105);
    three->close.socket_id = 0;
    p->session.lingering = 1;
}

static void fill_sharee(struct parts *p)
{
    Asockd__State__Session *sharee = &p->three.sharee;

    asockd__state__session__init(sharee);
    sharee->id = 47;
    sharee->listener = p->session.listener;
    sharee->descriptor = SHAREE;
    sharee->identity = &p->identity;
    sharee->has_hello = true;
    sharee->sockets_max = 4;
    sharee->ops_max = sharee->socket_ops_max = 16;
    sharee->send_window = sharee->queued_max = 1024 * 1024;
    sharee->sharer = p->session.id;
    sharee->may_not_lend = true;
    p->daemon.sessions = 2;
}

void parts_fill_format_3(struct parts *p)
{
    struct parts_3 *three = &p->three;

    p->format = 3;
    for (int i = 0; i < 2; i++) {
        asockd__state__endpoint__init(&three->to[i]);
        memcpy(three->addresses[i], "\177\0\0\1", 4);
        three->addresses[i][3] = (uint8_t)(i + 1);
        three->to[i].address = (ProtobufCBinaryData){4, three->addresses[i]};
        three->to[i].port = 4433;
    }
    asockd__state__datagrams__init(&three->datagrams);
    three->destinations[0] = &three->to[0];
    three->datagrams.destinations = three->destinations;
    three->datagrams.n_destinations = 1;
    three->datagrams.dropped = 3;
    asockd__state__socket__init(&three->udp);
    three->udp.id = 6;
    three->udp.serial = 44;
    three->udp.family = FAMILY_INET;
    three->udp.descriptor = UDP;
    three->udp.datagrams = &three->datagrams;
    fill_connect(p);
    fill_lingering(p);
    fill_sharee(p);
    p->session.sockets = 5;
}

static void fill_lent(Asockd__State__Socket *socket, uint32_t id, Asockd__State__Lent *lent)
{
    asockd__state__socket__init(socket);
    asockd__state__lent__init(lent);
    socket->id = id;
    socket->serial = 47 + id / 4;
    socket->state = ASOCKD__STATE__SOCKET__STATE__LENT;
    socket->send_side = socket->receive_side = 1;
    socket->lent = lent;
}

static void fill_drain(struct parts *p)
{
    struct parts_4 *four = &p->four;

    asockd__state__socket__init(&four->drained);
    asockd__state__drain__init(&four->drain);
    four->drained.serial = 40;
    four->drained.remote = &p->remote;
    four->drained.descriptor = DRAINING;
    four->drained.kernel_receive = 2048;
    four->drain.socket = &four->drained;
    four->drain.until = 30000;
    four->drain.drained = 17;
    four->drain.charged = MEMORY_SOCKET_ALONE + 5;
    four->drain.listener = p->session.listener;
    four->drain.user = (char *)(uintptr_t) "1234";
    four->drain.unit = (char *)(uintptr_t) "sandbox.service";
    four->drains[0] = &four->drain;
    p->daemon.drains = four->drains;
    p->daemon.n_drains = 1;
}

static void fill_history(struct parts *p)
{
    struct parts_4 *four = &p->four;

    asockd__state__learned__init(&four->learned);
    four->learned.uid = four->learned.person = 1234;
    four->learned.host = (char *)(uintptr_t) "example.org";
    four->learned.port = 443;
    four->learned.file = (char *)(uintptr_t) "/etc/asock/policy.d/50-learn.policy";
    four->learned.count = 9;
    four->learned.first = 1700000000;
    four->learned.last = 1700000009;
    four->learned_at[0] = &four->learned;
    p->daemon.learned = four->learned_at;
    p->daemon.n_learned = 1;
    p->daemon.learned_dropped = 2;
    asockd__state__denial__init(&four->denial);
    four->denial.serial = 21;
    four->denial.until = 100000;
    four->denial.count = 4;
    four->denial.first = 1700000001;
    four->denial.last = 1700000008;
    four->denial.uid = four->denial.person = 1234;
    four->denial.pid = 77;
    four->denial.verb = (char *)(uintptr_t) "connect";
    four->denial.port = 443;
    four->denial.remote = &p->remote;
    four->denial.comm = (char *)(uintptr_t) "curl";
    four->denial.listener = p->session.listener;
    four->denial.reason = (char *)(uintptr_t) "no rule allows it";
    four->denials[0] = &four->denial;
    p->daemon.denials = four->denials;
    p->daemon.n_denials = 1;
    p->daemon.denials_dropped = 3;
}

void parts_fill_format_4(struct parts *p)
{
    struct parts_4 *four = &p->four;
    size_t len = p->replies[0].len;

    p->format = 4;
    p->session.sockets = 7;
    /* Two frames that wait: a descriptor goes with each. */
    memcpy(four->output, p->reply, len);
    memcpy(four->output + len, p->reply, len);
    p->session.output = (ProtobufCBinaryData){2 * len, four->output};
    p->session.lent_unread = 3;
    p->accept.end_id = 5;
    fill_lent(&four->lent, 1, &four->held);
    four->lent.descriptor = LENT;
    four->lent.remote = &p->remote;
    fill_lent(&four->travels, 5, &four->given);
    four->given.given = true;
    four->travels.descriptor = TRAVELS;
    asockd__state__travel__init(&four->travel);
    four->travel.at = (uint32_t)len;
    four->given.travel = &four->travel;
    asockd__state__travel__init(&four->buffer_travel);
    p->buffer.travel = &four->buffer_travel;
    p->buffer.with_status = true;
    p->three.connect.lend = LEND_HELD;
    fill_drain(p);
    fill_history(p);
}

/* The socket that is given goes with the reply behind the output. */
void parts_fill_format_5(struct parts *p)
{
    struct parts_5 *five = &p->five;

    p->format = 5;
    p->four.travel.at = 0;
    p->four.travel.reply = 1;
    asockd__state__rule_count__init(&five->rule);
    five->rule.rule = (char *)(uintptr_t) "none";
    five->rule.count = 6;
    five->rules[0] = &five->rule;
    p->daemon.rule_counts = five->rules;
    p->daemon.n_rule_counts = 1;
}

void parts_add(struct state_writer *w, Asockd__State__Record__KindCase kind, void *what)
{
    Asockd__State__Record record = ASOCKD__STATE__RECORD__INIT;

    record.kind_case = kind;
    record.daemon = what; /* all of them are pointers in one union */
    state_add(w, &record);
}

static int last_descriptor(unsigned int format)
{
    return format < 2 ? DESCRIPTORS : format == 2 ? STATUS : format == 3 ? SHAREE : DRAINING;
}

void parts_write(struct parts *p, struct state_writer *w)
{
    ck_assert_int_eq(state_writer_init(w), 0);
    for (int i = 0; i < last_descriptor(p->format); i++)
        ck_assert_uint_eq(state_add_descriptor(w, i), (uint32_t)i + 1);
    parts_add(w, ASOCKD__STATE__RECORD__KIND_DAEMON, &p->daemon);
    parts_add(w, ASOCKD__STATE__RECORD__KIND_SESSION, &p->session);
    parts_add(w, ASOCKD__STATE__RECORD__KIND_SOCKET, &p->socket);
    parts_add(w, ASOCKD__STATE__RECORD__KIND_OP, &p->send);
    parts_add(w, ASOCKD__STATE__RECORD__KIND_OP, &p->chain);
    parts_add(w, ASOCKD__STATE__RECORD__KIND_OP, &p->receive);
    if (p->format >= 2) {
        parts_add(w, ASOCKD__STATE__RECORD__KIND_SOCKET, &p->listener);
        parts_add(w, ASOCKD__STATE__RECORD__KIND_OP, &p->accept);
        state_needs(w, p->format);
    }
    if (p->format >= 3) {
        parts_add(w, ASOCKD__STATE__RECORD__KIND_SOCKET, &p->three.udp);
        parts_add(w, ASOCKD__STATE__RECORD__KIND_SOCKET, &p->three.connecting);
        parts_add(w, ASOCKD__STATE__RECORD__KIND_OP, &p->three.connect);
    }
    if (p->format >= 4) {
        parts_add(w, ASOCKD__STATE__RECORD__KIND_SOCKET, &p->four.lent);
        parts_add(w, ASOCKD__STATE__RECORD__KIND_SOCKET, &p->four.travels);
    }
    if (p->format >= 3) {
        parts_add(w, ASOCKD__STATE__RECORD__KIND_SOCKET, &p->three.lingering);
        parts_add(w, ASOCKD__STATE__RECORD__KIND_OP, &p->three.close);
        parts_add(w, ASOCKD__STATE__RECORD__KIND_SESSION, &p->three.sharee);
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
static void make_format_2(struct taker *t)
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
}

/* Of connections: none of them has a peer any more. */
void taker_make_format(struct taker *t, unsigned int format)
{
    int pair[2];

    make_format_2(t);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    close(pair[1]);
    t->descriptors[SHAREE - 1] = pair[0];
    t->descriptors[UDP - 1] = socket(AF_INET, SOCK_DGRAM, 0);
    for (int i = LINGERING; i <= DRAINING; i++)
        if (i != SHAREE)
            t->descriptors[i - 1] = socket(AF_INET, SOCK_STREAM, 0);
    t->r.descriptor_count = (uint32_t)last_descriptor(format);
    for (int i = last_descriptor(format); i < DRAINING; i++)
        close(t->descriptors[i]);
}

void taker_make_history(struct taker *t)
{
    t->core->worker.learn = learn_new();
    t->core->worker.recent = recent_new(&t->core->worker);
    t->core->worker.rule_counts = rule_counts_new();
    ck_assert(t->core->worker.learn && t->core->worker.recent && t->core->worker.rule_counts);
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
    t->core->worker.learn = learn_free(t->core->worker.learn);
    t->core->worker.recent = recent_free(t->core->worker.recent);
    t->core->worker.rule_counts = rule_counts_free(t->core->worker.rule_counts);
    core_free(t->core);
}

struct session *taker_session(struct taker *t)
{
    struct list *next = t->core->session->node.next;

    ck_assert_ptr_ne(next, &t->core->worker.sessions);
    return container_of(next, struct session, node);
}

void parts_write_ended(struct parts *p, struct state_writer *w)
{
    p->ended[0] = &p->session;
    p->daemon.sessions = 0;
    p->daemon.ended = p->ended;
    p->daemon.n_ended = 1;
    ck_assert_int_eq(state_writer_init(w), 0);
    for (int i = 0; i < DESCRIPTORS; i++)
        state_add_descriptor(w, i);
    parts_add(w, ASOCKD__STATE__RECORD__KIND_DAEMON, &p->daemon);
}
