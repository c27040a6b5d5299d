/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* show and stats: one record each. */
#include "ctl/ctl.h"
#include "ctl/json.h"
#include "ctl/metrics.h"
#include "ctl/record.h"
#include "ctl/rows.h"
#include "ctl/session.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

static void print_all(const struct records *records, const struct settings *settings)
{
    for (size_t i = 0; i < records->count; i++) {
        if (settings->json) {
            json_print_record(stdout, &records->rows[i]);
            fputc('\n', stdout);
        } else {
            record_print(&records->rows[i], settings->human, rows_terminal_width());
        }
    }
}

static int run_query(const struct settings *settings, const char *query)
{
    struct session session;
    struct records records = {0};
    int status = EXIT_FAILURE;
    int rows = session_open_inspector(settings, &session);

    if (rows < 0)
        return -rows;
    rows = session_inspect(&session, settings, query, records_add, &records);
    if (rows == 0) {
        report_error("%s: asockd returned no data", query);
    } else if (rows > 0) {
        print_all(&records, settings);
        status = report_finish_output();
    } else {
        status = -rows;
    }
    records_free(&records);
    session_close(&session);
    return status;
}

static int parse_id(const char *text, uint64_t *ret)
{
    char *end;

    errno = 0;
    *ret = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno)
        return report_usage("\"%s\" is not an ID as shown by asockctl list", text);
    return 0;
}

static int run_show(const struct settings *settings)
{
    char query[sizeof("show 18446744073709551615")];
    uint64_t id = 0;
    int status;

    if (settings->arg_count > 0) {
        status = parse_id(settings->args[0], &id);
        if (status)
            return status;
    }
    snprintf(query, sizeof(query), "show %" PRIu64, id);
    return run_query(settings, query);
}

static int run_metrics(const struct settings *settings)
{
    struct session session;
    struct records records = {0};
    int status = EXIT_FAILURE;
    int rows = session_open_inspector(settings, &session);

    if (rows < 0)
        return -rows;
    rows = session_inspect(&session, settings, "metrics", records_add, &records);
    if (rows < 0)
        status = -rows;
    else if (!session.is_control)
        report_error("stats: metrics require the control socket (--control)");
    else if (!metrics_print(stdout, &records,
                            settings->prometheus ? METRICS_PROMETHEUS : METRICS_OPENMETRICS))
        report_error("stats: asockd is too old to provide metrics; upgrade it");
    else
        status = report_finish_output();
    records_free(&records);
    session_close(&session);
    return status;
}

static int run_stats(const struct settings *settings)
{
    if (settings->openmetrics + settings->prometheus + settings->json > 1)
        return report_usage("stats: --json, --openmetrics and --prometheus cannot be combined");
    if (settings->openmetrics || settings->prometheus)
        return run_metrics(settings);
    return run_query(settings, "stats");
}

const struct command command_show = {
    .name = "show",
    .arguments = "[ID]",
    .summary = "print everything about one socket or session",
    .help =
        "Prints everything that asockd knows about the socket or session with this ID, as shown by \"asockctl\n"
        "list\" or \"asockctl sessions\". Without ID, or with 0, prints the limits and the identity of asockctl's\n"
        "own session.\n",
    .options = INSPECTOR_OPTIONS,
    .max_args = 1,
    .run = run_show,
};

const struct command command_stats = {
    .name = "stats",
    .arguments = "",
    .summary = "print counters",
    .help =
        "Prints the daemon's counters; on a client socket, those of asockctl's own session. --openmetrics\n"
        "and --prometheus print counters and histograms in formats for Prometheus and similar programs.\n",
    .options = INSPECTOR_OPTIONS | TAKES_METRICS,
    .run = run_stats,
};
