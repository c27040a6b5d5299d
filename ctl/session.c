/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/session.h"
#include "ctl/outcome.h"
#include "ctl/record.h"
#include "ctl/text.h"

#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* An answer that takes longer than this does not come: milliseconds. */
#define ANSWER_TIMEOUT_MS 30000
/* Of what the daemon says about the session. */
#define TEXT_MAX 513
/* The first word takes no work. */
#define WELCOME_TIMEOUT_MS 10000

const char *session_environment(const char *name)
{
    const char *value = getenv(name);

    return value && value[0] ? value : NULL;
}

/* A directory that cannot be searched hides whose socket it is. */
static void complain_about_group(const char *path)
{
    const struct group *group;
    struct stat st;

    group = stat(path, &st) == 0 && (st.st_mode & S_IWGRP) ? getgrgid(st.st_gid) : NULL;
    if (group)
        report_error(
            "only members of group %s may open it; add your user (sudo usermod -aG %s USER) and log in again",
            group->gr_name, group->gr_name);
    else
        report_error("your user does not have permission to open this path");
}

static void complain_unreachable(const struct session *session, int err)
{
    const char *path = session->path ? session->path : session_environment("ASOCK_SOCKET");

    if (!session->path && session_environment("ASOCK_FD")) {
        report_error("the connection in ASOCK_FD cannot be used: %s", strerror(err));
        return;
    }
    path = path ? path : CLIENT_SOCKET;
    if (err == ENOENT)
        report_error("%s socket %s does not exist", session->is_control ? "control" : "client",
                     path);
    else if (err == ECONNREFUSED)
        report_error("cannot reach asockd at %s: connection refused: no program is listening there",
                     path);
    else
        report_error("cannot reach asockd at %s: %s", path, strerror(err));
    if (err == ENOENT || err == ECONNREFUSED)
        report_error(
            "is asockd running? Start it (systemctl start asockd.socket), or specify another socket with %s",
            session->is_control ? "--control or ASOCK_CONTROL" : "--socket or ASOCK_SOCKET");
    else if ((err == EACCES || err == EPERM) && session->is_control)
        report_error("only root and the daemon's own user may open the control socket; try sudo");
    else if (err == EACCES || err == EPERM)
        complain_about_group(path);
    else if (err == EAGAIN)
        report_error("it is not accepting connections; see systemctl status asockd");
}

static int open_session(const char *path, bool is_control, struct session *ret)
{
    *ret = (struct session){.path = path, .is_control = is_control};
    int r = asock_context_new(path, &ret->context);

    if (r < 0) {
        complain_unreachable(ret, -r);
        return -EXIT_NO_DAEMON;
    }
    (void)asock_context_set_name(ret->context, "asockctl");
    return 0;
}

int session_open_client(const struct settings *settings, struct session *ret)
{
    return open_session(settings->socket, false, ret);
}

int session_open_inspector(const struct settings *settings, struct session *ret)
{
    const char *control = session_environment("ASOCK_CONTROL");

    if (settings->control)
        return open_session(settings->control, true, ret);
    if (settings->socket)
        return open_session(settings->socket, false, ret);
    if (control)
        return open_session(control, true, ret);
    if (session_environment("ASOCK_FD") || session_environment("ASOCK_SOCKET") || geteuid() != 0)
        return open_session(NULL, false, ret);
    return open_session(CONTROL_SOCKET, true, ret);
}

int session_open_control(const struct settings *settings, struct session *ret)
{
    const char *control = settings->control ? settings->control
                                            : session_environment("ASOCK_CONTROL");

    return open_session(control ? control : CONTROL_SOCKET, true, ret);
}

static void complain_ended(asock_context *context)
{
    char text[TEXT_MAX];
    int error = asock_context_get_error_text(context, text, sizeof(text));

    fprintf(stderr, "asockctl: asockd ended the session: %s%s", asock_strerror(error),
            text[0] ? ": " : "");
    text_print_escaped(stderr, text, 0);
    fputc('\n', stderr);
}

/* about: what was asked, as the user wrote it. Returns an exit status, negative. */
static int complain_of(struct session *session, const char *about, int r)
{
    /* Ended for a reason of the session's own, such as a limit, is a failure like others. */
    bool is_lost = r == -ETIMEDOUT ||
                   (r == -ECONNABORTED &&
                    asock_context_get_error(session->context) == ASOCK_CONNECTION_ABORTED);

    if (r == -ETIMEDOUT)
        report_error("asockd is not responding; see systemctl status asockd");
    else if (r == -ESRCH)
        report_error("%s: no such ID (see asockctl list and asockctl sessions)", about);
    else if (r == -ECONNABORTED)
        complain_ended(session->context);
    else
        report_error("%s: %s", about, strerror(-r));
    return is_lost ? -EXIT_NO_DAEMON : r == -ESRCH ? -EXIT_NO_SUCH : -EXIT_FAILURE;
}

/* The command, of what it asks for. */
static const char *command_of(const char *verb)
{
    if (strcmp(verb, "judge") == 0)
        return "policy";
    if (strcmp(verb, "learned") == 0)
        return "policy learned";
    if (strcmp(verb, "denials") == 0)
        return "denied";
    return verb;
}

int session_timeout(const struct settings *settings)
{
    return settings->timeout_ms > 0 ? settings->timeout_ms : ANSWER_TIMEOUT_MS;
}

int session_complain(struct session *session, const char *query, int r)
{
    if (r != -EOPNOTSUPP)
        return complain_of(session, query, r);
    report_error("%s requires the control socket", command_of(query));
    return -EXIT_FAILURE;
}

static int inspect(struct session *session, const char *query, asock_record_fn record,
                   void *userdata, int timeout_ms)
{
    int r = asock_context_inspect(session->context, query, record, userdata, timeout_ms);

    return r < 0 ? session_complain(session, query, r) : r;
}

int session_inspect(struct session *session, const struct settings *settings, const char *query,
                    asock_record_fn record, void *userdata)
{
    return inspect(session, query, record, userdata, session_timeout(settings));
}

int session_watch(struct session *session, const char *query, asock_record_fn record,
                  void *userdata)
{
    return inspect(session, query, record, userdata, -1);
}

int session_kill(struct session *session, const struct settings *settings, const char *id,
                 bool may_be_gone)
{
    const char *args[] = {id, NULL};
    int r = asock_context_control(session->context, "kill", args, NULL, NULL,
                                  session_timeout(settings));

    if (r == -ESRCH && may_be_gone)
        return 1;
    if (r >= 0)
        return 0;
    if (r != -EOPNOTSUPP)
        return complain_of(session, id, r);
    report_error("kill requires the control socket");
    return -EXIT_FAILURE;
}

int session_command(struct session *session, const struct settings *settings, const char *verb,
                    const char *const *args, struct records *ret)
{
    int r = asock_context_control(session->context, verb, args, records_add, ret,
                                  session_timeout(settings));
    const struct asock_field *error = ret->count ? record_find(&ret->rows[0], "error") : NULL;

    if (r == -EOPNOTSUPP) {
        report_error("%s requires the control socket", command_of(verb));
    } else if (r < 0 && error && error->text) {
        fprintf(stderr, "asockctl: %s: ", command_of(verb));
        text_print_escaped(stderr, error->text, 0);
        fputc('\n', stderr);
    } else if (r < 0) {
        return complain_of(session, command_of(verb), r);
    }
    return r == -ESRCH ? -EXIT_NO_SUCH : r < 0 ? -EXIT_FAILURE : 0;
}

static int welcome_timeout(int timeout_ms)
{
    return timeout_ms > 0 ? timeout_ms : WELCOME_TIMEOUT_MS;
}

static int wait_for_welcome(asock_context *context, int timeout_ms)
{
    asock_op *op;
    int r = asock_op_new(context, &op);

    if (r < 0)
        return r;
    r = asock_sync(context, op);
    if (r > 0)
        r = asock_op_wait(op, timeout_ms);
    if (r >= 0)
        r = -asock_error_errno(asock_op_get_error(op));
    asock_op_unref(op);
    return r;
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int session_await(struct session *session, int *timeout_ms)
{
    int64_t began = now_ms(), left;
    int r = wait_for_welcome(session->context, welcome_timeout(*timeout_ms));

    if (r < 0)
        return complain_of(session, "the session", r);
    left = *timeout_ms - (now_ms() - began);
    if (*timeout_ms > 0)
        *timeout_ms = left > 1 ? (int)left : 1;
    return 0;
}

int session_restrict(struct session *session, const struct settings *settings, const char *rules,
                     size_t len, char *text, size_t text_size)
{
    int r = asock_context_restrict(session->context, rules, len,
                                   welcome_timeout(settings->timeout_ms), text, text_size);

    if (r < 0 && text[0])
        return 1;
    return r < 0 ? complain_of(session, "restricting", r) : 0;
}

int session_detach(struct session *session, const struct settings *settings, int *ret)
{
    int r = asock_context_detach_fd(session->context, welcome_timeout(settings->timeout_ms), ret);

    return r < 0 ? complain_of(session, "the session", r) : 0;
}

int session_share(struct session *session, const struct settings *settings, asock_op *op)
{
    int r = asock_share(session->context, op);
    const char *text;

    if (r > 0)
        r = asock_op_wait(op, welcome_timeout(settings->timeout_ms));
    text = r == 0 ? asock_op_get_text(op) : NULL;
    if (r == 0)
        r = -asock_error_errno(asock_op_get_error(op));
    if (r == 0)
        return 0;
    if (!text)
        return complain_of(session, "sharing the session", r);
    fputs("asockctl: ", stderr);
    text_print_escaped(stderr, text, 0);
    fputs(" (use --fd to pass the session to a single program)\n", stderr);
    return -1;
}

#define FEW_SOCKETS 16
#define FEW_OPS 64
#define LITTLE_QUEUED (2u * 1024 * 1024)

void session_want_few(struct session *session)
{
    (void)asock_context_set_limit(session->context, ASOCK_LIMIT_SOCKETS, FEW_SOCKETS);
    (void)asock_context_set_limit(session->context, ASOCK_LIMIT_OPS, FEW_OPS);
    (void)asock_context_set_limit(session->context, ASOCK_LIMIT_QUEUED, LITTLE_QUEUED);
}

void session_close(struct session *session)
{
    session->context = asock_context_unref(session->context);
}
