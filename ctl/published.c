/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: read each --publish -> asockd listens, before anything else has happened -> the
 * command's network is there: accept.
 * Failures: a malformed option, policy denies the address, it is in use: a message, and the command
 * has not run.
 */
#include "ctl/published.h"
#include "base/address_port.h"
#include "ctl/child.h"
#include "ctl/text.h"

#include <arpa/inet.h>
#include <asock/asock.h>

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX 513
#define LOCALHOST "127.0.0.1"

struct publication {
    struct sockaddr_storage address;
    socklen_t len;
    uint16_t to;
};

/* [ADDRESS:]PORT:PORT */
static bool parse(const char *text, struct publication *ret)
{
    const char *inner = strrchr(text, ':');
    struct address_port local, to;
    uint16_t port;

    if (!inner || !asock_address_port_split(text, (size_t)(inner - text), &local))
        return false;
    if (!local.port)
        local = (struct address_port){.address = LOCALHOST,
                                      .address_len = strlen(LOCALHOST),
                                      .port = text,
                                      .port_len = (size_t)(inner - text)};
    to = (struct address_port){.port = inner + 1, .port_len = strlen(inner + 1)};
    if (!asock_address_port_number(&local, 0, &port) ||
        !asock_address_port_number(&to, 1, &ret->to))
        return false;
    ret->len = (socklen_t)asock_address_port_numeric(&local, port, &ret->address);
    return ret->len > 0;
}

int published_check(const struct settings *settings)
{
    struct publication publication;

    for (int i = 0; i < settings->publish_count; i++)
        if (!parse(settings->publish[i], &publication))
            return report_usage("--publish: \"%s\" is not of the form [ADDRESS:]PORT:PORT, such as "
                                "8080:80 or [::1]:8080:80",
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
        fputs("; a Listen=tcp rule must allow it (asockd.policy(5))", stderr);
    fprintf(stderr, "; %s\n", end);
}

static void on_ended(void *userdata, int error, const char *text)
{
    complain_of(userdata, error, text, "asockctl has stopped publishing the port");
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
        config.port = publication.to;
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
