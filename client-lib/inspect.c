/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Questions about sockets and sessions. Records are gathered as they come (in the dispatcher, it may
 * be), and given to the caller's function when all are there, in the caller's thread, without a lock.
 */
#include "client-lib/parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An answer larger than this is given up: -E2BIG. */
#define INSPECTION_MOST (256u * 1024u * 1024u)

struct inspection {
    uint8_t *octets; /* of each record: its length, then itself */
    size_t len, cap;
    int error;
};

static bool reserve(struct inspection *inspection, size_t more)
{
    size_t cap = inspection->cap ? inspection->cap : 4096;
    uint8_t *octets;

    if (inspection->error < 0)
        return false;
    while (cap - inspection->len < more)
        cap *= 2;
    if (cap == inspection->cap)
        return true;
    octets = cap <= INSPECTION_MOST ? realloc(inspection->octets, cap) : NULL;
    if (!octets) {
        inspection->error = cap <= INSPECTION_MOST ? -ENOMEM : -E2BIG;
        return false;
    }
    inspection->octets = octets;
    inspection->cap = cap;
    return true;
}

void asock_inspection_begin(struct inspection *inspection, uint32_t len)
{
    if (!reserve(inspection, sizeof(len) + (size_t)len))
        return;
    memcpy(inspection->octets + inspection->len, &len, sizeof(len));
    inspection->len += sizeof(len);
}

void asock_inspection_append(struct inspection *inspection, const uint8_t *data, size_t len)
{
    if (len == 0 || !reserve(inspection, len))
        return;
    memcpy(inspection->octets + inspection->len, data, len);
    inspection->len += len;
}

struct visit {
    asock_record_fn record;
    void *userdata;
};

static void give_record(const struct field *fields, size_t count, void *data)
{
    const struct visit *visit = data;
    struct asock_field *copy;

    copy = calloc(count ? count : 1, sizeof(*copy));
    if (!copy)
        return;
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

        memcpy(&len, inspection->octets + at, sizeof(len));
        at += sizeof(len);
        if (asock_codec_decode_record(inspection->octets + at, len, give_record, visit) < 0)
            return -EPROTO;
        at += len;
        count++;
    }
    return count;
}

static int parse_id(const char *text, int64_t *ret)
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

/* "list", "show", "show ID", "stats". */
static int parse_query(const char *query, uint32_t *ret_verb, int64_t *ret_id)
{
    *ret_id = 0;
    *ret_verb = VERB_SHOW;
    if (strcmp(query, "list") == 0)
        *ret_verb = VERB_LIST;
    else if (strcmp(query, "stats") == 0)
        *ret_verb = VERB_STATS;
    else if (strncmp(query, "show ", 5) == 0)
        return parse_id(query + 5, ret_id);
    else if (strcmp(query, "show") != 0)
        return -EINVAL;
    return 0;
}

static int parse_control(const char *verb, const char *const *args, uint32_t *ret_verb,
                         int64_t *ret_id)
{
    if (strcmp(verb, "kill") != 0 || !args || !args[0] || args[1])
        return -EINVAL;
    *ret_verb = VERB_KILL;
    return parse_id(args[0], ret_id);
}

static int ask(asock_context *context, uint32_t verb, int64_t id, struct inspection *inspection,
               int timeout_ms)
{
    asock_op *op;
    int r;

    if (!context->is_alive)
        return -ECONNABORTED;
    r = asock_submit_internal(context, NULL, OPERATION_INSPECT, &op);
    if (r < 0)
        return r;
    op->holds++;
    op->verb = verb;
    op->argument = id;
    op->inspection = inspection;
    list_append(&context->inspections, &op->queue_node);
    asock_submit_wake(context);
    r = asock_run_until(op, timeout_ms);
    op->inspection = NULL; /* an answer that comes too late is dropped */
    if (r < 0 && op->state == OP_WAITING)
        asock_op_end_waiting(op, ERR_TIMED_OUT);
    if (r == 0)
        r = -asock_error_to_errno(op->error);
    asock_op_unhold(op);
    return r;
}

static int run(asock_context *context, uint32_t verb, int64_t id, struct visit *visit,
               int timeout_ms)
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
    r = ask(context, verb, id, &inspection, timeout_ms);
    asock_context_unhold(context);
    if (r == 0)
        r = inspection.error;
    if (r == 0)
        r = give_all(&inspection, visit);
    free(inspection.octets);
    return r;
}

int asock_context_inspect(asock_context *context, const char *query, asock_record_fn record,
                          void *userdata, int timeout_ms)
{
    struct visit visit = {record, userdata};
    uint32_t verb;
    int64_t id;

    if (!query || !record || parse_query(query, &verb, &id) < 0)
        return -EINVAL;
    return run(context, verb, id, &visit, timeout_ms);
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
    struct visit visit = {record ? record : ignore_record, userdata};
    uint32_t wire_verb;
    int64_t id;

    if (!verb || parse_control(verb, args, &wire_verb, &id) < 0)
        return -EINVAL;
    return run(context, wire_verb, id, &visit, timeout_ms);
}
