/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The test "names": resolves names that nobody has asked for before, --rate of them a second
 * whether or not those before them are known (an open loop); without --rate, --connections at a
 * time. Each one's time counts from when it was due.
 */
#include <asock/asock.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "bench/client.h"

#define AT_ONCE_MAX 1024u
#define LOOK_NS 100000000u

struct question {
    asock_op *op;
    uint64_t due_ns;
};

static struct {
    struct client *client;
    asock_context *context;
    struct question questions[AT_ONCE_MAX];
    struct question *spare[AT_ONCE_MAX];
    unsigned int spares, at_once; /* most at a time */
    unsigned long asked;          /* in this process's life: no name twice */
} state;

static void on_resolved(asock_op *op, void *userdata)
{
    struct question *question = userdata;
    const char *text = asock_op_get_text(op);
    int error = asock_op_get_error(op);

    errno = 0;
    if (error != 0)
        fail("resolve: %s %s", asock_strerror(error), text ? text : "");
    times_add(&state.client->times, question->due_ns, now_ns());
    state.spare[state.spares++] = question;
}

void names_prepare(struct client *c)
{
    uint64_t granted;

    state.client = c;
    check(asock_context_new(c->o.path, &state.context), "asock_context_new");
    for (unsigned int i = 0; i < AT_ONCE_MAX; i++) {
        struct question *question = &state.questions[i];

        check(asock_op_new(state.context, &question->op), "asock_op_new");
        state.spare[state.spares++] = question;
    }
    check(asock_sync(state.context, state.questions[0].op), "asock_sync");
    check(asock_op_wait(state.questions[0].op, 30000), "asock_sync");
    check(asock_context_get_limit(state.context, ASOCK_LIMIT_RESOLUTIONS, &granted), "resolutions");
    state.at_once = c->o.rate > 0 ? AT_ONCE_MAX : c->o.connections;
    if (state.at_once > granted)
        state.at_once = (unsigned int)granted;
}

static void ask(uint64_t due_ns)
{
    struct question *question = state.spare[--state.spares];
    char name[64];

    snprintf(name, sizeof name, "n%lu-%ld.scale.test", state.asked++, (long)getpid());
    question->due_ns = due_ns;
    asock_op_set_callback(question->op, on_resolved, question);
    check(asock_resolve(state.context, question->op, name, AF_INET), "asock_resolve");
}

/* Until something is there, or the time has come. */
static void turn(uint64_t until_ns)
{
    struct pollfd fd = {.fd = asock_context_get_fd(state.context)};
    uint64_t now = now_ns();
    struct timespec left = {0};
    int timeout;

    check(asock_context_flush(state.context), "asock_context_flush");
    fd.events = (short)asock_context_get_events(state.context);
    timeout = asock_context_get_timeout(state.context);
    if (until_ns > now)
        left.tv_nsec = (long)(until_ns - now < 999999999u ? until_ns - now : 999999999u);
    if (timeout >= 0 && (uint64_t)timeout * 1000000u < (uint64_t)left.tv_nsec)
        left.tv_nsec = (long)timeout * 1000000;
    ppoll(&fd, 1, &left, NULL);
    check(asock_context_process(state.context), "asock_context_process");
}

void names_run(struct client *c, long units)
{
    uint64_t began = now_ns();

    for (long i = 0; i < units;) {
        uint64_t now = now_ns();
        uint64_t due = c->o.rate > 0 ? began + (uint64_t)((double)i * 1e9 / c->o.rate) : now;
        bool has_room = state.spares > AT_ONCE_MAX - state.at_once;

        if (has_room && due <= now) {
            ask(due);
            i++;
        } else {
            turn(has_room ? due : now + LOOK_NS);
        }
    }
    while (state.spares < AT_ONCE_MAX)
        turn(now_ns() + LOOK_NS);
}
