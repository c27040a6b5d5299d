/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kill: ends sockets and sessions, by their ids or by what stands in their rows. On a terminal it
 * shows them and asks; elsewhere filters need --yes. Its own session is never meant by a filter.
 */
#include "ctl/json.h"
#include "ctl/outcome.h"
#include "ctl/rows.h"
#include "ctl/session.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_id(const char *text)
{
    return *text && !text[strspn(text, "0123456789")];
}

/* All of them ids, or all of them filters: a wrong word among them ends nothing. */
static int check_words(const struct settings *settings, const struct rows_view *view,
                       bool *ret_by_id)
{
    *ret_by_id = is_id(settings->args[0]);
    for (int i = 0; i < settings->arg_count; i++) {
        if (is_id(settings->args[i]) == *ret_by_id)
            continue;
        return report_usage(
            "\"%s\" is not an ID as shown by asockctl list (IDs and filters cannot be combined)",
            settings->args[*ret_by_id ? i : 0]);
    }
    if (*ret_by_id && settings->sessions)
        return report_usage(
            "--sessions requires filters: an ID already identifies either a socket or a session");
    return *ret_by_id ? 0 : rows_check_filters(view, settings->args, settings->arg_count);
}

static bool has_id(const struct record *row, int64_t id)
{
    const struct asock_field *field = record_find(row, "id");

    return field && !field->text && field->number == id;
}

static bool is_listed(const struct settings *settings, const struct record *row)
{
    for (int i = 0; i < settings->arg_count; i++)
        if (has_id(row, strtoll(settings->args[i], NULL, 10)))
            return true;
    return false;
}

static int64_t own_id(struct session *session, const struct settings *settings)
{
    struct records own = {0};
    const struct asock_field *id = NULL;
    int64_t ret = -1;

    if (session_inspect(session, settings, "show", records_add, &own) > 0)
        id = record_find(&own.rows[0], "id");
    if (id)
        ret = id->number;
    records_free(&own);
    return ret;
}

/* Rows of the query that are meant; a negative exit status after a complaint. */
static int choose(struct session *session, const struct settings *settings, const char *query,
                  const struct rows_view *view, bool by_id, struct records *ret)
{
    int64_t own = by_id || !settings->sessions ? -1 : own_id(session, settings);
    int r = session_inspect(session, settings, query, records_add, ret);
    size_t kept = 0;

    for (size_t i = 0; i < ret->count; i++) {
        struct record row = ret->rows[i];
        bool is_meant;

        rows_complete(&row);
        is_meant = by_id ? is_listed(settings, &row)
                         : rows_match(view, settings->args, settings->arg_count, &row) &&
                               !has_id(&row, own);
        ret->rows[i] = ret->rows[kept];
        ret->rows[kept] = row;
        kept += is_meant;
    }
    records_cut(ret, kept);
    return r < 0 ? r : 0;
}

static void show(const struct rows_view *view, const struct settings *settings,
                 const struct records *rows)
{
    if (rows->count > 0)
        rows_print(view, settings, rows, rows_terminal_width());
}

static bool is_yes(void)
{
    char answer[16];

    fputs("Kill them? [y/N] ", stdout);
    fflush(stdout);
    return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

/* What went of itself meanwhile is ended. */
static int end_rows(struct session *session, const struct settings *settings,
                    const struct records *rows, size_t *ended)
{
    int status = EXIT_SUCCESS;

    for (size_t i = 0; i < rows->count; i++) {
        const struct asock_field *id = record_find(&rows->rows[i], "id");
        char text[24];
        int r;

        if (!id)
            continue;
        snprintf(text, sizeof(text), "%" PRId64, id->number);
        r = session_kill(session, settings, text, true);
        if (r < 0)
            status = -r;
        *ended += r == 0;
    }
    return status;
}

static int refuse(size_t count)
{
    report_error(
        "%zu %s would be killed, but there is no terminal to ask for confirmation: use --yes, "
        "or --dry-run to see %s",
        count, count == 1 ? "socket or session" : "sockets or sessions",
        count == 1 ? "it" : "them");
    return EXIT_USAGE;
}

static int end_chosen(struct session *session, const struct settings *settings,
                      const struct records *sockets, const struct records *sessions)
{
    size_t ended = 0;
    int status = end_rows(session, settings, sockets, &ended), other;

    other = end_rows(session, settings, sessions, &ended);
    printf("%zu ended\n", ended);
    return status ? status : other ? other : report_finish_output();
}

static void print_rows(const char *name, const struct records *rows)
{
    json_print_string(stdout, name);
    fputs(": [", stdout);
    for (size_t i = 0; i < rows->count; i++) {
        fputs(i > 0 ? ", " : "", stdout);
        json_print_record(stdout, &rows->rows[i]);
    }
    fputs("], ", stdout);
}

/* Never asks. An ID that is not among the rows does not exist. */
static int decide_json(struct session *session, const struct settings *settings, bool by_id,
                       const struct records *sockets, const struct records *sessions)
{
    size_t count = sockets->count + sessions->count, ended = 0;
    int status = EXIT_SUCCESS;

    if (!by_id && !settings->dry_run && !settings->yes && count > 0)
        return refuse(count);
    if (count == 0 || (by_id && count < (size_t)settings->arg_count))
        status = EXIT_NO_SUCH;
    if (!settings->dry_run) {
        int r = end_rows(session, settings, sockets, &ended), other;

        other = end_rows(session, settings, sessions, &ended);
        status = r ? r : other ? other : status;
    }
    putchar('{');
    print_rows("sockets", sockets);
    print_rows("sessions", sessions);
    printf("\"ended\": %zu}\n", ended);
    return report_finish_output() ? EXIT_FAILURE : status;
}

static int decide(struct session *session, const struct settings *settings,
                  const struct records *sockets, const struct records *sessions)
{
    bool is_terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);

    if (sockets->count + sessions->count == 0) {
        report_error(
            "there is no such socket or session (see asockctl list and asockctl sessions)");
        return EXIT_NO_SUCH;
    }
    if (!settings->dry_run && !settings->yes && !is_terminal)
        return refuse(sockets->count + sessions->count);
    if (settings->dry_run || !settings->yes) {
        show(&rows_of_list, settings, sockets);
        show(&rows_of_sessions, settings, sessions);
    }
    if (settings->dry_run)
        return report_finish_output();
    if (!settings->yes && !is_yes()) {
        report_error("nothing was ended");
        return EXIT_FAILURE;
    }
    return end_chosen(session, settings, sockets, sessions);
}

static int look_and_kill(struct session *session, const struct settings *settings, bool by_id)
{
    struct records sockets = {0}, sessions = {0};
    int r = 0;

    if (by_id || !settings->sessions)
        r = choose(session, settings, "list", &rows_of_list, by_id, &sockets);
    if (r == 0 && (by_id || settings->sessions))
        r = choose(session, settings, "sessions", &rows_of_sessions, by_id, &sessions);
    if (r < 0)
        r = -r;
    else if (settings->json)
        r = decide_json(session, settings, by_id, &sockets, &sessions);
    else
        r = decide(session, settings, &sockets, &sessions);
    records_free(&sockets);
    records_free(&sessions);
    return r;
}

static int kill_ids(struct session *session, const struct settings *settings)
{
    int status = EXIT_SUCCESS;

    for (int i = 0; i < settings->arg_count; i++) {
        int r = session_kill(session, settings, settings->args[i], false);

        if (r < 0)
            status = -r;
    }
    return status;
}

static int run_kill(const struct settings *settings)
{
    const struct rows_view *view = settings->sessions ? &rows_of_sessions : &rows_of_list;
    struct session session;
    bool by_id, asks;
    int status = check_words(settings, view, &by_id), r;

    if (status)
        return status;
    r = session_open_control(settings, &session);
    if (r < 0)
        return -r;
    asks = !settings->yes && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    if (by_id && !settings->dry_run && !settings->json && !asks)
        status = kill_ids(&session, settings);
    else
        status = look_and_kill(&session, settings, by_id);
    session_close(&session);
    return status;
}

const struct command command_kill = {
    .name = "kill",
    .arguments = "ID... | COLUMN=PATTERN...",
    .summary = "kill sockets or sessions",
    .help =
        "Kills the sockets or sessions with these IDs, as shown by \"asockctl list\" and \"asockctl sessions\", or the\n"
        "sockets (with --sessions, the sessions) that match all filters. The peer gets a reset; the client's\n"
        "operations fail with ASOCK_CONNECTION_ABORTED.\n"
        "  asockctl kill unit=foo.service 'to=*.example.com'\n"
        "  asockctl kill --sessions user=bob\n\n"
        "On a terminal, it prints what would be killed and asks for confirmation. Otherwise, filters require\n"
        "--yes. With --json, it does not ask, and prints what it has ended or would end.\n"
        "Uses the control socket. Exit status: 7 if there is no such socket or session.\n",
    .options = TAKES_CONTROL | TAKES_JSON | TAKES_TIMEOUT | TAKES_KILL,
    .min_args = 1,
    .max_args = 1024,
    .run = run_kill,
};
