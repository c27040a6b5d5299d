/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_ANSWER_H
#define GATEWAY_ANSWER_H

/* What a failed connect is called in the proxy's protocols. */
#include <stddef.h>

#include "gateway/socks.h"

#define ANSWER_HTTP_MAX 1024u

/* error: an enum asock_error. */
enum socks_code answer_socks(int error);

/*
 * A whole response, with Proxy-Status (RFC 9209) and the reason as its body; text may be NULL.
 * Returns its length.
 */
size_t answer_http(int error, const char *text, char buf[static ANSWER_HTTP_MAX]);
/* The same for a request that was not taken. */
size_t answer_http_refusal(int status, const char *text, char buf[static ANSWER_HTTP_MAX]);

#endif
