/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What SHOW says about a socket's connect. */
#include "daemon/audit/connect_report.h"
#include "daemon/server/admin_record.h"
#include "daemon/session/sock.h"
#include "daemon/verbs/connect.h"
#include "proto/errors.h"

static bool find_report(const struct sock *sock, struct connect_report *ret)
{
    if (sock->connect)
        connect_report_make(sock->connect->send.connect, ret);
    else if (sock->connect_report)
        connect_report_open(sock->connect_report, &sock->remote, ret);
    else
        return false;
    return true;
}

void record_sock_connect(struct record *record, const struct sock *sock, bool sees_all)
{
    struct connect_report report;
    char text[REPORT_TEXT_MAX];

    if (!find_report(sock, &report))
        return;
    if (sees_all)
        record_format(record, "connect_rule", "%s", report.rule);
    if (report.error != ERR_SUCCESS)
        record_text(record, "connect_error", asock_error_to_name(report.error));
    record_number(record, "connect_ms", report.ms);
    connect_report_write_lookups(&report, !sees_all, text);
    record_format(record, "connect_lookups", "%s", text);
    connect_report_write_attempts(&report, !sees_all, text);
    record_format(record, "connect_attempts", "%s", text);
    record_number(record, "connect_further", report.further);
    record_number(record, "connect_untried", report.untried);
}
