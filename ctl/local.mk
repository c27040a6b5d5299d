# SPDX-License-Identifier: LGPL-2.1-or-later
#
# asockctl: uses libasock as any program does, so it proves the API; gateway/, which does the same; and base/
# for its texts.

noinst_LTLIBRARIES += libasockctl.la
libasockctl_la_CPPFLAGS = $(AM_CPPFLAGS) -DSBINDIR='"$(sbindir)"' $(IDN2_CFLAGS) $(NCURSES_CFLAGS) $(SECCOMP_CFLAGS)
libasockctl_la_CFLAGS = $(ONE_OBJECT_CFLAGS)
libasockctl_la_SOURCES = \
	ctl/cmd_connect.c \
	ctl/cmd_denied.c \
	ctl/cmd_kill.c \
	ctl/cmd_list.c \
	ctl/cmd_listener.c \
	ctl/cmd_monitor.c \
	ctl/cmd_policy.c \
	ctl/cmd_proxy.c \
	ctl/cmd_reload.c \
	ctl/cmd_resolve.c \
	ctl/cmd_run.c \
	ctl/confine.c \
	ctl/confine.h \
	ctl/cmd_sessions.c \
	ctl/cmd_show.c \
	ctl/cmd_top.c \
	ctl/child.c \
	ctl/child.h \
	ctl/ctl.h \
	ctl/filter.c \
	ctl/help.c \
	ctl/help.h \
	ctl/idn.c \
	ctl/idn.h \
	ctl/inside.c \
	ctl/inside.h \
	ctl/json.c \
	ctl/json.h \
	ctl/metrics.c \
	ctl/metrics.h \
	ctl/mirror.c \
	ctl/mirror.h \
	ctl/mounts.c \
	ctl/policy.h \
	ctl/policy_check.c \
	ctl/policy_files.c \
	ctl/policy_question.c \
	ctl/policy_show.c \
	ctl/policy_test.c \
	ctl/outcome.c \
	ctl/outcome.h \
	ctl/record.c \
	ctl/record.h \
	ctl/proxy.c \
	ctl/proxy.h \
	ctl/published.c \
	ctl/published.h \
	ctl/relay.c \
	ctl/relay_lent.c \
	ctl/relay.h \
	ctl/report.c \
	ctl/rows.c \
	ctl/rows.h \
	ctl/restrict.c \
	ctl/restrict.h \
	ctl/run_shared.c \
	ctl/run_shared.h \
	ctl/run_transparent.c \
	ctl/run_transparent.h \
	ctl/sandbox.c \
	ctl/session.c \
	ctl/session.h \
	ctl/signals.c \
	ctl/signals.h \
	ctl/stream.c \
	ctl/stream.h \
	ctl/table.c \
	ctl/table.h \
	ctl/text.c \
	ctl/text.h \
	ctl/top.c \
	ctl/top.h \
	ctl/witness.c \
	ctl/witness.h

bin_PROGRAMS += asockctl
asockctl_SOURCES = ctl/main.c
asockctl_CPPFLAGS = $(libasockctl_la_CPPFLAGS)
asockctl_LDADD = libasockctl.la libgateway.la libasock.la libbase.la $(IDN2_LIBS) $(EV_LIBS) $(NCURSES_LIBS) $(SECCOMP_LIBS)

dist_bashcompletion_DATA = ctl/completion/asockctl
dist_zshcompletion_DATA = ctl/completion/zsh/_asockctl
