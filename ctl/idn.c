/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/idn.h"
#include "ctl/ctl.h"
#include "ctl/text.h"

#include <idn2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool is_ascii(const char *text)
{
    while (*text && !(*text & 0x80))
        text++;
    return !*text;
}

/* The text, or its first len bytes: it came from a command line, and goes to a terminal. */
static void print_part(const char *text, size_t len)
{
    char *part = report_need_memory(strndup(text, len));

    text_print_escaped(stderr, part, 0);
    free(part);
}

static void suggest(const char *host, size_t len, const char *port, size_t port_len)
{
    if (len > 1 && host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
    }
    fputs("give host and port: ", stderr);
    print_part(host, len);
    fputc(' ', stderr);
    print_part(port, port_len);
    fputc('\n', stderr);
}

/*
 * "scheme://[user@]host[:port][/...]": what people copy from elsewhere. asockd would only say that
 * it is no name.
 */
static bool is_url(const char *text)
{
    const char *host = strstr(text, "://"), *at, *colon, *port = text;
    size_t len, port_len;

    if (!host)
        return false;
    port_len = (size_t)(host - text);
    if (port_len == 5 && memcmp(text, "https", 5) == 0)
        port = "443", port_len = 3;
    else if (port_len == 4 && memcmp(text, "http", 4) == 0)
        port = "80", port_len = 2;
    host += 3;
    len = strcspn(host, "/?#");
    at = memchr(host, '@', len);
    if (at) {
        len -= (size_t)(at + 1 - host);
        host = at + 1;
    }
    colon = memrchr(host, ':', len);
    if (colon && !memchr(colon, ']', len - (size_t)(colon - host))) {
        port = colon + 1;
        port_len = len - (size_t)(port - host);
        len = (size_t)(colon - host);
    }
    fputs("asockctl: ", stderr);
    print_part(text, strlen(text));
    fputs(" is a URL; ", stderr);
    suggest(host, len, port, port_len);
    return true;
}

/* "host:port", where an IPv6 address has more colons, and no brackets. */
static bool has_port(const char *text)
{
    const char *colon = strchr(text, ':');

    if (text[0] == '[')
        colon = strstr(text, "]:") ? strstr(text, "]:") + 1 : NULL;
    if (!colon || colon == text || !colon[1] || colon[1 + strspn(colon + 1, "0123456789")])
        return false;
    fputs("asockctl: ", stderr);
    print_part(text, strlen(text));
    fputs(" contains a port; ", stderr);
    suggest(text, (size_t)(colon - text), colon + 1, strlen(colon + 1));
    return true;
}

int idn_to_ascii(const char *host, char **ret)
{
    char *name;
    int r;

    if (is_url(host) || has_port(host))
        return -1;
    if (is_ascii(host)) {
        *ret = report_need_memory(strdup(host));
        return 0;
    }
    r = idn2_to_ascii_8z(host, &name, IDN2_NONTRANSITIONAL);
    if (r != IDN2_OK) {
        report_error("the host is not a valid name: %s", idn2_strerror(r));
        return -1;
    }
    *ret = report_need_memory(strdup(name));
    idn2_free(name);
    return 0;
}
