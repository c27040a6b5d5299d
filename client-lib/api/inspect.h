/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_API_INSPECT_H
#define ASOCK_LIB_API_INSPECT_H

/* What the texts of a query mean. */
#include "client-lib/core/objects.h"

/* Decimal digits alone. 0, -EINVAL. */
int asock_inspect_parse_id(const char *text, int64_t *ret);
/* args: "name=value", NULL behind the last. *ret is for free(3). -EINVAL, -ENOMEM. */
int asock_question_make(const char *const *args, uint8_t **ret, size_t *ret_len);

#endif
