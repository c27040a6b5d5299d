/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_CORE_INSPECTION_H
#define ASOCK_LIB_CORE_INSPECTION_H

/* The records of an answer. */
#include "client-lib/core/objects.h"

struct inspection {
    uint8_t *bytes; /* of each record: its length, then itself */
    size_t len, cap;
    int error;
    char text[CODEC_TEXT_MAX + 1]; /* what the daemon said to a failure; "": nothing */
};

/* Bytes of the answer's next record. */
void asock_inspection_begin(struct inspection *inspection, uint32_t len);
void asock_inspection_append(struct inspection *inspection, const uint8_t *data, size_t len);

#endif
