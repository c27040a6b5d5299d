/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: a question -> asockd says that there is such a name -> the address that stands for
 * it.
 * Failures: there is none, or no name server says so: that is the answer. Policy denies the name:
 * it gets an address, and its connects the errno that says so. There are too many questions: no
 * answer, and whoever asked asks again.
 */
#include "gateway/stub.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
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
/* As many as asockd by default lets a session ask at a time. */
#define LOOKUPS_MAX 512u
/* The daemon's own resolver gives up earlier. */
#define LOOKUP_MS 30000u

/* Whoever asked. */
struct asker {
    struct sockaddr_in address;
};

struct lookup {
    struct session_wait wait;
    struct lookup *previous, *next;
    struct stub *stub;
    asock_op *op;
    struct asker asker;
    struct dns_question question;
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

/* ---- whether there is such a name ---- */

static void forget(struct lookup *lookup)
{
    struct stub *stub = lookup->stub;

    session_wait_end(&lookup->wait);
    if (lookup->previous)
        lookup->previous->next = lookup->next;
    else
        stub->lookups = lookup->next;
    if (lookup->next)
        lookup->next->previous = lookup->previous;
    stub->lookup_count--;
    asock_op_unref(lookup->op);
    free(lookup);
}

static void reply_result(struct stub *stub, const struct asker *asker,
                         const struct dns_question *question, int error)
{
    switch (error) {
    case ASOCK_SUCCESS:
    case ASOCK_ACCESS_DENIED:
    case ASOCK_OPERATION_NOT_SUPPORTED: /* an older daemon: connect(2) will tell */
        reply_address(stub, asker, question);
        break;
    case ASOCK_HOST_NOT_FOUND:
    case ASOCK_INVALID_ARGUMENT:
        reply(stub, asker, question, DNS_NO_SUCH_NAME, NULL);
        break;
    case ASOCK_NO_DATA:
        reply(stub, asker, question, DNS_SUCCESS, NULL);
        break;
    default:
        reply(stub, asker, question, DNS_SERVER_FAILURE, NULL);
    }
}

static void on_resolved(asock_op *op, void *userdata)
{
    struct lookup *lookup = userdata;

    reply_result(lookup->stub, &lookup->asker, &lookup->question, asock_op_get_error(op));
    forget(lookup);
}

/* An enum asock_error, which is the result; -1: it is under way. */
static int submit(struct lookup *lookup)
{
    asock_context *context = gateway_context(lookup->stub->gateway);
    int r;

    if (!context)
        return ASOCK_CONNECTION_ABORTED;
    if (asock_op_new(context, &lookup->op) < 0)
        return ASOCK_NO_BUFFER_SPACE;
    asock_op_set_timeout(lookup->op, LOOKUP_MS);
    asock_op_set_callback(lookup->op, on_resolved, lookup);
    r = asock_resolve(context, lookup->op, lookup->question.name, AF_UNSPEC);
    if (r == 1)
        return -1;
    return r == 0 ? asock_op_get_error(lookup->op) : ASOCK_NO_BUFFER_SPACE;
}

static void ask(struct lookup *lookup)
{
    int error = submit(lookup);

    if (error < 0)
        return;
    reply_result(lookup->stub, &lookup->asker, &lookup->question, error);
    forget(lookup);
}

static void on_session(struct session_wait *wait)
{
    ask((struct lookup *)wait);
}

static void look_up(struct stub *stub, const struct asker *asker,
                    const struct dns_question *question)
{
    struct lookup *lookup;

    if (stub->lookup_count == LOOKUPS_MAX)
        return;
    lookup = calloc(1, sizeof(*lookup));
    if (!lookup)
        return;
    lookup->stub = stub;
    lookup->asker = *asker;
    lookup->question = *question;
    lookup->next = stub->lookups;
    if (lookup->next)
        lookup->next->previous = lookup;
    stub->lookups = lookup;
    stub->lookup_count++;
    lookup->wait.tell = on_session;
    if (!gateway_await_session(stub->gateway, &lookup->wait))
        ask(lookup);
}

/* ---- questions ---- */

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
        look_up(stub, asker, &question);
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

void stub_stop(struct stub *stub)
{
    for (struct lookup *lookup = stub->lookups; lookup; lookup = lookup->next)
        session_wait_end(&lookup->wait);
    ev_io_stop(stub->gateway->loop, &stub->io);
    close(stub->io.fd);
}

void stub_deinit(struct stub *stub)
{
    while (stub->lookups)
        forget(stub->lookups);
}
