/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Steps that ask the daemon about itself, restrict a session, and pass it on. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/sim/daemon.h"
#include "tests/sim/steps.h"

static const int timeouts[] = {1, 100, 2000, 20000};

/* What such a call may return besides its result: the daemon's failures come as an errno. */
static bool is_plausible(int r)
{
    return r >= 0 || r == -ETIMEDOUT || r == -ECONNABORTED || r == -ENOMEM || r == -ENOBUFS ||
           r == -ESRCH;
}

static void check(const char *name, const struct client *client, int r, uint64_t began, int timeout)
{
    bool is_inside = client && is_in_callback(client);

    oracle_check_call(name, began, (uint64_t)timeout);
    model.blocked_until = sim_now_ms();
    if (is_inside ? r != -EDEADLK : !is_plausible(r))
        sim_fail("other-answer: %s() says %d%s", name, r, is_inside ? " in a callback" : "");
}

static void look_at_record(const struct asock_field *fields, size_t count, void *userdata)
{
    (*(int *)userdata)++;
    for (size_t i = 0; i < count; i++)
        if (!fields[i].name || !fields[i].name[0])
            sim_fail("nameless: field %zu of a record", i);
}

void step_inspect(const struct step *step)
{
    static const char *const queries[] = {"list", "show", "stats", "show 0"};
    struct client *client = client_at(step->a);
    int r, rows = 0, timeout = timeouts[step->d % 4];
    uint64_t began = sim_now_ms();

    if (!client)
        return;
    r = LIB(asock_context_inspect(client->context, queries[step->c % 4], look_at_record, &rows,
                                  timeout));
    check("asock_context_inspect", client, r, began, timeout);
    if (r >= 0 && r != rows)
        sim_fail("other-count: %d rows, and %d were told of", r, rows);
}

/* The object with that id: a session, a socket, or none. */
static int kill_one(asock_context *context, uint32_t id, int timeout)
{
    char text[16];
    const char *args[] = {text, NULL};

    snprintf(text, sizeof(text), "%u", id);
    raw_killed();
    for (unsigned int i = 0; i < CONTEXTS; i++)
        model.clients[i].is_lost = true;
    for (struct stream *stream = model.streams; stream; stream = stream->next)
        stream->was_killed = true;
    return LIB(asock_context_control(context, "kill", args, NULL, NULL, timeout));
}

static int judge_one(asock_context *context, int timeout)
{
    static const char *const args[] = {"uid=1000",     "protocol=tcp",     "host=n1.sim",
                                       "service=2000", "address=10.0.0.1", NULL};
    int rows = 0;
    int r = LIB(asock_context_control(context, "judge", args, look_at_record, &rows, timeout));

    if (r >= 0 && r != rows)
        sim_fail("other-count: %d rows, and %d were told of", r, rows);
    return r;
}

/* By the administrator, in a context of his own. */
void step_control(const struct step *step)
{
    int r, rows = 0, timeout = timeouts[step->d % 4];
    uint64_t began = sim_now_ms();
    asock_context *context;

    if (LIB(asock_context_new(DAEMON_CONTROL, &context)) < 0)
        return;
    if (step->c % 3 == 0)
        r = kill_one(context, step->b + step->c / 3 % 20, timeout);
    else if (step->c % 3 == 1)
        r = judge_one(context, timeout);
    else
        r = LIB(asock_context_inspect(context, "list", look_at_record, &rows, timeout));
    check("asock_context_control", NULL, r, began, timeout);
    LIB(asock_context_unref(context));
}

void step_restrict(const struct step *step)
{
#define REST                                                                                       \
    "Allow=tcp * * +loopback +private +linklocal +local +special\n"                                \
    "Allow=udp * * +loopback +private +linklocal +local +special\n"
    static const char *const rules[] = {"[Rules]\nDeny=tcp 10.0.0.1 *\n" REST,
                                        "[Rules]\nDeny=tcp 2001:db8::/32 *\n" REST,
                                        "[Rules]\nAllow=what is that\n"};
    struct client *client = client_at(step->a);
    uint32_t which = step->c % 3;
    int r, timeout = timeouts[step->d % 4];
    uint64_t began = sim_now_ms();
    char text[200] = "";

    if (!client)
        return;
    client->may_deny = true;
    r = LIB(asock_context_restrict(client->context, rules[which], strlen(rules[which]), timeout,
                                   text, sizeof(text)));
    /* If memory ran out on the way, the answer has no text. */
    if (which == 2 && r == -EINVAL &&
        (text[0] || sim.faults & (1u << FAULT_ALLOC | 1u << FAULT_LIBRARY_ALLOC)))
        r = -ETIMEDOUT; /* as it should */
    else if (which == 2 && r == 0)
        sim_fail("taken: rules that are none restrict a session");
    check("asock_context_restrict", client, r, began, timeout);
    if (r == 0)
        client->denies |= 1u << which;
}

/* To a context of the same program: the session is the same, and so is what has ended it. */
void step_detach(const struct step *step)
{
    struct client *client = client_at(step->a);
    bool was_lost = client && client->is_lost;
    int r, fd, timeout = timeouts[step->d % 4];
    uint64_t began = sim_now_ms();
    asock_context *context;

    if (!client || is_in_callback(client))
        return;
    r = LIB(asock_context_detach_fd(client->context, timeout, &fd));
    oracle_check_call("asock_context_detach_fd", began, (uint64_t)timeout);
    model.blocked_until = sim_now_ms();
    if (r == -EBUSY)
        return;
    if (!is_plausible(r))
        sim_fail("other-answer: asock_context_detach_fd() says %d", r);
    if (r < 0)
        return;
    /* The session of the old context has ended. */
    step_context_unref(step);
    if (LIB(asock_context_new_fd(fd, &context)) < 0) {
        sim.actor = ACTOR_CLIENT;
        close(fd);
        sim.actor = ACTOR_NONE;
        return;
    }
    client->context = context;
    client->generation++;
    client->is_lost = was_lost;
    client->has_given_up = false;
}
