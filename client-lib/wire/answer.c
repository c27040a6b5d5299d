/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Answers that came where a text would: the addresses of a name, the directory of a listener.
 *
 * Happy path: parsed, and the op ends.
 * Failures: no memory, no sense. Of a listener that the program does not want any more, or whose
 * directory is lost, nobody would ever know: the op waits until the daemon says that it has closed
 * it.
 */
#include "client-lib/wire/answer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client-lib/core/cancel.h"
#include "client-lib/core/complete.h"
#include "client-lib/core/context.h"
#include "client-lib/core/op.h"
#include "client-lib/wire/overdue.h"
#include "proto/codec.h"
#include "proto/errors.h"

/* 0, -ENOMEM, -EPROTO. */
static int take_addresses(asock_op *op, size_t len)
{
    struct endpoint endpoints[CODEC_ADDRESSES_MAX];
    long count;

    if (!op->text)
        return -ENOMEM;
    count = asock_codec_decode_addresses((const uint8_t *)op->text, len, endpoints);
    free(op->text);
    op->text = NULL;
    if (count <= 0)
        return -EPROTO;
    op->addresses = reallocarray(NULL, (size_t)count, sizeof(endpoints[0]));
    if (!op->addresses)
        return -ENOMEM;
    memcpy(op->addresses, endpoints, (size_t)count * sizeof(endpoints[0]));
    op->address_count = (unsigned int)count;
    return 0;
}

struct directory {
    bool is_there;
    char *path; /* NULL where it is there: there was no memory */
};

static void find_directory(const struct field *fields, size_t count, void *data)
{
    struct directory *ret = data;

    for (size_t i = 0; i < count; i++) {
        if (strcmp(fields[i].name, "directory") != 0 || !fields[i].text || ret->is_there)
            continue;
        ret->is_there = true;
        ret->path = strdup(fields[i].text);
    }
}

/* The path takes the record's place. 0, -ENOMEM, -EPROTO. */
static int take_directory(asock_op *op, size_t len)
{
    struct directory directory = {.is_there = false};
    char *record = op->text;
    int r;

    op->text = NULL;
    if (!record)
        return -ENOMEM;
    r = asock_codec_decode_record((const uint8_t *)record, len, find_directory, &directory);
    free(record);
    op->text = directory.path;
    if (r < 0 || !directory.is_there)
        return -EPROTO;
    return directory.path ? 0 : -ENOMEM;
}

/*
 * Of a listener that the program does not want, or whose directory there was no memory for, nobody
 * would ever know: it is closed, and the op ends when that is certain. True: so it is.
 */
static bool withdraw(asock_op *op, int r)
{
    if (r == 0 && !op->is_cancelled)
        return false;
    asock_cancel_sent(op);
    op->is_answered = true;
    asock_overdue_answered(op);
    asock_wake(op->context);
    return true;
}

int asock_answer_take(asock_op *op, size_t len)
{
    int r;

    if (op->operation == ASOCK_OPERATION_RESOLVE)
        return take_addresses(op, len);
    r = take_directory(op, len);
    return r != -EPROTO && withdraw(op, r) ? 1 : r;
}

void asock_answer_unshared(asock_op *op, bool is_closed)
{
    uint32_t error = ERR_SUCCESS;

    if (!op->text)
        error = ERR_NO_BUFFER_SPACE;
    else if (is_closed)
        error = op->is_expired ? ERR_TIMED_OUT : ERR_OPERATION_ABORTED;
    asock_op_finish(op, error, 0);
}
