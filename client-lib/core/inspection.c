/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The records of an answer, gathered as they come. */
#include "client-lib/core/inspection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* An answer larger than this is given up: -E2BIG. */
#define INSPECTION_MAX (256u * 1024u * 1024u)

static bool reserve(struct inspection *inspection, size_t more)
{
    size_t cap = inspection->cap ? inspection->cap : 4096;
    uint8_t *bytes;

    if (inspection->error < 0)
        return false;
    while (cap - inspection->len < more)
        cap *= 2;
    if (cap == inspection->cap)
        return true;
    bytes = cap <= INSPECTION_MAX ? realloc(inspection->bytes, cap) : NULL;
    if (!bytes) {
        inspection->error = cap <= INSPECTION_MAX ? -ENOMEM : -E2BIG;
        return false;
    }
    inspection->bytes = bytes;
    inspection->cap = cap;
    return true;
}

void asock_inspection_begin(struct inspection *inspection, uint32_t len)
{
    if (!reserve(inspection, sizeof(len) + (size_t)len))
        return;
    memcpy(inspection->bytes + inspection->len, &len, sizeof(len));
    inspection->len += sizeof(len);
}

void asock_inspection_append(struct inspection *inspection, const uint8_t *data, size_t len)
{
    if (len == 0 || !reserve(inspection, len))
        return;
    memcpy(inspection->bytes + inspection->len, data, len);
    inspection->len += len;
}
