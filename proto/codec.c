/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proto/codec.h"
#include "proto/codec_message.h"
#include "proto/codec_plain.h"
#include "proto/frame.h"

#include <errno.h>
#include <stdalign.h>
#include <string.h>

/*
 * Requests. A row per verb says which arm it has and how the arm goes to and fro.
 *
 * Encoding: the arm's put fills one message of union arm, the head is packed right into the
 * caller's buffer. Decoding: protobuf-c unpacks into an arena on the stack, the arm's get copies
 * numbers into *ret and strings into the scratch. Failures, all -EPROTO: not protobuf, arena used
 * up, no verb, no token, wrong or missing arm, bad string.
 */

/* One message of these stands behind Request.arm while it is packed. */
union arm {
    Asock__V1__Hello hello;
    Asock__V1__Open open;
    Asock__V1__Connect connect;
    Asock__V1__Send send;
    Asock__V1__Receive receive;
    Asock__V1__Shutdown shutdown;
    Asock__V1__Close close;
    Asock__V1__Cancel cancel;
    Asock__V1__SetOption set_option;
    Asock__V1__GetOption get_option;
    Asock__V1__Sync sync;
    Asock__V1__Restrict restriction;
    Asock__V1__List list;
    Asock__V1__Show show;
    Asock__V1__Stats stats;
    Asock__V1__Kill kill;
    Asock__V1__Reload reload;
    Asock__V1__Judge judge;
    Asock__V1__Learned learned;
    Asock__V1__Register reg;
    Asock__V1__Unregister unregister;
    Asock__V1__Credit credit;
    Asock__V1__Resolve resolve;
    Asock__V1__Hangup hangup;
    Asock__V1__Share share;
    Asock__V1__Sessions sessions;
    Asock__V1__Denials denials;
    Asock__V1__Bind bind;
    Asock__V1__Monitor monitor;
    Asock__V1__Listener listener;
    Asock__V1__TakeOver take_over;
    Asock__V1__Listen listen;
    Asock__V1__Accept accept;
    Asock__V1__Disconnect disconnect;
};

struct encoder {
    const struct request *request;
    Asock__V1__Request *head;
    union arm *arm;
    Asock__V1__Endpoint endpoint, source;
    Asock__V1__OptionValue value;
    union {
        struct segment_messages segments;
        struct endpoint_messages endpoints;
    };
};

struct decoder {
    const Asock__V1__Request *head;
    const struct arena *arena;
    char *scratch;
    size_t scratch_used;
    struct request *ret;
    const char *why;
};

/* -------------------------------------------------------------------------------------- strings */

static int put_string(const char *text, size_t max, char **ret)
{
    size_t len;

    if (!text)
        return 0;
    len = strlen(text);
    if (len > max || !asock_codec_text_is_valid(text, len))
        return -EINVAL;
    *ret = (char *)(uintptr_t)text; /* packing only reads */
    return 0;
}

static int get_string(struct decoder *d, const char *text, size_t max, const char **ret)
{
    size_t len = asock_arena_string_len(d->arena, text);

    *ret = NULL;
    if (len == 0)
        return 0;
    if (len > max || len + 1 > CODEC_SCRATCH - d->scratch_used) {
        d->why = "a string is too long";
        return -EPROTO;
    }
    if (!asock_codec_text_is_valid(text, len)) {
        d->why = "a string is not UTF-8 or has control characters";
        return -EPROTO;
    }
    *ret = memcpy(d->scratch + d->scratch_used, text, len + 1);
    d->scratch_used += len + 1;
    return 0;
}

/* ----------------------------------------------------------------------------------------- arms */

static int put_hello(struct encoder *e)
{
    Asock__V1__Hello *m = &e->arm->hello;

    asock__v1__hello__init(m);
    e->head->hello = m;
    m->version = e->request->hello.version;
    m->sockets = e->request->hello.sockets;
    m->ops = e->request->hello.ops;
    m->send_window = e->request->hello.send_window;
    m->queued_max = e->request->hello.queued_max;
    return put_string(e->request->hello.name, CODEC_NAME_MAX, &m->name);
}

static int get_hello(struct decoder *d)
{
    const Asock__V1__Hello *m = d->head->hello;

    d->ret->hello.version = m->version;
    d->ret->hello.sockets = m->sockets;
    d->ret->hello.ops = m->ops;
    d->ret->hello.send_window = m->send_window;
    d->ret->hello.queued_max = m->queued_max;
    return get_string(d, m->name, CODEC_NAME_MAX, &d->ret->hello.name);
}

static int put_open(struct encoder *e)
{
    Asock__V1__Open *m = &e->arm->open;

    asock__v1__open__init(m);
    e->head->open = m;
    m->family = (Asock__V1__Family)e->request->open.family;
    m->type = (Asock__V1__SocketType)e->request->open.type;
    return 0;
}

static int get_open(struct decoder *d)
{
    d->ret->open.family = (uint32_t)d->head->open->family;
    d->ret->open.type = (uint32_t)d->head->open->type;
    return 0;
}

static int put_connect(struct encoder *e)
{
    Asock__V1__Connect *m = &e->arm->connect;
    int r;

    asock__v1__connect__init(m);
    e->head->connect = m;
    m->lend = (Asock__V1__Lend)e->request->connect.lend;
    r = asock_codec_put_endpoint(&e->request->connect.endpoint, &e->endpoint);
    if (r < 0)
        return r;
    if (r > 0)
        m->endpoint = &e->endpoint;
    r = asock_codec_put_endpoints(&e->request->connect.others, &e->endpoints, &m->n_others,
                                  &m->others);
    if (r < 0)
        return r;
    r = put_string(e->request->connect.host, CODEC_HOST_MAX, &m->host);
    if (r < 0)
        return r;
    return put_string(e->request->connect.service, CODEC_SERVICE_MAX, &m->service);
}

static int get_connect(struct decoder *d)
{
    const Asock__V1__Connect *m = d->head->connect;
    long used = asock_codec_get_endpoints(m->others, m->n_others, d->scratch,
                                          &d->ret->connect.others);

    asock_codec_get_endpoint(m->endpoint, &d->ret->connect.endpoint);
    d->ret->connect.lend = (uint32_t)m->lend;
    if (used < 0)
        d->ret->connect.malformed = "too many addresses";
    else
        d->scratch_used += (size_t)used;
    if (get_string(d, m->host, CODEC_HOST_MAX, &d->ret->connect.host) < 0 ||
        get_string(d, m->service, CODEC_SERVICE_MAX, &d->ret->connect.service) < 0)
        d->ret->connect.malformed = d->why;
    return 0;
}

static int put_send(struct encoder *e)
{
    Asock__V1__Send *m = &e->arm->send;
    int r;

    asock__v1__send__init(m);
    e->head->send = m;
    m->total_len = e->request->send.total_len;
    m->more = e->request->send.more;
    m->abandon = e->request->send.abandon;
    m->ecn = e->request->send.ecn;
    m->segment_size = e->request->send.segment_size;
    r = asock_codec_put_endpoint(&e->request->send.endpoint, &e->endpoint);
    if (r < 0)
        return r;
    if (r > 0)
        m->endpoint = &e->endpoint;
    r = asock_codec_put_endpoint(&e->request->send.source, &e->source);
    if (r < 0)
        return r;
    if (r > 0)
        m->source = &e->source;
    return asock_codec_put_segments(&e->request->send.segments, &e->segments, &m->n_segments,
                                    &m->segments);
}

static int get_send(struct decoder *d)
{
    d->ret->send.total_len = d->head->send->total_len;
    d->ret->send.more = d->head->send->more;
    d->ret->send.abandon = d->head->send->abandon;
    d->ret->send.ecn = d->head->send->ecn;
    d->ret->send.segment_size = d->head->send->segment_size;
    asock_codec_get_endpoint(d->head->send->endpoint, &d->ret->send.endpoint);
    asock_codec_get_endpoint(d->head->send->source, &d->ret->send.source);
    asock_codec_get_segments(d->head->send->segments, d->head->send->n_segments, d->scratch,
                             &d->ret->send.segments);
    return 0;
}

static int put_receive(struct encoder *e)
{
    Asock__V1__Receive *m = &e->arm->receive;

    asock__v1__receive__init(m);
    e->head->receive = m;
    m->length = e->request->receive.length;
    m->flags = e->request->receive.flags;
    return asock_codec_put_segments(&e->request->receive.segments, &e->segments, &m->n_segments,
                                    &m->segments);
}

static int get_receive(struct decoder *d)
{
    d->ret->receive.length = d->head->receive->length;
    d->ret->receive.flags = d->head->receive->flags;
    asock_codec_get_segments(d->head->receive->segments, d->head->receive->n_segments, d->scratch,
                             &d->ret->receive.segments);
    return 0;
}

static int put_shutdown(struct encoder *e)
{
    asock__v1__shutdown__init(&e->arm->shutdown);
    e->head->shutdown = &e->arm->shutdown;
    e->head->shutdown->how = (Asock__V1__How)e->request->shutdown.how;
    return 0;
}

static int get_shutdown(struct decoder *d)
{
    d->ret->shutdown.how = (uint32_t)d->head->shutdown->how;
    return 0;
}

static int put_close(struct encoder *e)
{
    asock__v1__close__init(&e->arm->close);
    e->head->close = &e->arm->close;
    e->head->close->linger_ms = e->request->close.linger_ms;
    e->head->close->abort = e->request->close.abort;
    return 0;
}

static int get_close(struct decoder *d)
{
    d->ret->close.linger_ms = d->head->close->linger_ms;
    d->ret->close.abort = d->head->close->abort;
    return 0;
}

static int put_cancel(struct encoder *e)
{
    asock__v1__cancel__init(&e->arm->cancel);
    e->head->cancel = &e->arm->cancel;
    e->head->cancel->target = e->request->cancel.target;
    e->head->cancel->unshare = e->request->cancel.unshare;
    return 0;
}

static int get_cancel(struct decoder *d)
{
    d->ret->cancel.target = d->head->cancel->target;
    d->ret->cancel.unshare = d->head->cancel->unshare;
    return 0;
}

static int put_set_option(struct encoder *e)
{
    const struct option_value *value = &e->request->option.value;
    Asock__V1__SetOption *m = &e->arm->set_option;
    int r;

    asock__v1__set_option__init(m);
    e->head->set_option = m;
    m->option = (Asock__V1__Option)e->request->option.option;
    if (!value->is_set)
        return 0;
    asock__v1__option_value__init(&e->value);
    m->value = &e->value;
    e->value.number = value->number;
    r = asock_codec_put_endpoint(&value->endpoint, &e->endpoint);
    if (r > 0)
        e->value.endpoint = &e->endpoint;
    return r < 0 ? r : 0;
}

static int get_set_option(struct decoder *d)
{
    struct option_value *value = &d->ret->option.value;
    const Asock__V1__SetOption *m = d->head->set_option;

    d->ret->option.option = (uint32_t)m->option;
    if (!m->value)
        return 0;
    value->is_set = true;
    value->number = m->value->number;
    asock_codec_get_endpoint(m->value->endpoint, &value->endpoint);
    return 0;
}

static int put_get_option(struct encoder *e)
{
    asock__v1__get_option__init(&e->arm->get_option);
    e->head->get_option = &e->arm->get_option;
    e->head->get_option->option = (Asock__V1__Option)e->request->option.option;
    return 0;
}

static int get_get_option(struct decoder *d)
{
    d->ret->option.option = (uint32_t)d->head->get_option->option;
    return 0;
}

static int put_sync(struct encoder *e)
{
    asock__v1__sync__init(&e->arm->sync);
    e->head->sync = &e->arm->sync;
    return 0;
}

static int put_restrict(struct encoder *e)
{
    asock__v1__restrict__init(&e->arm->restriction);
    e->head->restriction = &e->arm->restriction;
    return 0;
}

static int put_list(struct encoder *e)
{
    asock__v1__list__init(&e->arm->list);
    e->head->list = &e->arm->list;
    return 0;
}

static int put_show(struct encoder *e)
{
    asock__v1__show__init(&e->arm->show);
    e->head->show = &e->arm->show;
    e->head->show->id = e->request->show.id;
    return 0;
}

static int get_show(struct decoder *d)
{
    d->ret->show.id = d->head->show->id;
    return 0;
}

static int put_stats(struct encoder *e)
{
    asock__v1__stats__init(&e->arm->stats);
    e->head->stats = &e->arm->stats;
    e->head->stats->metrics = e->request->stats.metrics;
    return 0;
}

static int get_stats(struct decoder *d)
{
    d->ret->stats.metrics = d->head->stats->metrics;
    return 0;
}

static int put_kill(struct encoder *e)
{
    asock__v1__kill__init(&e->arm->kill);
    e->head->kill = &e->arm->kill;
    e->head->kill->id = e->request->show.id;
    return 0;
}

static int get_kill(struct decoder *d)
{
    d->ret->show.id = d->head->kill->id;
    return 0;
}

static int put_reload(struct encoder *e)
{
    asock__v1__reload__init(&e->arm->reload);
    e->head->reload = &e->arm->reload;
    e->head->reload->close = e->request->reload.close;
    return 0;
}

static int get_reload(struct decoder *d)
{
    d->ret->reload.close = d->head->reload->close;
    return 0;
}

static int put_listener(struct encoder *e)
{
    Asock__V1__Listener *m = &e->arm->listener;

    asock__v1__listener__init(m);
    e->head->listener = m;
    m->remove = e->request->listener.remove;
    return put_string(e->request->listener.name, CODEC_NAME_MAX, &m->name);
}

static int get_listener(struct decoder *d)
{
    d->ret->listener.remove = d->head->listener->remove;
    return get_string(d, d->head->listener->name, CODEC_NAME_MAX, &d->ret->listener.name);
}

static int put_judge(struct encoder *e)
{
    asock__v1__judge__init(&e->arm->judge);
    e->head->judge = &e->arm->judge;
    return 0;
}

static int put_learned(struct encoder *e)
{
    asock__v1__learned__init(&e->arm->learned);
    e->head->learned = &e->arm->learned;
    return 0;
}

static int put_sessions(struct encoder *e)
{
    asock__v1__sessions__init(&e->arm->sessions);
    e->head->sessions = &e->arm->sessions;
    return 0;
}

static int put_denials(struct encoder *e)
{
    asock__v1__denials__init(&e->arm->denials);
    e->head->denials = &e->arm->denials;
    return 0;
}

static int put_monitor(struct encoder *e)
{
    asock__v1__monitor__init(&e->arm->monitor);
    e->head->monitor = &e->arm->monitor;
    return 0;
}

static int put_take_over(struct encoder *e)
{
    asock__v1__take_over__init(&e->arm->take_over);
    e->head->take_over = &e->arm->take_over;
    e->head->take_over->format = e->request->take_over.format;
    return 0;
}

static int get_take_over(struct decoder *d)
{
    d->ret->take_over.format = d->head->take_over->format;
    return 0;
}

static int put_register(struct encoder *e)
{
    asock__v1__register__init(&e->arm->reg);
    e->head->register_ = &e->arm->reg;
    e->head->register_->length = e->request->reg.length;
    e->head->register_->status = e->request->reg.status;
    return 0;
}

static int get_register(struct decoder *d)
{
    d->ret->reg.length = d->head->register_->length;
    d->ret->reg.status = d->head->register_->status;
    return 0;
}

static int put_unregister(struct encoder *e)
{
    asock__v1__unregister__init(&e->arm->unregister);
    e->head->unregister = &e->arm->unregister;
    e->head->unregister->buffer = e->request->unregister.buffer;
    return 0;
}

static int get_unregister(struct decoder *d)
{
    d->ret->unregister.buffer = d->head->unregister->buffer;
    return 0;
}

static int put_share(struct encoder *e)
{
    asock__v1__share__init(&e->arm->share);
    e->head->share = &e->arm->share;
    e->arm->share.lend = e->request->share.lend;
    return 0;
}

static int get_share(struct decoder *d)
{
    d->ret->share.lend = d->head->share->lend;
    return 0;
}

static int put_credit(struct encoder *e)
{
    Asock__V1__Credit *m = &e->arm->credit;

    asock__v1__credit__init(m);
    e->head->credit = m;
    m->target = e->request->credit.target;
    return asock_codec_put_segments(&e->request->credit.segments, &e->segments, &m->n_segments,
                                    &m->segments);
}

static int get_credit(struct decoder *d)
{
    const Asock__V1__Credit *m = d->head->credit;

    d->ret->credit.target = m->target;
    asock_codec_get_segments(m->segments, m->n_segments, d->scratch, &d->ret->credit.segments);
    return 0;
}

static int put_hangup(struct encoder *e)
{
    asock__v1__hangup__init(&e->arm->hangup);
    e->head->hangup = &e->arm->hangup;
    return 0;
}

static int put_resolve(struct encoder *e)
{
    Asock__V1__Resolve *m = &e->arm->resolve;

    asock__v1__resolve__init(m);
    e->head->resolve = m;
    m->family = (Asock__V1__Family)e->request->resolve.family;
    return put_string(e->request->resolve.host, CODEC_HOST_MAX, &m->host);
}

static int get_resolve(struct decoder *d)
{
    d->ret->resolve.family = (uint32_t)d->head->resolve->family;
    if (get_string(d, d->head->resolve->host, CODEC_HOST_MAX, &d->ret->resolve.host) < 0)
        d->ret->resolve.malformed = d->why;
    return 0;
}

static int put_bind(struct encoder *e)
{
    Asock__V1__Bind *m = &e->arm->bind;
    int r;

    asock__v1__bind__init(m);
    e->head->bind = m;
    r = asock_codec_put_endpoint(&e->request->bind.endpoint, &e->endpoint);
    if (r > 0)
        m->endpoint = &e->endpoint;
    return r < 0 ? r : 0;
}

static int get_bind(struct decoder *d)
{
    asock_codec_get_endpoint(d->head->bind->endpoint, &d->ret->bind.endpoint);
    return 0;
}

static int put_listen(struct encoder *e)
{
    asock__v1__listen__init(&e->arm->listen);
    e->head->listen = &e->arm->listen;
    e->head->listen->backlog = e->request->listen.backlog;
    return 0;
}

static int get_listen(struct decoder *d)
{
    d->ret->listen.backlog = d->head->listen->backlog;
    return 0;
}

static int put_accept(struct encoder *e)
{
    asock__v1__accept__init(&e->arm->accept);
    e->head->accept = &e->arm->accept;
    e->head->accept->first = e->request->accept.first;
    e->head->accept->count = e->request->accept.count;
    return 0;
}

static int get_accept(struct decoder *d)
{
    d->ret->accept.first = d->head->accept->first;
    d->ret->accept.count = d->head->accept->count;
    return 0;
}

static int put_disconnect(struct encoder *e)
{
    asock__v1__disconnect__init(&e->arm->disconnect);
    e->head->disconnect = &e->arm->disconnect;
    e->head->disconnect->abort = e->request->disconnect.abort;
    return 0;
}

static int get_disconnect(struct decoder *d)
{
    d->ret->disconnect.abort = d->head->disconnect->abort;
    return 0;
}

/* An arm without fields. */
static int get_nothing(struct decoder *d)
{
    (void)d;
    return 0;
}

static const struct row {
    Asock__V1__Request__ArmCase arm;
    int (*put)(struct encoder *e);
    int (*get)(struct decoder *d);
} rows[] = {
    [VERB_HELLO] = {ASOCK__V1__REQUEST__ARM_HELLO, put_hello, get_hello},
    [VERB_OPEN] = {ASOCK__V1__REQUEST__ARM_OPEN, put_open, get_open},
    [VERB_CONNECT] = {ASOCK__V1__REQUEST__ARM_CONNECT, put_connect, get_connect},
    [VERB_SEND] = {ASOCK__V1__REQUEST__ARM_SEND, put_send, get_send},
    [VERB_RECEIVE] = {ASOCK__V1__REQUEST__ARM_RECEIVE, put_receive, get_receive},
    [VERB_SHUTDOWN] = {ASOCK__V1__REQUEST__ARM_SHUTDOWN, put_shutdown, get_shutdown},
    [VERB_CLOSE] = {ASOCK__V1__REQUEST__ARM_CLOSE, put_close, get_close},
    [VERB_CANCEL] = {ASOCK__V1__REQUEST__ARM_CANCEL, put_cancel, get_cancel},
    [VERB_SET_OPTION] = {ASOCK__V1__REQUEST__ARM_SET_OPTION, put_set_option, get_set_option},
    [VERB_GET_OPTION] = {ASOCK__V1__REQUEST__ARM_GET_OPTION, put_get_option, get_get_option},
    [VERB_SYNC] = {ASOCK__V1__REQUEST__ARM_SYNC, put_sync, get_nothing},
    [VERB_RESTRICT] = {ASOCK__V1__REQUEST__ARM_RESTRICTION, put_restrict, get_nothing},
    [VERB_REGISTER] = {ASOCK__V1__REQUEST__ARM_REGISTER, put_register, get_register},
    [VERB_UNREGISTER] = {ASOCK__V1__REQUEST__ARM_UNREGISTER, put_unregister, get_unregister},
    [VERB_CREDIT] = {ASOCK__V1__REQUEST__ARM_CREDIT, put_credit, get_credit},
    [VERB_RESOLVE] = {ASOCK__V1__REQUEST__ARM_RESOLVE, put_resolve, get_resolve},
    [VERB_HANGUP] = {ASOCK__V1__REQUEST__ARM_HANGUP, put_hangup, get_nothing},
    [VERB_SHARE] = {ASOCK__V1__REQUEST__ARM_SHARE, put_share, get_share},
    [VERB_BIND] = {ASOCK__V1__REQUEST__ARM_BIND, put_bind, get_bind},
    [VERB_LISTEN] = {ASOCK__V1__REQUEST__ARM_LISTEN, put_listen, get_listen},
    [VERB_ACCEPT] = {ASOCK__V1__REQUEST__ARM_ACCEPT, put_accept, get_accept},
    [VERB_DISCONNECT] = {ASOCK__V1__REQUEST__ARM_DISCONNECT, put_disconnect, get_disconnect},
    [VERB_LIST] = {ASOCK__V1__REQUEST__ARM_LIST, put_list, get_nothing},
    [VERB_SHOW] = {ASOCK__V1__REQUEST__ARM_SHOW, put_show, get_show},
    [VERB_STATS] = {ASOCK__V1__REQUEST__ARM_STATS, put_stats, get_stats},
    [VERB_KILL] = {ASOCK__V1__REQUEST__ARM_KILL, put_kill, get_kill},
    [VERB_RELOAD] = {ASOCK__V1__REQUEST__ARM_RELOAD, put_reload, get_reload},
    [VERB_JUDGE] = {ASOCK__V1__REQUEST__ARM_JUDGE, put_judge, get_nothing},
    [VERB_LEARNED] = {ASOCK__V1__REQUEST__ARM_LEARNED, put_learned, get_nothing},
    [VERB_SESSIONS] = {ASOCK__V1__REQUEST__ARM_SESSIONS, put_sessions, get_nothing},
    [VERB_DENIALS] = {ASOCK__V1__REQUEST__ARM_DENIALS, put_denials, get_nothing},
    [VERB_MONITOR] = {ASOCK__V1__REQUEST__ARM_MONITOR, put_monitor, get_nothing},
    [VERB_LISTENER] = {ASOCK__V1__REQUEST__ARM_LISTENER, put_listener, get_listener},
    [VERB_TAKE_OVER] = {ASOCK__V1__REQUEST__ARM_TAKE_OVER, put_take_over, get_take_over},
};

/* NULL for a verb that this side does not know. */
static const struct row *row_of(uint32_t verb)
{
    if (verb >= sizeof(rows) / sizeof(rows[0]) || !rows[verb].put)
        return NULL;
    return &rows[verb];
}

/* ----------------------------------------------------------------------------------- in and out */

long asock_codec_encode_request(const struct request *request, uint32_t payload_len, uint8_t *out,
                                size_t cap)
{
    size_t len = 0;

    if (cap > FRAME_PREFIX)
        len = asock_codec_plain_put_request(request, out + FRAME_PREFIX, cap - FRAME_PREFIX);
    if (len == 0)
        return asock_codec_encode_request_by_schema(request, payload_len, out, cap);
    asock_frame_prefix(out, (uint32_t)len, payload_len);
    return (long)(FRAME_PREFIX + len);
}

long asock_codec_encode_request_by_schema(const struct request *request, uint32_t payload_len,
                                          uint8_t *out, size_t cap)
{
    Asock__V1__Request head = ASOCK__V1__REQUEST__INIT;
    union arm arm;
    struct encoder e;
    const struct row *row = row_of(request->verb);
    int r;

    if (!row)
        return -EINVAL;
    e.request = request;
    e.head = &head;
    e.arm = &arm;
    head.verb = (Asock__V1__Verb)request->verb;
    head.op = request->op;
    head.socket = request->socket;
    head.timeout_ms = request->timeout_ms;
    head.flags = request->flags;
    head.arm_case = row->arm;
    r = row->put(&e);
    if (r < 0)
        return r;
    return asock_codec_pack(&head.base, CODEC_REQUEST_MAX, payload_len, out, cap);
}

static int get_request(struct decoder *d)
{
    const Asock__V1__Request *head = d->head;
    const struct row *row = row_of((uint32_t)head->verb);

    memset(d->ret, 0, sizeof(*d->ret));
    d->ret->verb = (uint32_t)head->verb;
    d->ret->op = head->op;
    d->ret->socket = head->socket;
    d->ret->timeout_ms = head->timeout_ms;
    d->ret->flags = head->flags;
    if (head->verb == 0) {
        d->why = "the request has no verb";
        return -EPROTO;
    }
    if (head->op == 0 && (uint32_t)head->verb != VERB_HELLO) {
        d->why = "the token is 0";
        return -EPROTO;
    }
    if (!row)
        return 0;
    if (head->arm_case != row->arm) {
        d->why = "the request's body does not match its verb";
        return -EPROTO;
    }
    return row->get(d);
}

int asock_codec_decode_request(const uint8_t *head, size_t len, char scratch[CODEC_SCRATCH],
                               struct request *ret, const char **ret_why)
{
    if (asock_codec_plain_get_request(head, len, scratch, ret))
        return 0;
    return asock_codec_decode_request_by_schema(head, len, scratch, ret, ret_why);
}

int asock_codec_decode_request_by_schema(const uint8_t *head, size_t len,
                                         char scratch[CODEC_SCRATCH], struct request *ret,
                                         const char **ret_why)
{
    alignas(max_align_t) uint8_t memory[ARENA_SIZE];
    struct arena arena;
    struct decoder d = {.arena = &arena, .scratch = scratch, .ret = ret};
    int r;

    asock_arena_init(&arena, memory, sizeof(memory));
    d.head = asock_codec_unpack(&asock__v1__request__descriptor, &arena, head, len, ret_why);
    if (!d.head)
        return -EPROTO;
    r = get_request(&d);
    if (r < 0)
        *ret_why = d.why;
    return r;
}

const char *asock_codec_verb_name(uint32_t verb)
{
    static const char prefix[] = "VERB_";
    const ProtobufCEnumValue *value = verb <= INT32_MAX
                                          ? protobuf_c_enum_descriptor_get_value(
                                                &asock__v1__verb__descriptor, (int)verb)
                                          : NULL;

    return value ? value->name + sizeof(prefix) - 1 : NULL;
}
