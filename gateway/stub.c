/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/stub.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/dns.h"
#include "gateway/network.h"
#include "gateway/server.h"

#define DNS_PORT 53
#define QUESTIONS_MAX 64 /* in a turn */
/* A name keeps its addresses; whether there is such a name may change. */
#define TTL_SECONDS 60

/* Whoever asked. */
struct asker {
    struct sockaddr_in address;
};

static void reply(struct stub *stub, const struct asker *asker, const struct dns_question *question,
                  enum dns_code code, const struct in6_addr *address)
{
    uint8_t message[DNS_MESSAGE_MAX];
    size_t size = question->type == DNS_A ? 4 : 16;
    size_t len = dns_write(question, code, address, size, TTL_SECONDS, message);

    /* An answer that finds no room is asked for again. */
    (void)sendto(stub->io.fd, message, len, 0, (const struct sockaddr *)&asker->address,
                 sizeof(asker->address));
}

/* localhost and what stands below it is the command's own (RFC 6761). */
static bool is_localhost(const char *name)
{
    static const char localhost[] = "localhost";
    size_t len = strlen(name), own = sizeof(localhost) - 1;

    return len >= own && strcmp(name + len - own, localhost) == 0 &&
           (len == own || name[len - own - 1] == '.');
}

static void reply_address(struct stub *stub, const struct asker *asker,
                          const struct dns_question *question)
{
    unsigned int number = fake_names_add(stub->names, question->name);
    struct in6_addr address;

    if (number == 0) {
        reply(stub, asker, question, DNS_SERVER_FAILURE, NULL);
        return;
    }
    fake_names_address(number, question->type == DNS_A ? AF_INET : AF_INET6, &address);
    reply(stub, asker, question, DNS_SUCCESS, &address);
}

static void take(struct stub *stub, const struct asker *asker, const uint8_t *data, size_t len)
{
    struct dns_question question;
    struct in6_addr loopback = in6addr_loopback;
    int code = dns_read(data, len, &question);

    if (code < 0)
        return;
    if (code != DNS_SUCCESS) {
        reply(stub, asker, &question, (enum dns_code)code, NULL);
    } else if (question.type != DNS_A && question.type != DNS_AAAA) {
        reply(stub, asker, &question, DNS_SUCCESS, NULL);
    } else if (is_localhost(question.name)) {
        if (question.type == DNS_A)
            loopback = (struct in6_addr){.s6_addr = {127, 0, 0, 1}};
        reply(stub, asker, &question, DNS_SUCCESS, &loopback);
    } else {
        reply_address(stub, asker, &question);
    }
}

static void on_questions(struct ev_loop *loop, ev_io *io, int events)
{
    struct stub *stub = io->data;
    /* A question fits; what stands behind it is not needed. */
    uint8_t data[DNS_MESSAGE_MAX];

    (void)loop;
    (void)events;
    for (int i = 0; i < QUESTIONS_MAX; i++) {
        struct asker asker;
        socklen_t size = sizeof(asker.address);
        ssize_t n = recvfrom(io->fd, data, sizeof(data), 0, (struct sockaddr *)&asker.address,
                             &size);

        if (n < 0)
            return;
        take(stub, &asker, data, (size_t)n);
    }
}

int stub_init(struct stub *stub, struct gateway *gateway, struct fake_names *names)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(DNS_PORT)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), r;

    if (fd < 0)
        return -errno;
    inet_pton(AF_INET, NETWORK_NAME_SERVER, &address.sin_addr);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        r = -errno;
        close(fd);
        return r;
    }
    *stub = (struct stub){.gateway = gateway, .names = names};
    ev_io_init(&stub->io, on_questions, fd, EV_READ);
    stub->io.data = stub;
    ev_io_start(gateway->loop, &stub->io);
    return 0;
}

void stub_deinit(struct stub *stub)
{
    ev_io_stop(stub->gateway->loop, &stub->io);
    close(stub->io.fd);
}
