/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: read each --publish -> asockd listens, before anything else has happened -> the
 * command's network is there: accept.
 * Failures: a malformed option, policy denies the address, it is in use: a message, and the command
 * has not run.
 */
#include "ctl/published.h"
#include "ctl/child.h"
#include "ctl/text.h"

#include <arpa/inet.h>
#include <asock/asock.h>

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 513

struct publication {
    struct sockaddr_storage address;
    socklen_t len;
    unsigned int to;
};

/* A decimal number up to 65535 that ends before the byte at end. */
static bool parse_port(const char *text, const char *end, unsigned int least, unsigned int *ret)
{
    size_t len = (size_t)(end - text);

    if (len == 0 || len > 5 || strspn(text, "0123456789") != len)
        return false;
    *ret = (unsigned int)strtoul(text, NULL, 10);
    return *ret >= least && *ret <= 65535;
}

static bool parse_address(const char *text, size_t len, unsigned int port, struct publication *ret)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&ret->address;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ret->address;
    char address[INET6_ADDRSTRLEN];
    bool is_ipv6 = len > 2 && text[0] == '[' && text[len - 1] == ']';

    if (is_ipv6)
        text++, len -= 2;
    if (len == 0 || len >= sizeof(address))
        return false;
    memcpy(address, text, len);
    address[len] = 0;
    if (is_ipv6) {
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)port);
        ret->len = sizeof(*in6);
        return inet_pton(AF_INET6, address, &in6->sin6_addr) == 1;
    }
    in->sin_family = AF_INET;
    in->sin_port = htons((uint16_t)port);
    ret->len = sizeof(*in);
    return inet_pton(AF_INET, address, &in->sin_addr) == 1;
}

/* [ADDRESS:]PORT:PORT */
static bool parse(const char *text, struct publication *ret)
{
    const char *inner = strrchr(text, ':'), *outer = inner;
    unsigned int port;

    memset(ret, 0, sizeof(*ret));
    if (!inner || !parse_port(inner + 1, strchr(inner, 0), 1, &ret->to))
        return false;
    while (outer > text && outer[-1] != ':')
        outer--;
    if (!parse_port(outer, inner, 0, &port))
        return false;
    if (outer == text)
        return parse_address("127.0.0.1", strlen("127.0.0.1"), port, ret);
    return parse_address(text, (size_t)(outer - 1 - text), port, ret);
}

int published_check(const struct settings *settings)
{
    struct publication publication;

    for (int i = 0; i < settings->publish_count; i++)
        if (!parse(settings->publish[i], &publication))
            return report_usage("--publish: \"%s\" is not [ADDRESS:]PORT:PORT, such as 8080:80 or "
                                "[::1]:8080:80",
                                settings->publish[i]),
                   EXIT_OWN;
    return 0;
}

static void complain_of(const char *what, int error, const char *text, const char *end)
{
    fprintf(stderr, "asockctl: --publish %s: ", what);
    if (text && text[0])
        text_print_escaped(stderr, text, 0);
    else
        fputs(asock_strerror(error), stderr);
    if (error == ASOCK_ACCESS_DENIED)
        fputs("; a Listen=tcp rule has to allow it (asockd.policy(5))", stderr);
    fprintf(stderr, "; %s\n", end);
}

static void on_ended(void *userdata, int error, const char *text)
{
    complain_of(userdata, error, text, "asockctl no longer publishes the port");
}

int published_open(struct published *published, const struct settings *settings,
                   struct gateway *gateway, int answer_timeout_ms)
{
    for (int i = 0; i < settings->publish_count; i++) {
        struct publication publication;
        struct publish_config config = {.address = (struct sockaddr *)&publication.address,
                                        .answer_timeout_ms = answer_timeout_ms,
                                        .ended = on_ended,
                                        .userdata = (void *)settings->publish[i]};
        char text[TEXT_MAX];
        int error;

        if (!parse(settings->publish[i], &publication))
            return EXIT_OWN;
        config.address_len = publication.len;
        config.port = (uint16_t)publication.to;
        error = publish_new(gateway, &config, &published->at[i], text, sizeof(text));
        if (error) {
            complain_of(settings->publish[i], error, text, "COMMAND was not run");
            return EXIT_OWN;
        }
        published->count++;
        if (ntohs(((struct sockaddr_in *)&publication.address)->sin_port) ==
            0) /* of both families */
            report_error("--publish %s: port %u", settings->publish[i],
                         publish_port(published->at[i]));
    }
    return 0;
}

void published_start(struct published *published, struct transparent *transparent)
{
    for (int i = 0; i < published->count; i++)
        transparent_publish(transparent, published->at[i]);
}

void published_free(struct published *published)
{
    for (int i = 0; i < published->count; i++)
        publish_free(published->at[i]);
    published->count = 0;
}
