/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * monitor: prints events as they happen, a line each. The daemon keeps events that happen between
 * two requests.
 */
#include "ctl/json.h"
#include "ctl/outcome.h"
#include "ctl/rows.h"
#include "ctl/session.h"
#include "ctl/text.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* From here on a line says what took how long, also if it succeeded. */
#define SLOW_MS 100

static const struct column columns[] = {
    {"event", "EVENT", "event", NULL, NULL, 'l', CELL_PLAIN, SHOWN},
    {"session", "SESSION", "session", NULL, NULL, 'r', CELL_PLAIN, SHOWN},
    {"id", "ID", "id", NULL, NULL, 'r', CELL_PLAIN, SHOWN},
    {"pid", "PID", "pid", NULL, NULL, 'r', CELL_PLAIN, SHOWN},
    {"user", "USER", "user", NULL, NULL, 'l', CELL_PLAIN, SHOWN},
    {"uid", "UID", "uid", NULL, NULL, 'r', CELL_PLAIN, SHOWN},
    {"unit", "UNIT", "unit", "command", NULL, 'l', CELL_PLAIN, SHOWN},
    {"user_unit", "USER_UNIT", "user_unit", NULL, NULL, 'l', CELL_PLAIN, SHOWN},
    {"command", "COMMAND", "command", NULL, NULL, 'l', CELL_PLAIN, SHOWN},
    {"listener", "LISTENER", "listener", NULL, NULL, 'l', CELL_PLAIN, SHOWN},
    {"name", "NAME", "name", NULL, NULL, 'l', CELL_NAME, SHOWN},
    {"host", "HOST", "host", NULL, NULL, 'l', CELL_PLAIN, SHOWN},
    {"remote", "REMOTE", "remote", NULL, NULL, 'l', CELL_PLAIN, SHOWN},
    {"local", "LOCAL", "local", NULL, NULL, 'l', CELL_PLAIN, SHOWN},
    {"port", "PORT", "port", NULL, NULL, 'r', CELL_PLAIN, SHOWN},
    {"to", "TO", "to", NULL, NULL, 'l', CELL_PLAIN, SHOWN},
    {"rule", "RULE", "rule", NULL, NULL, 'l', CELL_PLAIN, SHOWN},
    {"error", "ERROR", "error", NULL, NULL, 'l', CELL_PLAIN, SHOWN},
    {"reason", "REASON", "reason", NULL, NULL, 'l', CELL_PLAIN, SHOWN},
    {"in", "IN", "bytes_in", NULL, NULL, 'r', CELL_SIZE, SHOWN},
    {"out", "OUT", "bytes_out", NULL, NULL, 'r', CELL_SIZE, SHOWN},
    {"duration", "DURATION", "duration_ms", NULL, NULL, 'r', CELL_AGE, SHOWN},
    {"lookups", "LOOKUPS", "lookups", NULL, NULL, 'l', CELL_PLAIN, SHOWN},
    {"attempts", "ATTEMPTS", "attempts", NULL, NULL, 'l', CELL_PLAIN, SHOWN},
};

static const struct rows_view view = {columns, sizeof(columns) / sizeof(columns[0]), NULL};

static const char *text_of(const struct record *event, const char *name)
{
    const struct asock_field *field = record_find(event, name);

    return field && field->text && field->text[0] ? field->text : NULL;
}

static int64_t number_of(const struct record *event, const char *name)
{
    const struct asock_field *field = record_find(event, name);

    return field && !field->text ? field->number : 0;
}

static void print_text(const char *before, const char *text, const char *after)
{
    if (!text)
        return;
    fputs(before, stdout);
    text_print_escaped(stdout, text, 0);
    fputs(after, stdout);
}

static void print_time(const struct record *event)
{
    int64_t ms = number_of(event, "time_ms");
    time_t seconds = (time_t)(ms / 1000);
    char text[16];
    struct tm tm;

    if (ms == 0 || !localtime_r(&seconds, &tm) ||
        strftime(text, sizeof(text), "%H:%M:%S", &tm) == 0)
        return;
    printf("%s.%03d ", text, (int)(ms % 1000));
}

/* "foo.service (bob, pid 7)" */
static void print_client(const struct record *event)
{
    const char *unit = text_of(event, "unit");

    if (!text_of(event, "user"))
        return;
    print_text(" ", unit ? unit : text_of(event, "command"), "");
    print_text(" (", text_of(event, "user"), "");
    printf(", pid %" PRId64 ")", number_of(event, "pid"));
}

static void print_destination(const struct record *event)
{
    const char *to = text_of(event, "to"), *remote = text_of(event, "remote");
    const char *local = text_of(event, "local");

    print_text(" at ", local, "");
    if (local) {
        print_text(" from ", remote, "");
        return;
    }
    print_text(" to ", to, "");
    if (to && remote && strcmp(to, remote) != 0)
        print_text(" [", remote, "]");
}

static void print_end(const struct record *event)
{
    print_text(": ", text_of(event, "error"), "");
    print_text(": ", text_of(event, "reason"), "");
    print_text(" (", text_of(event, "rule"), ")");
}

/* Which name server and which addresses, where that is of interest. */
static void print_report(const struct record *event)
{
    const char *lookups = text_of(event, "lookups"), *attempts = text_of(event, "attempts");

    if (!text_of(event, "error") && number_of(event, "duration_ms") < SLOW_MS)
        return;
    print_text("; lookups (ms): ", lookups, "");
    /*
     * A single attempt at an address that was asked for has the outcome and the time of the event.
     */
    if (lookups || (attempts && strchr(attempts, ',')))
        print_text("; attempts (ms): ", attempts, "");
}

static void print_amounts(const struct record *event, bool human)
{
    int64_t in = number_of(event, "bytes_in"), out = number_of(event, "bytes_out");
    int64_t ms = number_of(event, "duration_ms");
    char text[2][TEXT_NUMBER_MAX];

    if (record_find(event, "bytes_in") && human)
        printf(", %s in, %s out", text_human_size(in, text[0]), text_human_size(out, text[1]));
    else if (record_find(event, "bytes_in"))
        printf(", %" PRId64 " bytes in, %" PRId64 " out", in, out);
    if (record_find(event, "duration_ms") && human)
        printf(", %s", text_human_ms(ms, text[0]));
    else if (record_find(event, "duration_ms"))
        printf(", %" PRId64 ".%03d s", ms / 1000, (int)(ms % 1000));
}

static void print_line(const struct record *event, bool human)
{
    const char *what = text_of(event, "event");

    print_time(event);
    print_text("", what ? what : "?", "");
    if (what && strcmp(what, "missed") == 0)
        printf(" %" PRId64 " events: they occurred faster than asockctl could read them",
               number_of(event, "count"));
    print_client(event);
    print_destination(event);
    print_amounts(event, human);
    print_end(event);
    print_report(event);
    putchar('\n');
}

/* "missed" passes every filter, because a missed event might have matched. */
static bool is_about_all(const struct record *event)
{
    const char *what = text_of(event, "event");

    return what && (strcmp(what, "missed") == 0 || strcmp(what, "watching") == 0);
}

static int print_events(const struct settings *settings, struct records *events)
{
    for (size_t i = 0; i < events->count; i++) {
        struct record *event = &events->rows[i];

        rows_complete(event);
        if (!is_about_all(event) && !rows_match(&view, settings->args, settings->arg_count, event))
            continue;
        if (settings->json) {
            json_print_record(stdout, event);
            putchar('\n');
        } else {
            print_line(event, settings->human);
        }
    }
    return report_finish_output();
}

/*
 * Ends as a write to it would, when the reader of standard output has gone: the next event may be
 * hours away.
 */
static void *await_reader_end(void *unused)
{
    struct pollfd output = {.fd = STDOUT_FILENO};

    (void)unused;
    while (poll(&output, 1, -1) < 0 && errno == EINTR)
        ;
    if (!(output.revents & (POLLERR | POLLHUP)))
        return NULL;
    kill(getpid(), SIGPIPE);
    _exit(EXIT_FAILURE); /* SIGPIPE is ignored */
}

static void watch_reader(void)
{
    pthread_t thread;
    int r = pthread_create(&thread, NULL, await_reader_end, NULL);

    if (r == 0)
        pthread_detach(thread);
}

static int run_monitor(const struct settings *settings)
{
    int status = rows_check_filters(&view, settings->args, settings->arg_count), r;
    int timeout_ms = session_timeout(settings);
    struct session session;

    if (status)
        return status;
    r = session_open_inspector(settings, &session);
    if (r < 0)
        return -r;
    watch_reader();
    /* An event may be hours away: whether asockd responds at all shows now. */
    status = -session_await(&session, &timeout_ms);
    while (status == EXIT_SUCCESS) {
        struct records events = {0};

        r = session_watch(&session, "monitor", records_add, &events);
        status = r < 0 ? -r : print_events(settings, &events);
        records_free(&events);
    }
    session_close(&session);
    return status;
}

const struct command command_monitor = {
    .name = "monitor",
    .arguments = "[COLUMN=PATTERN]...",
    .summary = "print events as they happen",
    .help =
        "Prints these events until interrupted: session, session_end, connect, resolve, listen, accept, deny,\n"
        "close, limit, reload, reload_failed. With filters, prints those that match all of them:\n"
        "  asockctl monitor event=deny unit=foo.service\n"
        "  asockctl monitor 'to=*:443' --json\n\n"
        "Columns: event session id pid user uid unit user_unit command listener name host remote local port\n"
        "to rule error reason in out duration lookups attempts. If a connect request or a lookup failed or\n"
        "took at least 100 ms, its event shows how long each name server and each address took. \"missed\" is\n"
        "the number of events that were lost because asockctl could not print them fast enough. Uses the\n"
        "control socket.\n",
    .options = TAKES_CONTROL | TAKES_JSON | TAKES_HUMAN | TAKES_TIMEOUT,
    .max_args = ROWS_FILTERS_MAX,
    .run = run_monitor,
};
