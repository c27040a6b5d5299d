/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_POLICY_TEXT_H
#define ASOCK_TESTS_POLICY_TEXT_H

/* Policies and questions from text. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/policy/policy.h"
#include "daemon/policy/file.h"

/* One more file, as if it had been read from path. 0, or -errno and why. */
int policy_text_add(struct policy *policy, const char *path, const char *text, size_t len,
                    char error[static POLICY_ERROR_MAX]);

/* What a client may do under these files, "p", "q" and so on. Aborts if one is invalid. */
struct policy_view *policy_text_view(const char *const *texts, size_t count,
                                     const struct identity *identity);

/* "192.0.2.1", "2001:db8::1", fe80::1%2; false: no address. */
bool policy_text_address(const char *text, struct sockaddr_storage *ret);

/* host NULL: a literal address; address NULL: may the name be resolved? */
struct policy_answer policy_text_ask(const struct policy_view *view, const char *host,
                                     const char *address, uint16_t port);
/* The same of a protocol; that is of TCP. */
struct policy_answer policy_text_ask_of(const struct policy_view *view,
                                        enum policy_protocol protocol, const char *host,
                                        const char *address, uint16_t port);

/* "allow FILE:LINE", "learn FILE:LINE", "deny FILE:LINE", "deny": no rule did. */
const char *policy_text_answer(const struct policy_answer *answer, char *buf, size_t len);

#endif
