/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Queries about sockets and sessions. Records are collected as they arrive (perhaps in the
 * dispatcher). When all are there, the caller's function gets them in the caller's thread, without
 * a lock.
 */
#include "client-lib/api/inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "client-lib/api/lifetime.h"
#include "client-lib/core/cancel.h"
#include "client-lib/core/context.h"
#include "client-lib/core/inspection.h"
#include "client-lib/core/op.h"
#include "client-lib/wire/wait.h"

struct visit {
    asock_record_fn record;
    void *userdata;
    int error; /* -ENOMEM: no memory for a record */
};

static void give_record(const struct field *fields, size_t count, void *data)
{
    struct visit *visit = data;
    struct asock_field *copy;

    copy = calloc(count ? count : 1, sizeof(*copy));
    if (!copy) {
        visit->error = -ENOMEM;
        return;
    }
    for (size_t i = 0; i < count; i++)
        copy[i] = (struct asock_field){fields[i].name, fields[i].text, fields[i].number};
    visit->record(copy, count, visit->userdata);
    free(copy);
}

static int give_all(const struct inspection *inspection, struct visit *visit)
{
    size_t at = 0;
    int count = 0;

    while (at < inspection->len) {
        uint32_t len;

        memcpy(&len, inspection->bytes + at, sizeof(len));
        at += sizeof(len);
        if (asock_codec_decode_record(inspection->bytes + at, len, give_record, visit) < 0)
            return -EPROTO;
        if (visit->error < 0)
            return visit->error;
        at += len;
        count++;
    }
    return count;
}

int asock_inspect_parse_id(const char *text, int64_t *ret)
{
    unsigned long long id;
    char *end;

    errno = 0;
    id = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || errno || *end)
        return -EINVAL;
    *ret = (int64_t)id;
    return 0;
}

/* A query to the daemon. */
struct query {
    uint32_t verb;
    int64_t argument; /* an id; RELOAD: whether to close; STATS: metrics? LISTENER: remove? */
    const char *name; /* LISTENER */
    int fd;           /* that goes along; -1: none */
    uint8_t *payload; /* NULL: none */
    size_t payload_len;
    asock_record_fn record;
    void *userdata;
    bool wants_text; /* of a failure, as a record */
};

/* "list", "show", "show ID", "stats", "metrics", "learned", "sessions", "denials", "monitor". */
static int parse_query(const char *text, struct query *ret)
{
    ret->verb = VERB_SHOW;
    if (strcmp(text, "list") == 0)
        ret->verb = VERB_LIST;
    else if (strcmp(text, "stats") == 0)
        ret->verb = VERB_STATS;
    else if (strcmp(text, "metrics") == 0)
        ret->verb = VERB_STATS, ret->argument = 1;
    else if (strcmp(text, "learned") == 0)
        ret->verb = VERB_LEARNED;
    else if (strcmp(text, "sessions") == 0)
        ret->verb = VERB_SESSIONS;
    else if (strcmp(text, "denials") == 0)
        ret->verb = VERB_DENIALS;
    else if (strcmp(text, "monitor") == 0)
        ret->verb = VERB_MONITOR;
    else if (strncmp(text, "show ", 5) == 0)
        return asock_inspect_parse_id(text + 5, &ret->argument);
    else if (strcmp(text, "show") != 0)
        return -EINVAL;
    return 0;
}

static int parse_kill(const char *const *args, struct query *ret)
{
    ret->verb = VERB_KILL;
    return args[0] && !args[1] ? asock_inspect_parse_id(args[0], &ret->argument) : -EINVAL;
}

static int parse_reload(const char *const *args, struct query *ret)
{
    ret->verb = VERB_RELOAD;
    ret->argument = args[0] != NULL;
    return !args[0] || (strcmp(args[0], "close") == 0 && !args[1]) ? 0 : -EINVAL;
}

/* "add", NAME, FD; "remove", NAME. */
static int parse_listener(const char *const *args, struct query *ret)
{
    int64_t fd = -1;

    if (!args[0] || !args[1])
        return -EINVAL;
    ret->verb = VERB_LISTENER;
    ret->name = args[1];
    ret->argument = strcmp(args[0], "remove") == 0;
    if (strnlen(ret->name, CODEC_NAME_MAX + 1) > CODEC_NAME_MAX ||
        !asock_codec_text_is_valid(ret->name, strlen(ret->name)))
        return -EINVAL;
    if (ret->argument)
        return args[2] ? -EINVAL : 0;
    if (strcmp(args[0], "add") != 0 || !args[2] || args[3] ||
        asock_inspect_parse_id(args[2], &fd) < 0 || fd < 0 || fd > INT_MAX)
        return -EINVAL;
    ret->fd = (int)fd;
    return 0;
}

static int parse_control(const char *verb, const char *const *args, struct query *ret)
{
    static const char *const none[] = {NULL};

    if (!args)
        args = none;
    if (strcmp(verb, "kill") == 0)
        return parse_kill(args, ret);
    if (strcmp(verb, "reload") == 0)
        return parse_reload(args, ret);
    if (strcmp(verb, "listener") == 0)
        return parse_listener(args, ret);
    if (strcmp(verb, "judge") != 0)
        return -EINVAL;
    ret->verb = VERB_JUDGE;
    return asock_question_make(args, &ret->payload, &ret->payload_len);
}

/* The op owns the bytes from now on, because they may be sent after the caller has given up. */
static int hand_payload(asock_op *op, const struct query *query)
{
    struct iovec *segment;

    if (query->name && !(op->asked = strdup(query->name)))
        return -ENOMEM;
    if (query->fd >= 0) {
        op->fd = fcntl(query->fd, F_DUPFD_CLOEXEC, 3);
        return op->fd < 0 ? -errno : 0;
    }
    if (query->payload_len == 0)
        return 0;
    segment = malloc(sizeof(*segment) + query->payload_len);
    if (!segment)
        return -ENOMEM;
    memcpy(segment + 1, query->payload, query->payload_len);
    *segment = (struct iovec){segment + 1, query->payload_len};
    op->segments = segment;
    op->segment_count = 1;
    op->total = query->payload_len;
    return 0;
}

/* The daemon's text about a failure, or "". */
static void keep_text(const asock_op *op, char ret[static CODEC_TEXT_MAX + 1])
{
    size_t len = op->text ? strnlen(op->text, CODEC_TEXT_MAX) : 0;

    if (len > 0)
        memcpy(ret, op->text, len);
    ret[len] = '\0';
}

static int ask(asock_context *context, const struct query *query, struct inspection *inspection,
               int timeout_ms)
{
    asock_op *op;
    int r;

    if (!context->is_alive)
        return -ECONNABORTED;
    r = asock_op_start_own(context, NULL, OPERATION_INSPECT, &op);
    if (r < 0)
        return r;
    op->holds++;
    op->verb = query->verb;
    op->argument = query->argument;
    op->inspection = inspection;
    list_append(&context->inspections, &op->queue_node);
    r = hand_payload(op, query);
    if (r < 0) {
        asock_op_end_waiting(op, ERR_NO_BUFFER_SPACE);
        asock_op_unhold(op);
        return r;
    }
    asock_wake(context);
    r = asock_run_until(op, timeout_ms);
    op->inspection = NULL; /* an answer that comes too late is dropped */
    if (r < 0 && op->state == OP_WAITING)
        asock_op_end_waiting(op, ERR_TIMED_OUT);
    if (r == 0) {
        r = -asock_error_to_errno(op->error);
        keep_text(op, inspection->text);
    }
    asock_op_unhold(op);
    return r;
}

static int finish(int r, const struct inspection *inspection, const struct query *query)
{
    struct asock_field text = {"error", inspection->text, 0};
    struct visit visit = {query->record, query->userdata, 0};

    if (r == 0)
        r = inspection->error;
    if (r == 0)
        return give_all(inspection, &visit);
    if (query->wants_text && inspection->text[0])
        query->record(&text, 1, query->userdata);
    return r;
}

static int run(asock_context *context, const struct query *query, int timeout_ms)
{
    struct inspection inspection = {0};
    int r;

    r = asock_enter(context);
    if (r < 0)
        return r;
    if (asock_is_in_callback(context)) {
        asock_leave(context);
        return -EDEADLK;
    }
    context->holds++;
    r = ask(context, query, &inspection, timeout_ms);
    asock_context_unhold(context);
    r = finish(r, &inspection, query);
    free(inspection.bytes);
    return r;
}

int asock_context_inspect(asock_context *context, const char *query, asock_record_fn record,
                          void *userdata, int timeout_ms)
{
    struct query parsed = {.record = record, .userdata = userdata, .fd = -1};

    if (!query || !record || parse_query(query, &parsed) < 0)
        return -EINVAL;
    return run(context, &parsed, timeout_ms);
}

static void ignore_record(const struct asock_field *fields, size_t count, void *userdata)
{
    (void)fields;
    (void)count;
    (void)userdata;
}

int asock_context_control(asock_context *context, const char *verb, const char *const *args,
                          asock_record_fn record, void *userdata, int timeout_ms)
{
    struct query query = {
        .record = record ? record : ignore_record, .userdata = userdata, .fd = -1};
    int r;

    query.wants_text = true;
    r = verb ? parse_control(verb, args, &query) : -EINVAL;
    if (r == 0)
        r = run(context, &query, timeout_ms);
    free(query.payload);
    return r;
}
